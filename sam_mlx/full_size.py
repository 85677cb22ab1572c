"""Masks at full size: the way out of the model, as ``transforms`` is the way in.

Logits (n, n) become the H x W pixels of a picture as in the original (``Sam.postprocess_masks``):
enlarged to the padded square, its padding cropped, resized, each bilinear. That is linear and
separable, so it is one matrix along each axis. A pixel depends on three or four logits of an axis,
so 128 pixels depend on about 20: nearly all of the matrix is zeros, and it is kept as bands.
(GPUs make whole masks of bands of 512 pixels, which are fewer launches.)

       logits (n, n)               pixels (H, W)
      0           n               0     128     256    W
    0 +-----------+             0 +------+-------+-----+
      |           |               |      |       |     |
      |===========|   rows    128 +------+-------+-----+
      |===========|   ---->       |      |///////|/////|   a strip (/) is where one band of rows
      |           |           256 +------+-------+-----+   crosses the bands of columns that are
      |           |  columns      |      |       |     |   asked for
    n +-----------+   ---->     H +------+-------+-----+

A band of rows stands for 128 rows of pixels: it is the slice of the logits (=) that they depend on,
and the matrix that makes them. A band of columns is the same across.

``upscale_masks`` makes all pixels. Automatic masks are many, each in a small part of the picture:
``strips`` measures and cuts them strip by strip, where they reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import mlx.core as mx
import numpy as np

from .arrays import check_size
from .machine.budget import budget
from .machine.streams import enter, spread
from .machine.worker import at_work
from .modeling.layers import interpolate_rows

MAX_SIDE = 1 << 16  # of a model's input, pixels
THIN = 16  # times the memory of the other order

Band = tuple[slice, mx.array]  # logits of a line, and the matrix that makes pixels of them


@dataclass(frozen=True)
class Grid:
    """The bands by which logits (n, n) become the pixels (H, W) of a picture."""

    n: int
    size: tuple[int, int]  # height, width
    rows: list[Band]
    columns: list[Band]

    @classmethod
    def of(
        cls,
        n: int,
        input_size: tuple[int, int],
        original_size: tuple[int, int],
        image_size: int,
        pixels: int | None = None,
    ) -> Grid:
        """pixels: of a band; by default as many as strips have. Raises ValueError for sizes that do
        not fit together.
        """
        check_size(original_size, "original_size")
        if max(check_size(input_size, "input_size")) > image_size or image_size > MAX_SIDE:
            raise ValueError(
                f"input_size is {input_size} and image_size {image_size}; expected sides up to it, "
                f"and it up to {MAX_SIDE}"
            )
        sides, pixels = zip(input_size, original_size), pixels or budget().strip_pixels
        bands = (bands_of(n, image_size, inner, outer, pixels) for inner, outer in sides)
        return cls(n, original_size, *bands)

    def columns_first(self, whole: bool) -> bool:
        """Whether columns go first. Rows do, except where they would take THIN times the memory:
        for whole masks H x n values instead of n x W, for a strip h x n for its h x W pixels.
        """
        H, W = self.size
        return (H if whole else self.n) > THIN * W


@lru_cache(maxsize=16)
def bands_of(n: int, image_size: int, inner: int, outer: int, pixels: int) -> list[Band]:
    """Along one axis, n -> image_size, cropped to inner, -> outer, as bands of one matrix.

    A band has so many ``pixels``: shorter ones would be more, smaller products. There are at most
    256 bands: along a line of a million pixels, each logit has thousands of them.
    """
    cropped = interpolate_rows(np.eye(n), image_size)[:inner]
    length = max(pixels, -(-outer // 256))
    bands = []
    for i in range(0, outer, length):
        rows = interpolate_rows(cropped, outer, range(i, min(i + length, outer)))
        used = np.flatnonzero(rows.any(axis=0))
        band = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((band, mx.array(rows[:, band].astype(np.float32))))
    mx.eval([part for _, part in bands])  # cached, so it must outlive this thread
    return bands


def edges(bands: Sequence[Band]) -> np.ndarray:
    """Where bands begin, in pixels, and finally where the last one ends."""
    return np.cumsum([0, *(len(matrix) for _, matrix in bands)])


def _whole(masks: mx.array, grid: Grid, columns_first: bool, threshold: float | None) -> mx.array:
    """Masks (..., n, n) at full size (..., H, W), in float32, or which pixels are above it."""
    x = masks.astype(mx.float32)
    if columns_first:
        x = mx.concatenate([make_columns(x, *band) for band in grid.columns], axis=-1)
        parts, axis = [partial(make_rows, x, *band, threshold) for band in grid.rows], -2
    else:
        x = mx.concatenate([make_rows(x, *band) for band in grid.rows], axis=-2)
        parts, axis = [partial(make_columns, x, *band, threshold) for band in grid.columns], -1
    return mx.concatenate(spread(parts), axis=axis)


def make_rows(
    x: mx.array, band: slice, matrix: mx.array, threshold: float | None = None
) -> mx.array:
    """Rows of pixels (..., rows, m) of a band, from logits (..., n, m); with a threshold, bool."""
    return _above(matrix @ x[..., band, :], threshold)


def make_columns(
    x: mx.array, band: slice, matrix: mx.array, threshold: float | None = None
) -> mx.array:
    """The same for columns: (..., m, n) to (..., m, columns)."""
    return _above(x[..., band] @ matrix.T, threshold)


def _above(x: mx.array, threshold: float | None) -> mx.array:
    return x if threshold is None else x > threshold


def upscale_masks(
    masks: mx.array,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    image_size: int,
    threshold: float | None = None,
) -> mx.array:
    """Low-resolution logits (..., n, n) to the original image's size (..., H, W), in float32.

    input_size: height, width of the image in the model's input frame, a square of ``image_size``
    pixels a side. With ``threshold`` the result is bool, the logits above it.
    """
    enter()
    bands = budget().band_pixels
    grid = Grid.of(masks.shape[-1], input_size, original_size, image_size, bands)
    return _whole(masks, grid, grid.columns_first(whole=True), threshold)


@at_work
def enlarge(
    masks: mx.array,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    image_size: int,
    threshold: float | None = None,
) -> np.ndarray:
    """``upscale_masks`` of (B, C, n, n), a prompt at a time: at full size logits are large."""
    sizes = input_size, original_size, image_size
    if len(masks) == 1:  # avoids a second copy
        return np.array(upscale_masks(masks, *sizes, threshold))
    full = np.empty((*masks.shape[:2], *original_size), np.float32 if threshold is None else bool)
    for i, logits in enumerate(masks):
        full[i] = np.array(upscale_masks(logits, *sizes, threshold))
    return full
