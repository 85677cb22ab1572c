"""Which samples are black and white, in pictures that use little of the range they are read by."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ..samples import MIN_LEVELS, Range
from .data import LabelledPicture

WHOLE = (0.0, 65536.0)  # of 16-bit samples
OUTSIDE = 0.001  # share of the pixels that may be below the range, and above it


def ranged(
    pictures: Sequence[LabelledPicture], known: Range | None
) -> tuple[Sequence[LabelledPicture], Range | None]:
    """The pictures, read by a range where they need one, and that range.

    known: the model's own, by which they are read already.
    """
    found = None if known else found_range(pictures)
    return (pictures if found is None else [one.with_range(found) for one in pictures]), found


def found_range(pictures: Sequence[LabelledPicture]) -> Range | None:
    """The range of all pictures' 16-bit samples but the outermost, where the usual rule leaves
    fewer than 64 gray values of it. None where it leaves more, or samples have 8 bits.

    The usual rule begins at 0, and cameras and stitched pictures often have an offset: of samples
    from 32,978 to 36,863 it leaves 16 gray values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is about to be replaced
        low, high = spread([one.pixels() for one in pictures])
    if high - low >= MIN_LEVELS or not any(has_16_bits(one) for one in pictures):
        return None
    found = WHOLE
    for _ in range(2):  # to a 256th of the range, twice
        low, high = spread([one.with_range(found).pixels() for one in pictures])
        step = (found[1] - found[0]) / 256
        found = found[0] + step * low, found[0] + step * (high + 1)
    return found


def spread(pictures: Sequence[np.ndarray]) -> tuple[int, int]:
    """The lowest and the highest gray value of pictures, but for the outermost pixels."""
    counts = sum(np.bincount(pixels.ravel(), minlength=256) for pixels in pictures)
    share = np.cumsum(counts) / np.sum(counts)
    low, high = np.searchsorted(share, (OUTSIDE, 1 - OUTSIDE)).tolist()
    return low, high


def has_16_bits(picture: LabelledPicture) -> bool:
    """Whether its samples are read by a range at all."""
    half = WHOLE[1] / 2
    low, high = (picture.with_range(r).pixels() for r in ((0.0, half), (half, WHOLE[1])))
    return not np.array_equal(low, high)
