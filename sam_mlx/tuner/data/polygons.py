"""Filled polygons, in the frame where pixel (0, 0) covers 0 to 1 in x and in y."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...masks import Rle, run_lengths
from ...messages import printable, short


def fill(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of pixels whose middle is inside the rings an odd number of times.

    rings: (K, 2) each, x and y of their corners; the last is joined to the first. Parts beyond the
    picture are left out.
    """
    H, W = size
    turns = np.zeros((H, W + 1), bool)  # where a row goes from outside to inside, or back
    for ring in rings:
        (x, y), (x_next, y_next) = ring.T, np.roll(ring, -1, axis=0).T
        # The rows whose middle an edge crosses: those from ``first`` on, before ``last``.
        first, last = (
            np.clip(np.ceil(f(y, y_next) - 0.5), 0, H).astype(int) for f in (np.minimum, np.maximum)
        )
        edge = np.repeat(np.arange(len(ring)), last - first)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - last, last - first)
        slope = (x_next - x)[edge] / (y_next - y)[edge]
        crossing = x[edge] + (row + 0.5 - y[edge]) * slope
        column = np.clip(np.ceil(crossing - 0.5), 0, W).astype(int)
        np.logical_xor.at(turns, (row, column), True)
    return np.logical_xor.accumulate(turns, axis=1)[:, :W]


def filled(
    rings: Sequence[np.ndarray],
    size: tuple[int, int],
    union: bool = False,
    name: str = "the data",
) -> Rle:
    """The RLE of rings within a picture. union: all that is inside any ring, as COCO has it.

    Raises ValueError, with the ``name`` of their file, where all of them are outside.
    """
    points = np.concatenate(rings)
    (x0, y0), (x1, y1), (H, W) = points.min(axis=0), points.max(axis=0), size
    if x1 < 0 or y1 < 0 or x0 >= W or y0 >= H:
        raise ValueError(
            f"{printable(name)} has an outline from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}), outside "
            f"of its picture of {W} x {H} pixels: do they belong together?"
        )
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, size[::-1])
    high = np.clip(np.ceil(points.max(axis=0)).astype(int), low, size[::-1])
    (left, top), part = low.tolist(), tuple((high - low)[::-1].tolist())
    moved = [ring - low for ring in rings]
    groups = [[ring] for ring in moved] if union else [moved]
    mask = np.zeros(part, bool)
    for group in groups:
        mask |= fill(group, part)
    return run_lengths(mask, (top, left), size)


def rings_of(values: Any, name: str) -> list[np.ndarray]:
    """Polygons given as x, y, x, y, ... each."""
    rings = []
    for each in values:
        ring = np.asarray(each, float)
        if ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 or not np.isfinite(ring).all():
            raise ValueError(
                f"{printable(name)} has the polygon {short(each)}; expected x, y, x, y, ... of "
                "three corners or more"
            )
        rings.append(ring.reshape(-1, 2))
    return rings
