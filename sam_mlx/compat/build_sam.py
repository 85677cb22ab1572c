"""``segment_anything.build_sam``, and what MobileSAM adds to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from .. import sam
from .missing import unknown
from .modeling.sam import Sam


def model_of(variant: str, checkpoint: str | Path | None) -> sam.Sam:
    """The model of a checkpoint, or one of the variant's sizes with random weights.

    A checkpoint of other sizes is loaded as it is, with a warning; the original refuses it.
    """
    if checkpoint is None:
        return sam.build_sam(variant)
    model = sam.Sam.from_pretrained(checkpoint)
    if model.config.variant != variant:
        warnings.warn(
            f"{checkpoint} is a SAM {model.config.variant}, and is loaded as such; "
            f"{variant} was asked for",
            stacklevel=4,
        )
    return model


def _build(variant: str, checkpoint: str | Path | None) -> Sam:
    return Sam(model_of(variant, checkpoint))


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_h", checkpoint)


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_l", checkpoint)


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    return _build("vit_b", checkpoint)


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """MobileSAM's."""
    return _build("vit_t", checkpoint)


build_sam = build_sam_vit_h

sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
}
__getattr__ = unknown(__name__)
