"""Outlines with fewer corners."""

from __future__ import annotations

import numpy as np


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """An outline (K, 2) with fewer corners, each of which it had: those left out are within
    ``tolerance`` pixels of it (Ramer 1972, Douglas and Peucker 1973).

    With a tolerance of 0, and where fewer than three corners would be left, it stays as it is.
    """
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    closed = np.concatenate([ring, ring[:1]]).astype(float)
    farthest = int(np.square(closed - closed[0]).sum(axis=1).argmax())
    kept = np.zeros(len(closed), bool)
    kept[[0, farthest]] = True
    parts = [(0, farthest), (farthest, len(ring))]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        apart = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(apart.argmax())
        if apart[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    found = ring[kept[:-1]]
    return found if len(found) >= 3 else ring


def _distances(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances (N,) of points (N, 2) from the line segment between a and b."""
    along = b - a
    length = float(along @ along)
    share = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(len(points))
    return np.hypot(*(points - a - share[:, None] * along).T)


def perimeter(ring: np.ndarray) -> float:
    """The length of a closed outline (K, 2), in pixels."""
    return float(np.hypot(*(np.roll(ring, -1, axis=0) - ring).T).sum())
