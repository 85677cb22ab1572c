"""Strokes of brush and eraser on an object's mask. Only the part that they touch is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..masks import brush, compress_rle, decode_part, rle_area, rle_bbox, run_lengths
from .errors import Refusal

WHOLE = 50_000_000  # pixels of a mask up to which it is decoded whole
MAX_PART = 100_000_000  # pixels that are decoded of a larger one, at most

Rle = dict[str, Any]


def with_strokes(
    start: Rle | None, edits: Sequence[dict[str, Any]], size: tuple[int, int], scale: int = 1
) -> Rle:
    """The compressed RLE of a mask after strokes, whose positions are pixels of the picture.

    start: None is empty. size: height and width of the mask, each of whose pixels is ``scale``
    pixels of the picture along both sides.
    """
    if start is not None and not edits:
        return start
    x0, y0, x1, y1 = box = touched(start, edits, size, scale)
    if (x1 - x0) * (y1 - y0) > MAX_PART:
        raise Refusal(400, "the object is too large to be painted on: zoom out, or paint less")
    mask = np.zeros((y1 - y0, x1 - x0), bool) if start is None else decode_part(start, box)
    for edit in edits:
        path = np.array(edit["path"], float) / scale - (x0, y0)
        mask = brush(mask, path.tolist(), edit["radius"] / scale, edit["erase"])
    return compress_rle([run_lengths(mask, (y0, x0), size)])[0]


def touched(
    start: Rle | None, edits: Sequence[dict[str, Any]], size: tuple[int, int], scale: int
) -> tuple[int, int, int, int]:
    """The box of a mask and strokes, x0, y0, x1, y1 (exclusive), within the picture; a pixel where
    there is nothing. Of a picture that is not large it is the whole, so that positions stay as they
    are.
    """
    height, width = size
    if scale == 1 and height * width <= WHOLE:
        return 0, 0, width, height
    boxes = []
    if start is not None and rle_area(start):
        x, y, w, h = rle_bbox(start)
        boxes.append([x, y, x + w, y + h])
    for edit in edits:
        corners, reach = np.array(edit["path"], float) / scale, edit["radius"] / scale + 1
        low, high = corners.min(axis=0) - reach, corners.max(axis=0) + reach
        boxes.append([*np.floor(low), *np.ceil(high)])
    table = np.array(boxes or [[0, 0, 1, 1]])
    x0, y0 = table[:, :2].min(axis=0).clip(0, (width - 1, height - 1)).astype(int).tolist()
    x1, y1 = table[:, 2:].max(axis=0).clip((x0 + 1, y0 + 1), (width, height)).astype(int).tolist()
    return x0, y0, x1, y1
