"""A threshold of its own for each mask: what micro-sam calls ``mask_threshold="auto"``.

Original: ``_local_otsu_threshold`` of micro-sam. In every window of a mask's low-resolution logits,
Otsu's method finds the threshold that parts the values best in two; the highest one is the mask's.
"""

from __future__ import annotations

import numpy as np

WINDOW = 31  # cells, odd
BINS = 64
EPS = np.float32(1e-6)


def thresholds(logits: np.ndarray) -> np.ndarray:
    """Of masks' logits (N, n, n), the thresholds (N,): at least 0, for foreground is positive."""
    return np.array([threshold(x) for x in logits.astype(np.float32)], np.float32)


def threshold(x: np.ndarray) -> np.float32:
    """Otsu's threshold of logits x, at least 0, as micro-sam finds it."""
    low = x.min()
    span = max(x.max() - low, EPS)
    highest = best_bins(np.int64((x - low) / span * np.float32(BINS - 1)).clip(0, BINS - 1)).max()
    share = np.float32(highest) / np.float32(BINS - 1)
    found: np.float32 = max(low + share * span, np.float32(0))
    return found


def best_bins(binned: np.ndarray) -> np.ndarray:
    """Otsu's bin for the window round each cell (n, n), the lowest of equals.

    Sums are float64 and results float32, as in the original: a bin that no cell has must come out
    equal to the one below it.
    """
    shares = [shares_of(binned, i) for i in range(BINS)]
    mean = np.float32(sum(np.float64(share * np.float32(i)) for i, share in enumerate(shares)))
    below, weight = np.zeros((2, *binned.shape))
    best, where = np.full(binned.shape, -1, np.float32), np.zeros(binned.shape, int)
    for i, share in enumerate(shares):
        below, weight = below + share, weight + share * np.float32(i)
        spread = between(np.float32(below), np.float32(weight), mean)
        where[spread > best] = i
        best = np.maximum(spread, best)
    return where


def shares_of(binned: np.ndarray, i: int) -> np.ndarray:
    """The share of a bin in the window round each cell; beyond the edge there is bin 0."""
    padded = np.pad(binned == i, WINDOW // 2, constant_values=i == 0)
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    corners = sums[WINDOW:] - sums[:-WINDOW]
    counts = corners[:, WINDOW:] - corners[:, :-WINDOW]
    return np.float32(counts) / np.float32(WINDOW**2)


def between(below: np.ndarray, weight: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The variance between the values up to a bin and those above it. below: the share of the
    values up to it; weight: their sum; mean: the sum of all.
    """
    above = 1 - below
    left = weight / np.maximum(below, EPS)
    right = (mean - weight) / np.maximum(above, EPS)
    spread: np.ndarray = below * above * (left - right) ** 2
    return spread
