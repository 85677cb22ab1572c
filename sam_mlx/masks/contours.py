"""Exact outlines of masks."""

from __future__ import annotations

import numpy as np

from .arrays import check_mask


def polygons(mask: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Exact outlines of a mask (H, W): those of its regions, and those of holes.

    Each is (K, 2): x, y of its corners in the frame where pixel (0, 0) covers 0..1 in both, the
    first of them its topmost and leftmost. Regions that touch at a corner are apart. The areas of
    the outer ones less those of the holes are the mask's.

    An outline turns at every corner, so corners pair up along each line of the pixel grid, and
    following partner after partner, across and down by turns, is following the outline.
    """
    padded = np.pad(check_mask(mask), 1)
    x, y, second, rising = _corners(padded)
    across = partners(np.lexsort((second, x, y)))
    down = partners(np.lexsort((second ^ rising, y, x)))

    outer: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    unseen = np.ones(len(x), bool)
    for start in range(len(x)):
        if not unseen[start]:
            continue
        path, i = [], start
        while unseen[i]:
            path += [i, across[i]]
            unseen[path[-2:]] = False
            i = down[across[i]]
        ring = np.stack([x[path], y[path]], axis=1)
        (outer if padded[y[start] + 1, x[start] + 1] else holes).append(ring)
    return outer, holes


def outlines(mask: np.ndarray) -> list[list[np.ndarray]]:
    """The regions of a mask (H, W), each as its outline and then those of its holes.

    Rings (K, 2) are those of ``polygons``: pixels that are inside one of a region's rings an odd
    number of times are set, and drawn so all regions give the mask back.
    """
    outer, holes = polygons(mask)
    regions = [[ring] for ring in outer]
    by_size = sorted(range(len(outer)), key=lambda i: _ring_area(outer[i]))
    lows, highs = (
        np.array([f(ring, axis=0) for ring in outer]).reshape(-1, 2) for f in (np.min, np.max)
    )
    for hole in holes:
        point = hole[0] + (0.5, -0.5)  # the middle of the pixel above, which is set
        near = ((lows < point) & (point < highs)).all(axis=1)
        owner = next(i for i in by_size if near[i] and _is_inside(point, outer[i]))
        regions[owner].append(hole)
    return regions


def _ring_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _is_inside(point: np.ndarray, ring: np.ndarray) -> bool:
    """Whether a ray to the right crosses the ring's upright edges an odd number of times."""
    (x, y), (_, after) = ring.T, np.roll(ring, -1, axis=0).T
    crossed = (np.minimum(y, after) < point[1]) & (point[1] < np.maximum(y, after))
    return bool(np.count_nonzero(crossed & (x > point[0])) % 2)


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
    times = ((a ^ b ^ c ^ d) + 2 * (falling | rising)).astype(int)
    y, x = (np.repeat(i, times[np.nonzero(times)]) for i in np.nonzero(times))
    second = np.zeros(len(x), bool)
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    return x, y, second, rising[y, x]


def partners(order: np.ndarray) -> np.ndarray:
    """The other end of each corner's edge: neighbours in ``order``, along the lines, pair up."""
    partner = np.empty(len(order), int)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner
