"""The original of MobileSAM's image encoder: timm's TinyViT and SAM's neck, or SAM-HQ's copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import torch

from sam_mlx.config import SamConfig

from .reference import import_segment_anything, import_tiny_vit

CHANNELS_LAST = (0, 2, 3, 1)


def build(config: SamConfig, modeling: Any) -> Any:
    """SAM-HQ's package has MobileSAM's encoder, for 1024 pixels only; Meta's has none."""
    if not hasattr(modeling, "TinyViT"):
        return TinyViTEncoder(config)
    vit = config.encoder
    return modeling.TinyViT(
        img_size=config.image_size,
        embed_dims=vit.dims,
        depths=vit.depths,
        num_heads=(1, *vit.heads),
        window_sizes=(1, *vit.windows),
        mlp_ratio=vit.mlp_ratio,
        mbconv_expand_ratio=vit.mbconv_expand,
    )


class TinyViTEncoder(torch.nn.Module):
    """MobileSAM's image encoder: timm's TinyViT without its last downsampling, and SAM's neck."""

    def __init__(self, config: SamConfig):
        super().__init__()
        import_segment_anything()
        from segment_anything.modeling.common import LayerNorm2d

        vit, dim = config.encoder, config.prompt_dim
        self.img_size = config.image_size
        self.backbone = import_tiny_vit().TinyVit(
            num_classes=0,
            embed_dims=vit.dims,
            depths=vit.depths,
            num_heads=(1, *vit.heads),
            window_sizes=(1, *vit.windows),
            mlp_ratio=vit.mlp_ratio,
            mbconv_expand_ratio=vit.mbconv_expand,
        )
        self.backbone.stages[-1].downsample.conv2.conv.stride = (1, 1)
        self.backbone.head = torch.nn.Identity()
        self.neck = torch.nn.Sequential(
            torch.nn.Conv2d(vit.dims[-1], dim, 1, bias=False),
            LayerNorm2d(dim),
            torch.nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            LayerNorm2d(dim),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neck(self.backbone.forward_features(x))


# MobileSAM -> TinyViTEncoder. The downsampling that ends a stage begins the next one in timm.
_TO_TIMM: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^image_encoder\.(patch_embed|layers)\.", r"image_encoder.backbone.\1."),
    (r"\.patch_embed\.seq\.0\.", ".patch_embed.conv1."),
    (r"\.patch_embed\.seq\.2\.", ".patch_embed.conv2."),
    (r"\.layers\.(\d+)\.downsample\.", lambda m: f".stages.{int(m[1]) + 1}.downsample."),
    (r"\.layers\.(\d+)\.blocks\.", r".stages.\1.blocks."),
    (r"\.c\.weight$", ".conv.weight"),
]


def renamed(
    state: Mapping[str, torch.Tensor], encoder: torch.nn.Module
) -> Mapping[str, torch.Tensor]:
    """MobileSAM's tensors as ``TinyViTEncoder`` names them; the unused classifier is dropped."""
    if not isinstance(encoder, TinyViTEncoder):
        return state
    result = {}
    for name, tensor in state.items():
        if not name.startswith(("image_encoder.head.", "image_encoder.norm_head.")):
            for pattern, replacement in _TO_TIMM if name.startswith("image_encoder.") else ():
                name = re.sub(pattern, replacement, name)
            result[name] = tensor
    return result


def tap_ours(encoder: Any, x: mx.array, config: SamConfig, tap: Callable[..., None]) -> None:
    """Call ``tap`` (stage, output) for the stages of our encoder on prepared images."""
    x = encoder.patch_embed(x)
    tap("patch embedding", x)
    for i, stage in enumerate(encoder.layers, 1):
        x = stage(x)
        tap(f"stage {i}", x)


def tap_original(encoder: Any, config: SamConfig, tap: Callable[..., None]) -> None:
    """Call ``tap`` (module, stage, axes) for the modules whose outputs are the same stages."""
    if not isinstance(encoder, TinyViTEncoder):
        tap(encoder.patch_embed, "patch embedding", CHANNELS_LAST)
        return
    timm = encoder.backbone
    tap(timm.patch_embed, "patch embedding", CHANNELS_LAST)
    for i, following in enumerate(timm.stages[1:], 1):
        tap(following.downsample, f"stage {i}", CHANNELS_LAST)
    tap(timm.stages, f"stage {len(timm.stages)}", CHANNELS_LAST)
