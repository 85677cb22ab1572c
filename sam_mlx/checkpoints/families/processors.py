"""How transformers says that pictures are prepared: its image processor's settings."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config import MAX_PIXEL, SamConfig
from ...files import read_json
from ...messages import short, shown

# Files of transformers 5 and of older versions; if both are there, the first counts.
NESTED, PLAIN = "processor_config.json", "preprocessor_config.json"
KEY = "image_processor"  # of the settings in the first
MAX_DEPTH = 8  # of the search for settings in other layouts
FLAGS = ("do_resize", "do_rescale", "do_normalize", "do_pad")
# Defaults of transformers' SamImageProcessor.
PROCESSOR: dict[str, Any] = {
    "do_resize": True, "size": {"longest_edge": 1024}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": (0.485, 0.456, 0.406),
    "image_std": (0.229, 0.224, 0.225), "do_pad": True, "pad_size": None,
}  # fmt: skip
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# Only in such settings, wherever they are.
TELLING = {"image_mean", "image_std", "rescale_factor", "do_normalize", "do_rescale"}
NORMALISING = [("mean", "std"), ("means", "stds"), ("mean", "stdev")]  # as timm and torchvision
# Fields of any value that change nothing here: of masks, of calls, of classes.
INERT = {
    "image_processor_type", "feature_extractor_type", "processor_class", "auto_map",
    "mask_size", "mask_pad_size", "do_convert_rgb", "data_format", "input_data_format",
    "return_tensors", "device", "disable_grouping", "default_to_square", "crop_size",
    "size_divisor", "image_seq_length", "_valid_processor_keys",
}  # fmt: skip


def find(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The file in a folder that holds an image processor's settings, and these; None without one.

    Raises ValueError where the folder has them in a layout that is not known.
    """
    nested, plain = folder / NESTED, folder / PLAIN
    values = objects(read_json(nested), nested) if os.path.lexists(nested) else {}
    if values.get(KEY) is not None:
        return nested, objects(values[KEY], nested)
    if os.path.lexists(plain):
        values = objects(read_json(plain), plain)
        if PROCESSOR.keys() & values.keys() or not any(places(values)):
            return plain, values
    refuse_unknown(folder)
    return None


def objects(values: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} holds {short(values)}; expected an object")
    return values


def refuse_unknown(folder: Path) -> None:
    """Raise ValueError if any file describes how pictures are prepared, elsewhere than it should:
    to pass it over would prepare them differently, without a word.
    """
    for path in sorted(folder.glob("*.json")):
        values = None
        with suppress(ValueError, OSError):  # too large, or not JSON: not a model's settings
            values = read_json(path)
        for place in places(values):
            raise ValueError(
                f"{path} describes how pictures are prepared in a layout that is not known, at "
                f"{shown(place)}: move this to {PLAIN}, or choose by preprocess='sam' or another"
            )


def places(values: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """The paths of objects, at any depth, that describe how pictures are prepared."""
    if isinstance(values, Mapping) and (TELLING & values.keys() or _has_three_of_each(values)):
        yield path or "its top"
    items: Iterable[tuple[Any, Any]] = ()
    if depth < MAX_DEPTH:
        items = values.items() if isinstance(values, Mapping) else items
        items = enumerate(values) if isinstance(values, list) else items
    for key, value in items:
        yield from places(value, f"{path}.{key}" if path else str(key), depth + 1)


def _has_three_of_each(values: Mapping[str, Any]) -> bool:
    """Whether there are a mean and a deviation for each channel, under the names in NORMALISING."""
    return any(_per_channel(values.get(a)) and _per_channel(values.get(b)) for a, b in NORMALISING)


def _per_channel(value: Any) -> bool:
    return isinstance(value, list) and bool(_three(value))


def preprocessing(values: Mapping[str, Any], config: SamConfig) -> SamConfig:
    """``config`` with the preprocessing that an image processor's settings describe.

    Raises ValueError if it contradicts the model, or itself.
    """
    given = {**PROCESSOR, "size": {"longest_edge": config.image_size}}
    given |= {name: value for name, value in values.items() if value is not None}
    check_fields(given)
    mean, std, factor = normalisation(given)
    pixels = tuple(m / factor for m in mean), tuple(s / factor for s in std)
    own = config.pixel_mean, config.pixel_std
    mean, std = own if np.allclose(pixels, own) else pixels  # the same up to rounding
    return replace(
        config,
        resize=_resize(given, config.image_size),
        resample=RESAMPLE[given["resample"]],
        pixel_mean=mean,
        pixel_std=std,
    )


def check_fields(given: Mapping[str, Any]) -> None:
    """Raise ValueError for flags that are none and for steps that SAM lacks; warn of the rest."""
    for name in FLAGS:
        if type(given[name]) is not bool:
            raise ValueError(f"{name} is {short(given[name])}; expected true or false")
    if type(given["resample"]) is not int or given["resample"] not in RESAMPLE:
        raise ValueError(
            f"resample is {short(given['resample'])}; expected 2 (bilinear) or 3 (bicubic)"
        )
    others = sorted(name for name in given.keys() - PROCESSOR.keys() - INERT if given[name])
    if steps := [name for name in others if name.startswith("do_")]:
        raise ValueError(
            f"{shown(steps[0])} is {short(given[steps[0]])}; SAM's pictures are resized, "
            "normalised and padded, and nothing else"
        )
    for name in others:
        for place in places(given[name], name):
            raise ValueError(
                f"{shown(name)} describes how pictures are prepared in a layout that is not known, "
                f"at {shown(place)}: move this to {PLAIN}, or choose by preprocess='sam' or another"
            )
    if others:
        listed = ", ".join(map(shown, others[:5]))
        warnings.warn(f"fields of the image processor that are not known: {listed}", stacklevel=2)


def normalisation(given: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """Three means, three deviations, and the factor that pixels are multiplied by before."""
    factor = given["rescale_factor"] if given["do_rescale"] else 1.0
    mean, std = (_three(given[name]) for name in ("image_mean", "image_std"))
    if not given["do_normalize"]:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    fits = mean and std and all(s > 0 for s in std) and _is_number(factor)
    if not fits or not 1 / MAX_PIXEL <= factor <= MAX_PIXEL:
        raise ValueError(
            f"image_mean is {short(given['image_mean'])}, image_std {short(given['image_std'])}, "
            f"rescale_factor {short(factor)}; expected three means, three deviations above 0 and a "
            f"factor from 1/{MAX_PIXEL} to {MAX_PIXEL}"
        )
    return mean, std, factor


def _three(value: Any) -> tuple[float, ...]:
    """Three numbers, or one for all channels; nothing if they are anything else."""
    values = (value,) * 3 if _is_number(value) else value
    fits = isinstance(values, (list, tuple)) and len(values) == 3
    return tuple(values) if fits and all(map(_is_number, values)) else ()


def _is_number(value: Any) -> bool:
    """True for finite numbers of a size that float64 has."""
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _resize(given: Mapping[str, Any], side: int) -> str:
    size = given["size"] if isinstance(given["size"], Mapping) else {"longest_edge": given["size"]}
    square = {"height": side, "width": side}
    if not given["do_resize"]:
        raise ValueError(f"do_resize is false; the model takes {side} x {side} pixels only")
    if size == {"longest_edge": side}:
        padded = given["pad_size"] or square
        if not given["do_pad"] or padded != square:
            raise ValueError(
                f"do_pad is {given['do_pad']}, pad_size {short(padded)}; the model takes "
                f"{side} x {side}"
            )
        return "longest"
    if size == square:
        return "square"
    raise ValueError(
        f"size is {short(size)}; expected longest_edge {side}, or height and width {side}: the "
        "model's own"
    )
