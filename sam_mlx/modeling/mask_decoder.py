"""Masks and their predicted quality from image and prompt embeddings (SAM paper, appendix A)."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import MaskDecoderConfig, SamConfig
from ..registry import IMAGE_EMBEDDING, MASK_DECODER, Decoder, Features, Weights, register
from .ops import add_product, gelu, relu
from .shapes import count, shape_of
from .transformer import TwoWayTransformer


class MLP(nn.Module):
    """Linear layers with relu between them: (..., dim) to (..., out)."""

    def __init__(self, dim: int, hidden: int, out: int, depth: int):
        super().__init__()
        widths = [dim] + [hidden] * (depth - 1) + [out]
        self.layers = [nn.Linear(a, b) for a, b in pairwise(widths)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers[:-1]:
            x = relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens to mask logits and predicted IoU
    (original: ``mask_decoder.MaskDecoder``).
    """

    def __init__(self, config: SamConfig):
        super().__init__()
        dim, masks = config.prompt_dim, config.multimask_outputs + 1
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks, dim)
        self.output_upscaling: list[Any] = [
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            nn.LayerNorm(dim // 4, eps=1e-6),
            gelu,
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            gelu,
        ]
        self.output_hypernetworks_mlps = [MLP(dim, dim, dim // 8, 3) for _ in range(masks)]
        self.iou_prediction_head = MLP(dim, config.iou_head_dim, masks, config.iou_head_depth)

    def __call__(
        self,
        features: Features,
        image_pe: mx.array,
        sparse: mx.array,
        valid: mx.array,
        dense: mx.array,
        multimask_output: bool | None,
    ) -> tuple[mx.array, mx.array]:
        """features: the image embedding (1, G, G, C) by name. image_pe: (1, G, G, C). sparse, valid
        and dense: as ``PromptEncoder`` returns them.

        Returns mask logits (B, M, 4G, 4G) and predicted IoU (B, M). multimask_output: True for the
        multimask outputs, False for the single one, None for all of them, the single one first.
        """
        G = features[IMAGE_EMBEDDING].shape[1]
        tokens, image = self.attend(features[IMAGE_EMBEDDING], image_pe, sparse, valid, dense)
        return self.masks(tokens, self.upscale(image), G, multimask_output)

    def output_tokens(self) -> mx.array:
        """The learned tokens, (1 + masks, C): one for the predicted IoU, one for each mask."""
        return mx.concatenate([self.iou_token.weight, self.mask_tokens.weight])

    def attend(
        self,
        image_embeddings: mx.array,
        image_pe: mx.array,
        sparse: mx.array,
        valid: mx.array,
        dense: mx.array,
    ) -> tuple[mx.array, mx.array]:
        """The transformer's tokens (B, N, C), the learned ones first, and image (B, G*G, C)."""
        B, tokens = len(sparse), self.output_tokens()
        valid = mx.concatenate([mx.ones((B, len(tokens)), dtype=mx.bool_), valid], axis=1)
        tokens = mx.concatenate([mx.broadcast_to(tokens, (B, *tokens.shape)), sparse], axis=1)
        image = (image_embeddings + dense).flatten(1, 2)  # (B or 1, P, C)
        return self.transformer(image, image_pe.flatten(1, 2), tokens, valid)

    def masks(
        self, tokens: mx.array, upscaled: mx.array, grid: int, multimask_output: bool | None
    ) -> tuple[mx.array, mx.array]:
        """SAM's masks (B, M, 4G, 4G) and their predicted IoU (B, M), from what ``attend`` and
        ``upscale`` return.
        """
        n = len(self.output_hypernetworks_mlps)
        wanted = {True: range(1, n), False: range(1), None: range(n)}[multimask_output]
        filters = mx.stack(
            [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], axis=1
        )  # (B, M, C/8)
        masks = filters @ upscaled.swapaxes(1, 2)
        iou = self.iou_prediction_head(tokens[:, 0])
        return interleave(masks, grid), iou[:, wanted.start : wanted.stop]

    def upscale(self, image: mx.array) -> mx.array:
        """(B, G*G, C) to (B, G*G*16, C/8): a cell's 4x4 pixels in a row, as 2x2 blocks of 2x2.

        A 2x2 transposed convolution of stride 2 is one matrix product per cell, and the layers
        after it work pixel by pixel. So pixels are put into place only once, in the finished masks.
        """
        conv1, norm, _, conv2, _ = self.output_upscaling
        x = gelu(norm(transposed_conv(conv1, image)))
        return gelu(transposed_conv(conv2, x))


def transposed_conv(conv: nn.ConvTranspose2d, x: mx.array) -> mx.array:
    """A 2x2 transposed convolution of stride 2, (B, P, C) to (B, 4P, out): see ``upscale``."""
    W = conv.weight.transpose(3, 1, 2, 0).flatten(1)  # (C, 2*2*out)
    x = add_product(mx.tile(conv.bias, 4), x, W)
    return x.reshape(len(x), -1, conv.weight.shape[0])


def interleave(masks: mx.array, grid: int) -> mx.array:
    """Mask values (B, M, G*G*2*2*2*2), ordered as ``upscale`` leaves them, to (B, M, 4G, 4G)."""
    B, M, _ = masks.shape
    return in_place(masks.reshape(B * M, -1, 1), grid).reshape(B, M, 4 * grid, 4 * grid)


def in_place(x: mx.array, grid: int) -> mx.array:
    """Pixels (B, G*G*2*2*2*2, C), ordered as ``upscale`` leaves them, to (B, 4G, 4G, C)."""
    B, _, C = x.shape
    x = x.reshape(B * grid, grid, 2, 2, 4 * C).swapaxes(1, 2)  # (rows, 2, G, 2, 4 * C)
    x = x.reshape(B * grid * 2, grid * 2, 2, 2 * C).swapaxes(1, 2)
    return x.reshape(B, 4 * grid, 4 * grid, C)


def recognises(weights: Weights) -> bool:
    """True if a checkpoint has a mask decoder."""
    return any(name.startswith(f"{MASK_DECODER}.") for name in weights)


def infer(weights: Weights, config: SamConfig) -> SamConfig:
    """Sizes from the shapes of tensors with Meta's names. None shows the number of heads."""
    layers, head = "mask_decoder.transformer.layers", "mask_decoder.iou_prediction_head.layers"
    return replace(
        config,
        decoder_depth=count(weights, rf"{layers}\.(\d+)\."),
        decoder_mlp_dim=shape_of(weights, f"{layers}.0.mlp.lin1.weight")[0],
        multimask_outputs=shape_of(weights, "mask_decoder.mask_tokens.weight")[0] - 1,
        iou_head_depth=count(weights, rf"{head}\.(\d+)\."),
        iou_head_dim=shape_of(weights, f"{head}.0.weight")[0],
    )


register(Decoder(MaskDecoderConfig, MaskDecoder, recognises, infer))
