"""Samples of any type as uint8: one range for each band of a picture, the same in all windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..samples import Range, stretch
from .readers import Reader

PERCENTILES = (0.5, 99.5)  # of the samples that become black and white
SAMPLES = 1 << 22  # pixels of an overview that are looked at whole
BLOCKS, BLOCK = 8, 128  # along each side, where there is none; pixels


def found_ranges(
    reader: Reader, bands: Sequence[int], percentiles: tuple[float, float] = PERCENTILES
) -> list[Range] | None:
    """For each band the samples that become black and white; None for 8 bits, taken as they are.

    Percentiles of the coarsest level; where that is large, of 8 x 8 blocks spread over it.
    Raises ValueError where no pixel has a value.
    """
    if reader.dtype in (np.uint8, np.bool_):
        return None
    found: list[list[np.ndarray]] = [[] for _ in bands]
    for samples, valid in looked_at(reader, bands):
        for kept, band in zip(found, np.moveaxis(samples, -1, 0)):
            kept.append(band[valid & np.isfinite(band)])
    ranges = []
    for parts in found:
        values = np.concatenate(parts)
        if len(values) == 0:
            raise ValueError("no pixel that was looked at has a value: all are nodata or NaN")
        low, high = np.percentile(values, percentiles).tolist()
        ranges.append((low, high if high > low else low + 1))
    return ranges


def looked_at(
    reader: Reader, bands: Sequence[int], whole: int = SAMPLES
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples (h, w, bands) of an overview, a part at a time, and which pixels have a value.

    whole: pixels up to which it is read whole.
    """
    level = len(reader.sizes) - 1
    height, width = reader.sizes[level]
    if height * width <= whole:
        parts = [(0, 0, width, height)]
    else:
        w, h = min(BLOCK, width), min(BLOCK, height)
        xs, ys = (np.linspace(0, n, BLOCKS).astype(int) for n in (width - w, height - h))
        parts = [(x, y, w, h) for y in ys.tolist() for x in xs.tolist()]
    for part in parts:
        samples = reader.read(level, *part, bands)
        yield samples, valid_pixels(reader, level, part, samples)


def valid_pixels(
    reader: Reader, level: int, part: tuple[int, int, int, int], samples: np.ndarray
) -> np.ndarray:
    """Whether the pixels of samples (h, w, bands) have a value, (h, w)."""
    valid = reader.valid(level, *part)
    if valid is None:
        valid = np.ones(samples.shape[:2], bool)
    if reader.nodata is not None and not np.isnan(reader.nodata):
        valid = valid & ~(samples == reader.nodata).all(axis=-1)
    if samples.dtype.kind == "f":
        valid = valid & ~np.isnan(samples).all(axis=-1)
    return valid


def to_uint8(samples: np.ndarray, ranges: Sequence[Range] | None) -> np.ndarray:
    """Samples (h, w, bands) as uint8."""
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * 255
    if ranges is None:
        return samples
    bands = [
        stretch(band[..., None], *limits)
        for band, limits in zip(np.moveaxis(samples, -1, 0), ranges)
    ]
    return np.concatenate(bands, axis=-1)
