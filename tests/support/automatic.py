"""Models for tests of automatic masks: random ones with varied masks, and the original of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sam_mlx import Sam, SamPredictor
from sam_mlx.checkpoints import layouts
from sam_mlx.config import SamConfig
from sam_mlx.modeling.image_encoder import ViTConfig
from sam_mlx.modeling.layers import weights_of
from tests.support import models

if TYPE_CHECKING:
    import torch

SMALL = replace(models.SMALL, image_size=256, patch_size=16, decoder_heads=8)
# The decoder of the released models behind a small encoder.
FULL_SIZE_DECODER = SamConfig(ViTConfig(dim=48, depth=2, heads=2, global_blocks=(1,), mlp_dim=96))


def calibrated_sam(config: SamConfig, seed: int = 1) -> Sam:
    """Ours with random weights, adjusted to give automatic masks.

    Predicted IoU spreads around 0.88; masks are a few blobs each, different from point to point.
    """
    model = models.random_sam(config, seed)
    decoder = model.mask_decoder
    # A channel that is the same everywhere lets each filter shift its whole mask.
    first, last = decoder.output_upscaling[0], decoder.output_upscaling[3]
    last.weight[0] = 0
    last.bias[0] = 1
    # Smooth masks: the four pixels that a cell becomes hardly differ.
    for conv in (first, last):
        conv.weight = conv.weight.mean((1, 2), keepdims=True) + 0.1 * conv.weight
    # Tokens that depend on the position of their point.
    for layer in decoder.transformer.layers:
        for attention in (layer.self_attn, layer.cross_attn_token_to_image):
            attention.q_proj.weight *= 3
            attention.out_proj.weight *= 3
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight[0] = 0
        mlp.layers[-1].bias[0] = 0
    spread(model, *some_answers(model))
    return model


def some_answers(model: Sam) -> tuple[np.ndarray, np.ndarray]:
    """Predicted IoU (16, 3) and logits (16, 3, H, W) of points all over a picture."""
    predictor, size = SamPredictor(model), model.config.image_size
    predictor.set_image(squares(size, size))
    points = np.random.default_rng(0).random((16, 1, 2)) * size
    return predictor.predict_batch(points, np.ones((16, 1)))[1:]


def spread(model: Sam, iou: np.ndarray, logits: np.ndarray) -> None:
    """Scale the last layers so that these answers would spread as ``calibrated_sam`` says."""
    decoder = model.mask_decoder
    for i, mlp in enumerate(decoder.output_hypernetworks_mlps[1:]):
        values = logits[:, i].flatten()[::97]
        scale = float(60 / values.std())
        mlp.layers[-1].weight *= scale
        mlp.layers[-1].bias *= scale
        # 0.8413 is GELU(1), the constant channel.
        mlp.layers[-1].bias[0] = -scale * float(np.quantile(values, 0.97)) / 0.8413
    head = decoder.iou_prediction_head.layers[-1]
    for i, values in enumerate(iou.T, start=1):  # the three of an ambiguous prompt
        scale = float(0.06 / values.std())
        head.bias[i] = 0.88 - scale * (float(values.mean()) - head.bias[i])
        head.weight[i] *= scale


def calibrated_pair(config: SamConfig, seed: int = 1) -> tuple[torch.nn.Module, Sam]:
    """The original and ours on the weights of ``calibrated_sam``."""
    ours = calibrated_sam(config, seed)
    return original_of(ours), ours


def squares(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image of coloured squares."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 40 + 1, width // 40 + 1, 3))
    return np.kron(blocks.astype(np.uint8), np.ones((40, 40, 1), np.uint8))[:height, :width]


def original_of(model: Sam) -> torch.nn.Module:
    """Meta's model with our model's weights; without torch the test is skipped."""
    torch = models.originals().torch
    from convert.meta import build_meta

    state = layouts.to_torch(weights_of(model), model)
    return build_meta(model.config, {name: torch.tensor(np.array(w)) for name, w in state.items()})
