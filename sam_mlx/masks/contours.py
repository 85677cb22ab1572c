"""Exact outlines of masks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .arrays import check_mask


def polygons(mask: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Exact outlines of a mask (H, W): those of its regions, and those of holes.

    Each is (K, 2): x, y of its corners in the frame where pixel (0, 0) covers 0..1 in both, the
    first of them its topmost and leftmost. No outline passes a point twice. Regions that touch at a
    corner are apart, and so are parts of the surroundings: a region that encloses some of them up
    to such a corner has a hole there, which touches its outline. The areas of the outer ones less
    those of the holes are the mask's.
    """
    traced = _trace(check_mask(mask))
    outer, holes = (
        [ring for ring, other in zip(traced.rings, traced.is_hole) if other is wanted]
        for wanted in (False, True)
    )
    return outer, holes


def outlines(mask: np.ndarray) -> list[list[np.ndarray]]:
    """The regions of a mask (H, W), each as its outline and then those of its holes.

    Rings (K, 2) are those of ``polygons``: pixels that are inside one of a region's rings an odd
    number of times are set, and drawn so all regions give the mask back. Each region is a valid
    polygon: rings do not touch themselves, and touch each other at single points only.
    """
    mask = check_mask(mask)
    traced = _trace(mask)
    regions: dict[int, list[np.ndarray]] = {}
    owners: list[int] = []
    for i, (ring, left) in enumerate(zip(traced.rings, _rings_on_the_left(mask, traced))):
        # On the left of a hole is its region's outline, or another of its holes, met before.
        owners.append(owners[left] if traced.is_hole[i] else i)
        regions.setdefault(owners[i], []).append(ring)
    return list(regions.values())


@dataclass(frozen=True)
class _Outlines:
    rings: list[np.ndarray]  # (K, 2) each, ordered by their first corners, row by row
    is_hole: list[bool]
    x: np.ndarray  # of every corner, (N,), column by column
    y: np.ndarray
    ring: np.ndarray  # (N,) which ring the edge has that leads down from there, or ends there


def _trace(mask: np.ndarray) -> _Outlines:
    """Follow all outlines.

    An outline turns at every corner, so corners pair up along each line of the pixel grid, and
    following partner after partner, across and down by turns, is following the outline. Where an
    outline touches itself, its two corners swap their partners, which makes two outlines of it.
    """
    padded = np.pad(mask, 1)
    x, y, second, rising = _corners(padded)
    across = partners(np.lexsort((second, x, y)))
    by_column = np.lexsort((second ^ rising, y, x))
    path, starts, ring = _follow(across, partners(by_column))
    twice = np.flatnonzero(second)
    twice = twice[ring[twice] == ring[twice - 1]]
    if len(twice):
        split = np.zeros(len(x), bool)
        split[twice] = split[twice - 1] = True
        by_column = np.lexsort((second ^ rising ^ split, y, x))
        path, starts, ring = _follow(across, partners(by_column))
    points = np.stack([x[path], y[path]], axis=1)
    x0, y0 = points[starts].T
    return _Outlines(
        [points[start:end] for start, end in pairwise([*starts.tolist(), len(points)])],
        (~padded[y0 + 1, x0 + 1]).tolist(),
        x[by_column],
        y[by_column],
        ring[by_column],
    )


def _follow(across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All N corners in the order of outlines, where in it each outline starts, and which outline
    each corner is on.
    """
    ring = [-1] * len(across)
    next_across, next_down = across.tolist(), down.tolist()  # numpy is slow one by one
    path: list[int] = []
    starts: list[int] = []
    for start in range(len(ring)):
        if ring[start] >= 0:
            continue
        number, i = len(starts), start
        starts.append(len(path))
        while ring[i] < 0:
            j = next_across[i]
            ring[i] = ring[j] = number
            path += (i, j)
            i = next_down[j]
    found, at, on = (np.array(values, int) for values in (path, starts, ring))
    return found, at, on


def _rings_on_the_left(mask: np.ndarray, traced: _Outlines) -> list[int]:
    """For each ring, that of the nearest edge on the left of the pixel above its first corner, if
    the pixel is set: the run of pixels to which it belongs begins there.
    """
    if not traced.rings:
        return []
    H, W = mask.shape
    x, y = np.array([ring[0] for ring in traced.rings]).T
    is_start = mask.copy()
    is_start[:, 1:] &= ~mask[:, :-1]
    starts = np.flatnonzero(is_start)
    places = np.searchsorted(starts, (y - 1) * W + x, side="right") - 1
    row, column = np.divmod(starts[places], W)
    # The last corner of that column up to the row begins the edge beside it.
    corners = traced.x * (H + 1) + traced.y
    found: list[int] = traced.ring[
        np.searchsorted(corners, column * (H + 1) + row, side="right") - 1
    ].tolist()
    return found


def _corners(padded: np.ndarray) -> tuple[np.ndarray, ...]:
    """The corners of a mask's outlines, row by row: x, y, and for the points where two outlines
    touch, which are listed twice, whether it is the second of the two and how the pixels lie.

    The four pixels around a point, and what is there:

        a b    . .    . #    # .        one or three set: one corner
        c d    . #    # .    . #        two side by side: a straight line, no corner
              corner rising falling     two across: two outlines touch, two corners

    Of two, the first belongs to the pixel on the left. Where the pixels are rising that one lies
    below the point, where they are falling above it.
    """
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
    times = (a ^ b ^ c ^ d).view(np.uint8) + 2 * (falling | rising).view(np.uint8)
    y, x = np.nonzero(times)
    y, x = (np.repeat(i, times[y, x]) for i in (y, x))
    second = np.zeros(len(x), bool)
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    return x, y, second, rising[y, x]


def partners(order: np.ndarray) -> np.ndarray:
    """The other end of each corner's edge: neighbours in ``order``, along the lines, pair up."""
    partner = np.empty(len(order), int)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner
