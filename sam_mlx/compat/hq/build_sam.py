"""``segment_anything_hq.build_sam`` and ``build_sam_baseline``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import build_sam as meta
from ..missing import unknown
from .modeling import Sam


def _build(variant: str, checkpoint: str | Path | None) -> Sam:
    """The model of a checkpoint, or one of the variant's sizes with random weights.

    Raises NotImplementedError for a SAM without SAM-HQ's tensors, which the original leaves random.
    """
    return Sam(meta.model_of(f"sam_hq_{variant}", checkpoint))


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_h", checkpoint)


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_l", checkpoint)


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_b", checkpoint)


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """Light HQ-SAM's."""
    return _build("vit_tiny", checkpoint)


build_sam = build_sam_vit_h

sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_tiny": build_sam_vit_t,
}
# Plain SAM, which the predictor of ``segment_anything`` takes.
sam_model_registry_baseline: dict[str, Callable[..., Any]] = {
    "default": meta.build_sam_vit_h,
    "vit_h": meta.build_sam_vit_h,
    "vit_l": meta.build_sam_vit_l,
    "vit_b": meta.build_sam_vit_b,
    "vit_tiny": meta.build_sam_vit_t,
}
__getattr__ = unknown(__name__, "segment_anything_hq 0.3")
