"""What is trained on, and what a model is judged by: by file, or by place in each picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import SamConfig
from ..masks import rle_area
from ..transforms import input_size
from .data import LabelledPicture
from .examples import Example, examples_of

VALIDATION = 0.2  # share of the files, or of each picture's width
GAP = 0.05  # of the width, in between, where pictures are split by place
MIN_FILES = 5  # for a split by file
WAYS = ("file", "place")
# Diameters of objects, pixels of the input frame: SAM sees none, sees them badly, sees them well.
TOO_SMALL, SMALL, GOOD = 5, 10, 30


def split(
    pictures: Sequence[LabelledPicture],
    min_area: int,
    crop: int | None,
    way: str | None = None,
) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and for validation.

    way: "file", or "place": the left of each picture is trained on, its right is for validation.
    By default pictures that may be frames of one series, which look alike, are split by place.
    Both sides are seen as large as in whole pictures, which is how the model will be used.
    """
    way = way or ("place" if are_series(pictures) else "file")
    if way == "place":
        ends = (0.0, 1 - VALIDATION - GAP), (1 - VALIDATION, 1.0)
        found = [examples_of(pictures, min_area, crop, part, in_place=True) for part in ends]
    else:
        files = sorted({one.path for one in pictures})
        chosen = set(files[:: max(1, round(1 / VALIDATION))]) if len(files) > 1 else set()
        found = [
            examples_of([p for p in pictures if (p.path in chosen) == held], min_area, crop)
            for held in (False, True)
        ]
    training, validation = found
    return training, validation


def are_series(pictures: Sequence[LabelledPicture]) -> bool:
    """Whether pictures may be frames of one series: pages of a stack, few files, or files whose
    names differ in numbers alone.
    """
    files = {one.path for one in pictures}
    names = {re.sub(r"\d+", "0", file.name) for file in files}
    return len(files) < max(MIN_FILES, len(pictures)) or len(names) == 1


def check_sides(
    training: Sequence[Example], validation: Sequence[Example], config: SamConfig, min_area: int
) -> None:
    """Raise ValueError where there is nothing on a side, or objects are too small for the model."""
    if not (training and validation):
        raise ValueError(
            f"{len(training)} parts with objects are to train on and {len(validation)} for "
            f"validation; both need objects of --min-area pixels or more, which is {min_area}. "
            "Where labels are not all 0, --validation DATA gives pictures to judge by"
        )
    diameter = median_diameter(training, config)
    if diameter < TOO_SMALL:
        side = fitting_side(diameter_in_picture(training), config)
        raise ValueError(
            f"half of the objects are under {diameter:.1f} pixels at the model's scale, and SAM "
            f"sees none under {TOO_SMALL}: --crop {side} cuts pictures into squares of that side"
        )


def advice(at_scale: float, in_picture: float, config: SamConfig) -> str | None:
    """What to say of objects by their median diameter at the model's scale and in pictures; None
    where they are large enough.
    """
    if at_scale >= SMALL:
        return None
    side = fitting_side(in_picture, config)
    return (
        f"half of the objects are under {at_scale:.0f} pixels at the model's scale, where {SMALL} "
        f"and more are seen well: --crop {side} cuts pictures into squares in which they are "
        f"{GOOD}; later use then needs windows of that size, as sam-mlx auto --tile {side} gives"
    )


def fitting_side(diameter: float, config: SamConfig) -> int:
    """The side of squares in which objects of a diameter, pixels of the picture, are seen well."""
    return max(16, round(config.image_size / GOOD * diameter))


def median_diameter(examples: Sequence[Example], config: SamConfig) -> float:
    """In pixels of the input frame."""
    return float(np.median(np.concatenate([diameters(e, config) for e in examples])))


def diameters(example: Example, config: SamConfig) -> np.ndarray:
    """Of an example's objects, in pixels of the model's input frame."""
    scale = max(input_size(example.size, config)) / max(example.size)
    return scale * np.sqrt(np.array([rle_area(rle) for rle in example.objects]) * 4 / np.pi)


def diameter_in_picture(examples: Sequence[Example]) -> float:
    """The median, in pixels of the pictures."""
    areas = [rle_area(rle) for example in examples for rle in example.objects]
    return float(np.median(np.sqrt(np.array(areas) * 4 / np.pi)))


def check_apart(training: Sequence[Example], validation: Sequence[Example]) -> None:
    """Raise ValueError where the same pixels are on both sides."""
    known = {example.digest: example.name for example in training}
    for example in validation:
        if example.digest in known:
            raise ValueError(
                f"{example.name} is for validation and has the pixels of {known[example.digest]}, "
                "which is trained on: take one of them away"
            )


def described(training: Sequence[Example], validation: Sequence[Example]) -> dict[str, Any]:
    """What ``split.json`` holds: each side's parts, their boxes and digests."""
    return {
        side: [
            {"picture": one.picture.name, "box": list(one.box), "objects": len(one.objects),
             "sha256": one.digest}
            for one in examples
        ]
        for side, examples in (("training", training), ("validation", validation))
    }  # fmt: skip
