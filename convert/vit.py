"""The original of the ViT image encoder: Meta's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mlx.core as mx
import torch

from sam_mlx.config import SamConfig


def build(config: SamConfig, modeling: Any) -> Any:
    vit = config.encoder
    return modeling.ImageEncoderViT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=vit.dim,
        depth=vit.depth,
        num_heads=vit.heads,
        mlp_ratio=vit.mlp_dim / vit.dim,
        out_chans=config.prompt_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=vit.window,
        global_attn_indexes=vit.global_blocks,
    )


def renamed(state: Mapping[str, torch.Tensor], encoder: Any) -> Mapping[str, torch.Tensor]:
    """Meta's names, which the modules have."""
    return state


def tap_ours(encoder: Any, x: mx.array, config: SamConfig, tap: Callable[..., None]) -> None:
    """Call ``tap`` (stage, output) for the stages of our encoder on prepared images."""
    x = encoder.patch_embed(x)
    tap("patch embedding", x)
    x = x + encoder.pos_embed
    stages = tapped(config)
    for i, block in enumerate(encoder.blocks[: max(stages) + 1]):
        x = block(x)
        for stage in stages.get(i, ()):
            tap(stage, x)


def tap_original(encoder: Any, config: SamConfig, tap: Callable[..., None]) -> None:
    """Call ``tap`` (module, stage) for the modules whose outputs are the same stages."""
    tap(encoder.patch_embed, "patch embedding")
    for i, stages in tapped(config).items():
        for stage in stages:
            tap(encoder.blocks[i], stage)


def tapped(config: SamConfig) -> dict[int, list[str]]:
    """Index of a block -> the stages that it ends: the first block of each kind."""
    blocks = range(config.encoder.depth)
    windowed = next((i for i in blocks if i not in config.encoder.global_blocks), None)
    taps: dict[int, list[str]] = {min(config.encoder.global_blocks): ["global block"]}
    if windowed is not None:
        taps.setdefault(windowed, []).append("windowed block")
    return taps
