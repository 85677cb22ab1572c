"""Anything with a shape and slicing: numpy's arrays and memory maps, zarr, dask, h5py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import to_numpy
from .base import Reader, default_colours, split_axes

AXES = {2: "YX", 3: "YXC"}


class ArrayReader(Reader):
    """Levels of one picture, as arrays with the same axes. Axes other than Y, X and the bands, as
    time and depth are, give their first entry.
    """

    def __init__(self, levels: Sequence[Any], axes: str | None = None, name: str = "the array"):
        self.levels, shape = levels, tuple(levels[0].shape)
        axes = axes or AXES.get(len(shape), "")
        self.y, self.x, self.band = split_axes(axes, shape, name)
        self.bands = 1 if self.band is None else shape[self.band]
        self.sizes = [(level.shape[self.y], level.shape[self.x]) for level in levels]
        if 0 in shape:
            raise ValueError(f"{name} has shape {shape}: it holds no pixels")
        # Of gray and alpha, or colours and alpha, alpha is not shown.
        self.colours = default_colours(self.bands)
        found = getattr(levels[0], "dtype", None)
        self.dtype = self.read(0, 0, 0, 1, 1, [0]).dtype if found is None else np.dtype(found)

    def read(
        self, level: int, x: int, y: int, width: int, height: int, bands: Sequence[int]
    ) -> np.ndarray:
        """The pixels (height, width, bands) of a rectangle."""
        array = self.levels[level]
        where: list[Any] = [slice(0, 1)] * len(array.shape)
        where[self.y], where[self.x] = slice(y, y + height), slice(x, x + width)
        order = [self.y, self.x]
        if self.band is None:
            part = to_numpy(array[tuple(where)], "the array")
            return np.moveaxis(part, order, [-2, -1]).reshape(height, width, 1)
        first, last = min(bands), max(bands)
        where[self.band] = slice(first, last + 1)
        part = to_numpy(array[tuple(where)], "the array")
        part = np.moveaxis(part, [*order, self.band], [-3, -2, -1]).reshape(height, width, -1)
        return part[..., [band - first for band in bands]]
