"""Where the model is asked: crops of an image, and the grids of points in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ..arrays import to_numbers
from ..messages import short

MAX_POINTS = 1024  # along a side: a million, and more would be a mistake
CROP_EDGE = 20  # pixels; a box this close to a crop's edge was probably cut by it


def build_point_grid(n_per_side: int) -> np.ndarray:
    """n x n points (n*n, 2), row by row, at the centres of equal cells of the unit square."""
    offset = 1 / (2 * n_per_side)
    centres = np.linspace(offset, 1 - offset, n_per_side)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def layered_point_grids(n_per_side: int, n_layers: int, downscale: float) -> list[np.ndarray]:
    """One grid for the image and one for each crop layer, each ``downscale`` times coarser."""
    try:
        sides = [int(n_per_side / downscale**layer) for layer in range(n_layers + 1)]
    except (OverflowError, ZeroDivisionError):  # of factors like 1e300 and 1e-300
        sides = [n_per_side, 0]
    if not all(1 <= side <= MAX_POINTS for side in sides):
        raise ValueError(
            f"points_per_side={n_per_side} and crop_n_points_downscale_factor={downscale} leave "
            f"{sides} points a side for the crop layers; expected at least 1 in each, and "
            f"{MAX_POINTS} at most"
        )
    return [build_point_grid(side) for side in sides]


def check_point_grids(grids: Any, n_layers: int) -> list[np.ndarray]:
    """Grids (K, 2) as shares of width and height: one for the image, one for each crop layer.

    Raises ValueError for another number of them, and for points outside 0 to 1.
    """
    if not isinstance(grids, (Sequence, np.ndarray)) or isinstance(grids, str):
        raise ValueError(f"point_grids is {short(grids)}; expected a list, an array a crop layer")
    grids = [to_numbers(grid, f"point_grids[{i}]") for i, grid in enumerate(grids)]
    if len(grids) <= n_layers:
        raise ValueError(
            f"point_grids has {len(grids)} grids; expected {n_layers + 1}: one for the image and "
            f"one for each of the {n_layers} crop layers"
        )
    for i, grid in enumerate(grids):
        if grid.ndim != 2 or grid.shape[1] != 2 or len(grid) == 0:
            raise ValueError(
                f"point_grids[{i}] has shape {grid.shape}; expected (N, 2), N >= 1: x, y in [0, 1]"
            )
        if len(grid) > MAX_POINTS**2:
            raise ValueError(f"point_grids[{i}] has {len(grid)} points; at most {MAX_POINTS**2}")
        if not (np.isfinite(grid).all() and grid.min() >= 0 and grid.max() <= 1):
            raise ValueError(f"point_grids[{i}] holds values outside [0, 1]")
    return list(map(np.array, grids))  # copies: the caller's may change later


def generate_crop_boxes(
    image_size: tuple[int, int], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Crops as x0, y0, x1, y1 (exclusive) and their layers: the image, then 2^i x 2^i for i >= 1.

    Empty crops, which a very small image would have, are left out; the original fails.
    """
    height, width = image_size
    boxes, layers = [[0, 0, width, height]], [0]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        crop_width, crop_height = (
            math.ceil((overlap * (n - 1) + side) / n) for side in (width, height)
        )
        for i, j in product(range(n), repeat=2):
            x0, y0 = (crop_width - overlap) * i, (crop_height - overlap) * j
            if x0 < width and y0 < height:
                boxes.append([x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height)])
                layers.append(layer)
    return boxes, layers


def near_crop_edge(boxes: np.ndarray, crop_box: np.ndarray, image_size: np.ndarray) -> np.ndarray:
    """Whether boxes (N, 4) touch an edge of the crop that is not an edge of the image: (N,)."""
    height, width = image_size.tolist()
    near_crop = np.abs(boxes - crop_box) <= CROP_EDGE
    near_image = np.abs(boxes - (0, 0, width, height)) <= CROP_EDGE
    return (near_crop & ~near_image).any(axis=1)
