"""Connected regions of a mask: the small ones are removed."""

from __future__ import annotations

import numpy as np

from ..messages import short
from ..options import number
from .arrays import check_mask
from .rle import Rle, decode_rle, encode_rle

AREA = number("pixels, 0 or more", lambda area: area >= 0)


def remove_small_regions(mask: np.ndarray, min_area: float, mode: str) -> tuple[np.ndarray, bool]:
    """Fill ``mode="holes"`` or drop ``"islands"`` of fewer than ``min_area`` pixels.

    mask: (H, W). Regions touch also at corners. When every island is too small the largest
    stays. Returns the mask and whether it changed. Raises ImportError without scipy.
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"mode is {mode!r}; expected 'holes' or 'islands'")
    if not AREA.fits(min_area):
        raise ValueError(f"min_area is {short(min_area)}; expected {AREA.words}")
    mask = check_mask(mask)
    (rows, above), (columns, beside) = (_around(np.any(mask, axis)) for axis in (1, 0))
    part = mask[rows, columns]
    weights = np.outer(above, beside)
    labels, sizes = _regions(part if mode == "islands" else ~part, weights)
    small = sizes < min_area
    small[0] = False  # label 0 is not a region: the background, or the mask itself for holes
    if not small.any():
        return mask, False
    if mode == "holes":
        part = part | small[labels]
        if part[weights > 1].any():  # the surroundings are a hole, too
            return np.repeat(np.repeat(part, above, axis=0), beside, axis=1), True
    else:
        keep = ~small
        keep[0] = False
        if not keep.any():
            keep[_largest(labels, sizes, rows.start, columns.start)] = True
        part = keep[labels]
    mask = mask.copy()
    mask[rows, columns] = part
    return mask, True


def clean_rle(rle: Rle, min_area: float) -> Rle:
    """An RLE without holes, and then without islands, of fewer than ``min_area`` pixels.

    The RLE itself where it has none of them; otherwise the result is uncompressed.
    """
    mask, filled = remove_small_regions(decode_rle([rle])[0], min_area, "holes")
    mask, dropped = remove_small_regions(mask, min_area, "islands")
    return encode_rle(mask[None])[0] if filled or dropped else rle


def _around(line: np.ndarray) -> tuple[slice, np.ndarray]:
    """The entries from the first set one to the last, and one beyond each end, which stands for all
    that follow: where they are, and how many entries each of them stands for.
    """
    found = np.flatnonzero(line)
    if not len(found):
        return slice(0, len(line)), np.ones(len(line), int)
    first, last = max(found[0] - 1, 0), min(found[-1] + 1, len(line) - 1)
    counts = np.ones(last - first + 1, int)
    counts[0] += first
    counts[-1] += len(line) - 1 - last
    return slice(first, last + 1), counts


def _regions(mask: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The region that each pixel (H, W) of a mask is in, 0 outside, and the sizes (N + 1,) in
    pixels, of which each counts for ``weights``.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError("removing small regions needs scipy: pip install scipy") from error
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return labels, np.bincount(labels.ravel(), weights.ravel(), minlength=count + 1)


def _largest(labels: np.ndarray, sizes: np.ndarray, top: int, left: int) -> int:
    """The largest region; of equal ones the first in OpenCV's order, which reads 2x2 blocks of the
    picture, in which the labels begin at ``top``, ``left``.
    """
    ties = np.flatnonzero(sizes[1:] == sizes[1:].max()) + 1
    y, x = np.nonzero(np.isin(labels, ties))
    first = np.lexsort(((x + left) // 2, (y + top) // 2))[0]
    return labels[y[first], x[first]]
