"""Checkpoints of other packages: names translated to Meta's, which our modules use, and configs.

Each family has ``recognises(names)`` and ``to_meta(weights)``. What concerns a single encoder or
decoder is in its own file, as its ``clean``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...config import MODEL_TYPE, SamConfig, check
from ...files import read_json
from ...messages import naming, short
from ...registry import Weights, config_of, decoders_in, encoder_in
from . import hugging_face, micro_sam, processors

FAMILIES = (hugging_face, micro_sam)


def rename(weights: Weights) -> Weights:
    """A checkpoint of any known family, with the names of ``Sam``'s modules.

    Kernels stay in PyTorch's layout.
    """
    for family in FAMILIES:
        if family.recognises(weights):
            weights = family.to_meta(weights)
    return clean(weights)


def clean(weights: Weights) -> Weights:
    """Drop and fold tensors with Meta's names, as the checkpoint's encoder and decoders do."""
    if encoder := encoder_in(weights):
        weights = encoder.clean(weights)
    for decoder in decoders_in(weights):
        weights = decoder.clean(weights)
    return weights


def renamer(
    names: Iterable[str], model_class: str | None, config: SamConfig
) -> Callable[[str], str]:
    """A function that turns names in an adapter for a model of that class into Meta's."""

    def last(head: str) -> int:
        return config.iou_head_depth - 1 if "iou" in head else 2

    if model_class in hugging_face.MODELS or hugging_face.has_own_names(names):
        return partial(hugging_face.to_meta_name, last=last)
    return lambda name: name


def read_config(folder: Path) -> tuple[SamConfig | None, bool]:
    """The config in a folder, or None; and whether its ``config.json`` is this package's."""
    path = folder / "config.json"
    if not os.path.lexists(path):
        return None, False
    values = read_json(path)
    return parse_config(values, str(path)), values["model_type"] == MODEL_TYPE


def prepared(folder: Path, config: SamConfig) -> SamConfig:
    """The config with the preparation of pictures that a folder's files describe, if they do."""
    found = processors.find(folder)
    if found is None:
        return config
    path, described = found
    with naming(path):
        return check(processors.preprocessing(described, config))


def parse_config(values: Any, source: str = "config") -> SamConfig:
    """The sizes in this package's ``config.json`` or Hugging Face's (``sam``, ``sam_hq``).

    Raises ValueError, naming the field, if the values do not describe a SAM model.
    """
    with naming(source):
        return check(_layout(values)(values))


def _layout(values: Any) -> Callable[[Mapping[str, Any]], SamConfig]:
    if not isinstance(values, Mapping):
        raise ValueError(f"config is {short(values)}; expected an object")
    model_type = values.get("model_type")
    if model_type in hugging_face.MODEL_TYPES:
        return hugging_face.config_of
    if model_type == MODEL_TYPE:
        return config_of
    theirs = " or ".join(map(repr, hugging_face.MODEL_TYPES))
    raise ValueError(
        f"config has model_type {short(model_type)}; expected {MODEL_TYPE!r} (this package), or "
        f"{theirs} (Hugging Face). SAM 2 and SAM 3 are not supported"
    )
