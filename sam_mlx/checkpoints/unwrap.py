"""Find SAM's tensors among all that trainers store, by the names of its parts.

Wrappers (``{"model": {...}}``) and prefixes (``module.``) are treated alike: both are a path before
the name of a part.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any, TypeVar

from ..messages import short, shown
from ..registry import DECODERS

T = TypeVar("T")

# The three parts, as Meta and as Hugging Face name them.
PARTS = {
    "image encoder": ("image_encoder", "vision_encoder"),
    "prompt encoder": ("prompt_encoder", "shared_image_embedding"),
    "mask decoder": ("mask_decoder",),
}
# Added by torch.compile, DataParallel, and pickled modules; anywhere in a name.
NOISE = {"_orig_mod", "module", "_modules", "_parameters", "_buffers"}
# Copies that trainers keep beside the model.
COPIES = {"ema", "averaged", "teacher", "swa"}
TRAINING = re.compile(r"optim|sched|lr_|scaler|amp|rng|callback|loop", re.IGNORECASE)
# Constants that some versions of the original store; they are part of the configuration.
CONSTANTS = ("pixel_mean", "pixel_std")

OTHERS = {
    "RobustSAM": r"mask_decoder\.(robust_|fourier_|degradation_)",
    "SAM 2": r"(^|\.)(memory_attention|memory_encoder|sam_mask_decoder|image_encoder\.trunk)(\.|$)",
    "RepViT-SAM or EdgeSAM": r"image_encoder\..*(token_mixer|channel_mixer|fuse_stage)",
    "EfficientViT-SAM": r"image_encoder\.backbone\.",
    "EfficientSAM": r"mask_decoder\.final_output_upscaling_layers",
    "SAM-Med2D with adapters": r"image_encoder\.blocks\.\d+\.Adapter\.",
    "Medical SAM Adapter": r"image_encoder\.blocks\.\d+\.(MLP|Space|Depth)_Adapter\.",
    "CellSAM": r"(^|\.)cellfinder\.",
    "Cellpose-SAM": r"(^|\.)encoder\.patch_embed\.proj\.|^W2$",
}


def other_model(names: Mapping[str, Any]) -> str | None:
    """The known model other than SAM that has tensors with these names, or None."""
    for found, pattern in OTHERS.items():
        if any(re.search(pattern, name) for name in names):
            return found
    return None


def unwrap(tensors: Mapping[str, T], source: str) -> dict[str, T]:
    """SAM's tensors under the names of its parts, without wrappers and prefixes.

    If a file holds several models, the first that is not a copy (``ema``, ``teacher``) is used. A
    warning says so, and another lists tensors that are not SAM's. Raises ValueError when a part is
    missing.
    """
    models: dict[str, dict[str, T]] = {}
    outside = []
    known = roots()
    for name, tensor in tensors.items():
        prefix, rest = split(name, known)
        if rest.split(".")[0] in known:
            models.setdefault(prefix, {})[rest] = tensor
        elif rest not in CONSTANTS:
            outside.append(name)
    whole = [prefix for prefix, found in models.items() if not missing(found)]
    if not whole:
        raise ValueError(why_none(tensors, models))
    chosen = min(whole, key=lambda prefix: bool(COPIES & set(re.split(r"[._]", prefix))))
    tell(whole, chosen, outside, source)
    return models[chosen]


def roots() -> set[str]:
    """The first words of tensors' names: SAM's parts, and those of other registered decoders."""
    return {*chain.from_iterable(PARTS.values()), *(kind.part for kind in DECODERS.values())}


def split(name: str, known: set[str]) -> tuple[str, str]:
    """Split a name before its first part's name; without one, before the last word."""
    words = [word for word in name.split(".") if word not in NOISE]
    at = next((i for i, word in enumerate(words) if word in known), len(words) - 1)
    return ".".join(words[:at]), ".".join(words[at:])


def missing(model: Mapping[str, Any]) -> list[str]:
    """The parts of SAM that a model lacks."""
    there = {name.split(".")[0] for name in model}
    return [part for part, roots in PARTS.items() if not there.intersection(roots)]


def why_none(tensors: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> str:
    """The reason why these tensors hold no SAM."""
    if found := other_model(tensors):
        return f"it is a checkpoint of {found}, not of SAM"
    if not tensors:
        return "it holds no named tensors"
    if models:
        largest = max(models.values(), key=len)
        return f"it holds no {' and no '.join(missing(largest))}; SAM has {', '.join(PARTS)}"
    return (
        f"not a SAM checkpoint: none of its tensors (for example {shown(next(iter(tensors)))}) "
        f"belongs to an {' or '.join(PARTS)}"
    )


def tell(whole: list[str], chosen: str, outside: list[str], source: str) -> None:
    """Warn about other models in the file, and about tensors that are not SAM's."""
    if len(whole) > 1:
        others = ", ".join(short(prefix) for prefix in whole if prefix != chosen)
        warnings.warn(
            f"{source}: using {short(chosen)}; the file also holds {others}", stacklevel=2
        )
    before = f"{chosen}." if chosen else ""
    own = Counter(
        before * name.startswith(before) + name.removeprefix(before).split(".")[0]
        for name in outside
        if not TRAINING.match(name)
    )
    if own:
        listed = ", ".join(f"{shown(part)} ({count})" for part, count in own.most_common(5))
        rest = f" and {len(own) - 5} more parts" if len(own) > 5 else ""
        warnings.warn(f"{source}: tensors outside SAM are ignored: {listed}{rest}", stacklevel=2)
