"""SAM-HQ's mask decoder (original: ``segment_anything_hq/modeling/mask_decoder_hq.py``).

To SAM's decoder it adds one token, whose mask is read off finer features: those of the image, and
early ones of the encoder. Its logits are added to those of SAM's mask.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from ..registry import (
    EARLY,
    IMAGE_EMBEDDING,
    MASK_DECODER,
    Decoder,
    Features,
    Weights,
    masks_of_sam,
    register,
    with_decoder,
)
from . import mask_decoder
from .image_encoder import VARIANTS
from .mask_decoder import MLP, MaskDecoder, in_place, transposed_conv
from .ops import conv3x3, gelu
from .shapes import shape_of
from .tiny_vit import MOBILE_SAM

HQ_FEATURES = "hq_features"  # (B, 4G, 4G, C/8)


@dataclass(frozen=True)
class HQDecoderConfig:
    """SAM-HQ's decoder. The width of the early features is the encoder's."""

    type: ClassVar[str] = "sam_hq"


class MaskDecoderHQ(MaskDecoder):
    """SAM's mask decoder with one more token, whose mask is read off finer features."""

    def __init__(self, config: SamConfig):
        super().__init__(config)
        dim, early = config.prompt_dim, config.encoder.early_dim
        self.hf_token = nn.Embedding(1, dim)
        self.hf_mlp = MLP(dim, dim, dim // 8, 3)
        self.compress_vit_feat = four_times_larger(early, dim, dim // 8)
        self.embedding_encoder = four_times_larger(dim, dim // 4, dim // 8)
        self.embedding_maskfeature: list[Any] = [
            nn.Conv2d(dim // 8, dim // 4, 3, padding=1),
            nn.LayerNorm(dim // 4, eps=1e-6),
            gelu,
            nn.Conv2d(dim // 4, dim // 8, 3, padding=1),
        ]

    def prepare(self, features: Features) -> Features:
        """The fine features of pictures, (B, 4G, 4G, C/8): they depend on no prompt."""
        image, early = features[IMAGE_EMBEDDING], features[EARLY]
        x = enlarge(self.embedding_encoder, image) + enlarge(self.compress_vit_feat, early)
        return {HQ_FEATURES: in_place(x, image.shape[1])}

    def output_tokens(self) -> mx.array:
        """The learned tokens (2 + masks, C): SAM's, then SAM-HQ's."""
        return mx.concatenate([super().output_tokens(), self.hf_token.weight])

    def __call__(
        self,
        features: Features,
        image_pe: mx.array,
        sparse: mx.array,
        valid: mx.array,
        dense: mx.array,
        multimask_output: bool | None,
        hq_token_only: bool = False,
    ) -> tuple[mx.array, mx.array]:
        """As ``MaskDecoder``, but with one mask, (B, 1, 4G, 4G), and one predicted IoU, (B, 1).

        multimask_output: True for the multimask output of the highest predicted IoU, False for the
        single one, None for all of them, the single one first. hq_token_only: the mask of SAM-HQ's
        token alone, instead of its sum with SAM's.
        """
        masks, hq_masks, iou = self.both(features, image_pe, sparse, valid, dense, multimask_output)
        if multimask_output:
            best = iou.argmax(axis=1)[:, None]
            iou = mx.take_along_axis(iou, best, axis=1)
            masks = mx.take_along_axis(masks, best[..., None, None], axis=1)
        return hq_masks if hq_token_only else masks + hq_masks, iou

    def both(
        self,
        features: Features,
        image_pe: mx.array,
        sparse: mx.array,
        valid: mx.array,
        dense: mx.array,
        multimask_output: bool | None,
    ) -> tuple[mx.array, mx.array, mx.array]:
        """SAM's masks (B, M, 4G, 4G), SAM-HQ's (B, 1, 4G, 4G), and SAM's predicted IoU (B, M)."""
        G = features[IMAGE_EMBEDDING].shape[1]
        fine, shape = features[HQ_FEATURES], (1, 4 * G, 4 * G, len(self.hf_mlp.layers[-1].bias))
        if fine.shape[1:] != shape[1:]:
            raise ValueError(f"{HQ_FEATURES} have shape {fine.shape}; expected {shape}")
        tokens, image = self.attend(features[IMAGE_EMBEDDING], image_pe, sparse, valid, dense)
        upscaled = self.upscale(image)
        masks, iou = self.masks(tokens, upscaled, G, multimask_output)
        filters = self.hf_mlp(tokens[:, len(self.output_tokens()) - 1])  # (B, C/8)
        hq_masks = self.hq_masks(filters, in_place(upscaled, G), fine)
        return masks, hq_masks[:, None], iou

    def hq_masks(self, filters: mx.array, upscaled: mx.array, fine: mx.array) -> mx.array:
        """Filters (B, C/8) on what the convolutions make of ``upscaled``, and on ``fine``:
        both are (B or 1, 4G, 4G, C/8), the masks (B, 4G, 4G).

        The last convolution is linear, so each filter is put into its kernel: one channel of output
        instead of C/8.
        """
        conv1, norm, _, conv2 = self.embedding_maskfeature
        x = gelu(norm(conv3x3(upscaled, conv1.weight) + conv1.bias))  # (B, 4G, 4G, C/4)
        B, H, W, C = x.shape
        kernels = filters @ conv2.weight.reshape(len(conv2.weight), -1)  # (B, 3*3*C)
        kernels = kernels.reshape(B, 9, C).swapaxes(1, 2)
        taps = (x.reshape(B, H * W, C) @ kernels).reshape(B, H, W, 9)
        constant = filters @ conv2.bias
        fine = fine.reshape(len(fine), H * W, -1) @ filters[..., None]
        return sum_of_shifted(taps) + fine.reshape(B, H, W) + constant[:, None, None]


def four_times_larger(inputs: int, hidden: int, outputs: int) -> list[Any]:
    """Layers from (G, G, inputs) to (4G, 4G, outputs)."""
    return [
        nn.ConvTranspose2d(inputs, hidden, 2, stride=2),
        nn.LayerNorm(hidden, eps=1e-6),
        gelu,
        nn.ConvTranspose2d(hidden, outputs, 2, stride=2),
    ]


def enlarge(layers: list[Any], x: mx.array) -> mx.array:
    """(B, G, G, inputs) to (B, G*G*16, outputs), ordered as ``MaskDecoder.upscale`` leaves them."""
    conv1, norm, _, conv2 = layers
    x = transposed_conv(conv1, x.flatten(1, 2))
    return transposed_conv(conv2, gelu(norm(x)))


def sum_of_shifted(taps: mx.array) -> mx.array:
    """The nine products of a 3x3 convolution, (B, H, W, 9), shifted and added: (B, H, W)."""
    _, H, W, _ = taps.shape
    taps = mx.pad(taps, [(0, 0), (1, 1), (1, 1), (0, 0)])
    shifted = [taps[:, i : i + H, j : j + W, 3 * i + j] for i in range(3) for j in range(3)]
    return mx.stack(shifted).sum(axis=0)


OWN = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")


def recognises(weights: Weights) -> bool:
    """True if a checkpoint has SAM-HQ's tensors."""
    return any(
        name.startswith(tuple(f"{MASK_DECODER}.{part}." for part in OWN)) for name in weights
    )


def infer(weights: Weights, config: SamConfig) -> SamConfig:
    """Sizes of SAM's decoder; its own follow from these. Raises ValueError for early features of
    another width than the encoder's.
    """
    early = shape_of(weights, "mask_decoder.compress_vit_feat.0.weight")[0]
    if early != config.encoder.early_dim:
        raise ValueError(
            f"its SAM-HQ decoder takes early features of {early} channels, but its image encoder "
            f"has {config.encoder.early_dim}: they are of different models"
        )
    return with_decoder(mask_decoder.infer(weights, config), HQDecoderConfig())


def masks_of_hq(config: SamConfig, multimask_output: bool | None) -> int:
    """One mask a prompt, or all of SAM's where all are asked for."""
    return masks_of_sam(config, None) if multimask_output is None else 1


register(
    Decoder(
        HQDecoderConfig,
        MaskDecoderHQ,
        recognises,
        infer,
        needs=(IMAGE_EMBEDDING, EARLY),
        takes=(IMAGE_EMBEDDING, HQ_FEATURES),
        prepare=MaskDecoderHQ.prepare,
        masks=masks_of_hq,
        bytes_per_value=185,  # 194 MB in ViT-B
    ),
    {
        f"sam_hq_{name}": replace(config, decoders=(HQDecoderConfig(),))
        for name, config in {**VARIANTS, "vit_tiny": MOBILE_SAM}.items()
        if name != "nano"
    },
)
