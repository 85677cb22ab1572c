"""The part of OpenCV that the original needs."""

import sys
import types

import numpy as np
from scipy import ndimage


def stand_in(monkeypatch):
    """OpenCV, or if it is not installed, the one function of it that the original calls."""
    try:
        import cv2
    except ImportError:
        cv2 = types.ModuleType("cv2")
        cv2.connectedComponentsWithStats = connected_components
        monkeypatch.setitem(sys.modules, "cv2", cv2)
    return cv2


def connected_components(mask, connectivity):
    """``cv2.connectedComponentsWithStats``; labels in the order in which OpenCV meets regions."""
    assert connectivity == 8
    regions, n = ndimage.label(mask, np.ones((3, 3)))
    y, x = np.nonzero(regions)
    order = np.lexsort((x // 2, y // 2))
    met = dict.fromkeys(regions[y[order], x[order]].tolist())
    new = np.zeros(n + 1, int)
    new[list(met)] = range(1, n + 1)
    regions = new[regions]
    stats = np.zeros((n + 1, 5), int)
    stats[:, -1] = np.bincount(regions.ravel(), minlength=n + 1)
    return n + 1, regions, stats, None
