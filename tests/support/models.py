"""Small models with random weights: ours; the original, and ours loaded from it.

Functions that build an original import it themselves, so that the sizes need no torch.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import mlx.core as mx
from mlx.utils import tree_map, tree_map_with_path

from sam_mlx import Sam
from sam_mlx.checkpoints.load import Checkpoint
from sam_mlx.config import SamConfig
from sam_mlx.modeling.image_encoder import ViTConfig

if TYPE_CHECKING:
    import torch

# A 16x16 grid in windows of 5, so that the last windows are padded (16 -> 20).
SMALL = SamConfig(
    ViTConfig(dim=48, depth=4, heads=3, global_blocks=(1, 3), mlp_dim=96, window=5),
    image_size=128,
    patch_size=8,
    prompt_dim=64,
    mask_channels=8,
    decoder_heads=2,  # up to 15 tokens fold the image's projections, more do not
    decoder_mlp_dim=96,
    iou_head_dim=48,
)
# What tells the released variants apart, at a fraction of the width: depth, where the global
# blocks are, and ViT-H's 80 channels a head.
STRUCTURES = {
    "vit_b": replace(SMALL, encoder=ViTConfig(96, 12, 3, (2, 5, 8, 11), 384, 5)),
    "vit_l": replace(SMALL, encoder=ViTConfig(64, 24, 2, (5, 11, 17, 23), 256, 5)),
    "vit_h": replace(SMALL, encoder=ViTConfig(160, 32, 2, (7, 15, 23, 31), 640, 5)),
}
# Arguments of ``hugging_face``: about the sizes of SMALL.
HUGGING_FACE = {
    "vision": {
        "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "mlp_dim": 96,
        "image_size": 128, "patch_size": 8, "window_size": 5, "output_channels": 64,
        "global_attn_indexes": [1, 2], "num_pos_feats": 32,
    },
    "prompt_encoder_config": {
        "hidden_size": 64, "image_size": 128, "patch_size": 8, "image_embedding_size": 16,
    },
    "mask_decoder_config": {"hidden_size": 64, "mlp_dim": 96, "iou_head_hidden_dim": 48},
}  # fmt: skip


def originals() -> ModuleType:
    """The original implementations; if they are missing, the calling test is skipped."""
    from tests.support import originals

    return originals


def random_sam(config: SamConfig, seed: int = 0) -> Sam:
    """Our model with random weights, no tensor constant; it needs no original."""
    mx.random.seed(seed)
    model = Sam(config)
    noise = {"rel_pos": 0.2, "pos_embed": 0.2, "bias": 0.1, "norm": 0.1}

    def lively(name: str, w: mx.array) -> mx.array:
        scale = next((noise[part] for part in noise if part in name), 0)
        return w + scale * mx.random.normal(w.shape)

    model.update(tree_map_with_path(lively, model.parameters()))
    mx.eval(model.parameters())
    return model


def original(config: SamConfig, seed: int = 0) -> torch.nn.Module:
    """Meta's model with random weights, varied enough for masks of every size."""
    torch = originals().torch
    from convert.meta import build_meta

    torch.manual_seed(seed)
    model = build_meta(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.mul_(10)  # 0.2: an offset that shows in the scores
    return model


def ours(model: torch.nn.Module, config: SamConfig) -> Sam:
    """The same weights through the production path."""
    from convert.__main__ import as_mlx

    return Sam.from_checkpoint(Checkpoint(as_mlx(model.state_dict()), config))


def pair(config: SamConfig, seed: int = 0) -> tuple[torch.nn.Module, Sam]:
    reference = original(config, seed)
    return reference, ours(reference, config)


def in_dtype(model: Sam, dtype) -> Sam:
    copy = Sam(model.config)
    copy.update(tree_map(lambda w: w.astype(dtype), model.parameters()))
    return copy


def hugging_face(vision: dict, hq: bool = False, **other) -> torch.nn.Module:
    """transformers' model with random weights, SAM's or SAM-HQ's."""
    torch, transformers = originals().torch, originals().transformers
    from convert.meta import fill_zeros

    torch.manual_seed(0)
    kind = "SamHQ" if hq else "Sam"
    if hq:
        other["mask_decoder_config"] = {
            **other.get("mask_decoder_config", {}), "vit_dim": vision.get("hidden_size", 768)
        }  # fmt: skip
    config, whole, model = (
        getattr(transformers, f"{kind}{part}") for part in ("VisionConfig", "Config", "Model")
    )
    vision = config(initializer_range=0.02, **vision).to_dict()
    model = model(whole(vision_config=vision, **other))
    # Frequencies like Meta's. transformers draws ones that are hundreds of times larger, and the
    # rounding of such angles differs between processors by more than the bound.
    encoding = model.shared_image_embedding
    encoding.positional_embedding.data /= encoding.scale
    return fill_zeros(model).eval()
