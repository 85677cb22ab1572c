"""Strokes of a brush on a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..arrays import to_finite, to_numbers
from ..messages import short
from .arrays import check_mask


def brush(
    mask: np.ndarray, path: Sequence[Sequence[float]], radius: float, erase: bool = False
) -> np.ndarray:
    """A mask (H, W) after a stroke of a round brush, or eraser, along a path of x, y (N, 2).

    Pixels are set whose middle is at most ``radius`` from the path: pixel (0, 0) has its middle
    at 0.5, 0.5, as in ``polygons``. A path of one point is a disc. Raises ValueError for a path or
    a radius of another form.
    """
    mask = check_mask(mask).copy()
    corners = to_numbers(path, "path")
    corners = corners.reshape(0, 2) if corners.size == 0 else corners
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError(f"path has shape {corners.shape}; expected (N, 2): x, y in pixels")
    corners = to_finite(corners, "path")
    width = to_finite(to_numbers(radius, "radius"), "radius")
    if width.ndim or width < 0:
        raise ValueError(f"radius is {short(radius)}; expected pixels, 0 or more")
    radius = float(width)
    ends = corners[1:] if len(corners) > 1 else corners
    for start, end in zip(corners, ends):
        _stroke(mask, start, end, radius, not erase)
    return mask


def _stroke(
    mask: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, value: bool
) -> None:
    """Set the pixels near a line, in place."""
    low = np.floor(np.minimum(start, end) - radius - 0.5).clip(0, mask.shape[::-1]).astype(int)
    high = np.ceil(np.maximum(start, end) + radius + 0.5).clip(0, mask.shape[::-1]).astype(int)
    x = np.arange(low[0], high[0]) + 0.5 - start[0]
    y = (np.arange(low[1], high[1]) + 0.5 - start[1])[:, None]
    dx, dy = end - start
    along = ((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12)).clip(0, 1)
    near = (x - along * dx) ** 2 + (y - along * dy) ** 2 <= radius**2
    mask[low[1] : high[1], low[0] : high[0]][near] = value
