"""How many masks a tile's border has cut: a number that shows at a glance whether tiles have seams.

A mask counts if its edge runs along a border for ``MIN_RUN`` pixels or more, and the line of pixels
``DEPTH`` farther inside is less than half as long again: the round end of an object that only
touches the border widens faster (a circle's to twice). An object with a straight edge of its own
there counts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .found import Found

MIN_RUN = 8
DEPTH = 3
ROUND = 1.5  # how many times longer that line of a round end is, at least


def is_cut(mask: np.ndarray, corner: tuple[int, int], xs: Sequence[int], ys: Sequence[int]) -> bool:
    """Whether a mask (h, w), whose upper left pixel is at the corner x, y, has a straight edge on
    an upright line x of ``xs`` or a level line y of ``ys``.
    """
    pad = DEPTH + 1
    padded = np.pad(mask, pad)
    upright = has_straight_edge(padded, [x - corner[0] + pad for x in xs])
    return upright or has_straight_edge(padded.T, [y - corner[1] + pad for y in ys])


def has_straight_edge(padded: np.ndarray, lines: Sequence[int]) -> bool:
    """Whether the mask's edge runs along one of the lines between columns ``line - 1`` and
    ``line``. The mask has more than ``DEPTH`` unset pixels on every side.
    """
    for line in lines:
        if not DEPTH < line < padded.shape[1] - DEPTH:
            continue
        left, right = padded[:, line - 1], padded[:, line]
        before, after = padded[:, line - 1 - DEPTH], padded[:, line + DEPTH]
        for edge, inner in ((left & ~right, before), (right & ~left, after)):
            if any(is_straight(a, b, inner) for a, b in runs(edge)):
                return True
    return False


def is_straight(start: int, end: int, inner: np.ndarray) -> bool:
    """Whether a run of the edge is long, and as long as the line of pixels inside of it."""
    if end - start < MIN_RUN:
        return False
    longest = max((b - a for a, b in runs(inner) if a < end and b > start), default=0)
    return longest < ROUND * (end - start)


def runs(line: np.ndarray) -> list[tuple[int, int]]:
    """Where set pixels of a line begin and end."""
    ends = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
    return list(zip(ends[::2].tolist(), ends[1::2].tolist()))


def count_cut(found: Iterable[Found], xs: Sequence[int], ys: Sequence[int]) -> int:
    """The number of masks with a straight edge on a border of tiles.

    xs, ys: the borders (``Tiles.borders``), in pixels of the masks' scale.
    """
    return sum(is_cut(one.mask, (one.x, one.y), xs, ys) for one in found)
