"""``segment_anything.build_sam``, and what MobileSAM adds to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from .. import sam
from ..checkpoints.locate import PYTORCH_SUFFIXES
from ..checkpoints.read import from_foreign
from .missing import unknown
from .modeling.sam import Sam
from .tensors import import_torch, to_mlx


def _build(variant: str, checkpoint: str | Path | None) -> Sam:
    """The model of a checkpoint, or with random weights of the variant's sizes.

    A checkpoint of other sizes is loaded as what it is, with a warning; the original refuses it.
    """
    if checkpoint is None:
        return Sam(sam.build_sam(variant))
    model = _load(checkpoint)
    if model.config.variant != variant:
        warnings.warn(
            f"{checkpoint} is a SAM {model.config.variant}, and is loaded as such; "
            f"{variant} was asked for",
            stacklevel=3,
        )
    return Sam(model)


def _load(checkpoint: str | Path) -> sam.Sam:
    if Path(checkpoint).suffix not in PYTORCH_SUFFIXES:
        return sam.Sam.from_pretrained(checkpoint)
    state = import_torch().load(checkpoint, map_location="cpu", weights_only=True)
    weights = {name: to_mlx(tensor) for name, tensor in state.items()}
    return sam.Sam.from_checkpoint(from_foreign(weights, source=str(checkpoint)))


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
