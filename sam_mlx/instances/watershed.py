"""Instances from the maps alone, by flooding them from seeds: micro-sam's "ais".

Original: ``InstanceSegmentationWithDecoder.generate``, and torch-em's
``watershed_from_center_and_boundary_distances``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .maps import InstanceMaps, Instances, Score, described, needed
from .options import InstanceOptions


def flooded(maps: InstanceMaps, options: InstanceOptions) -> Instances:
    """Instances that grow from seeds in the order of the distance to the boundary.

    A record's ``predicted_iou`` is the mean foreground of the instance, its point the innermost
    pixel; it has no stability score (NaN).
    """
    labels = flood(maps, options)
    return described(labels, options.output_mode, partial(score, maps))


def flood(
    maps: InstanceMaps, options: InstanceOptions, free: np.ndarray | None = None
) -> np.ndarray:
    """Labels (H, W), uint32, numbered from 1. free: where instances may be, (H, W)."""
    ndimage, segmentation = needed()
    foreground = smooth(maps.foreground, options.foreground_smoothing)
    centre, boundary = (
        smooth(x, options.distance_smoothing)
        for x in (maps.center_distances, maps.boundary_distances)
    )
    within = foreground > options.foreground_threshold
    if free is not None:
        within &= free
    is_seed = within & (centre < options.center_distance_threshold)
    is_seed &= boundary < options.boundary_distance_threshold
    seeds, _ = ndimage.label(is_seed, np.ones((3, 3)))
    return numbered(segmentation.watershed(boundary, seeds, mask=within), options.smallest)


def smooth(x: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian of 3 sigma, mirrored about the outermost pixels: bioimage-cpp's, up to 1.2e-7."""
    if sigma <= 0:
        return x
    ndimage, _ = needed()
    smoothed: np.ndarray = ndimage.gaussian_filter(
        x, sigma, mode="mirror", radius=math.ceil(3 * sigma)
    )
    return smoothed


def numbered(labels: np.ndarray, min_size: int) -> np.ndarray:
    """Labels without those of fewer pixels, numbered from 1 in their order."""
    keep = np.bincount(labels.ravel()) >= max(min_size, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.uint32)[labels]


def score(maps: InstanceMaps, label: int, box: tuple[slice, slice], mask: np.ndarray) -> Score:
    """An instance's mean foreground, NaN for stability, and its innermost pixel as x, y."""
    inner = np.where(mask, maps.boundary_distances[box], np.inf)
    y, x = np.unravel_index(inner.argmin(), mask.shape)
    point = [float(x + box[1].start), float(y + box[0].start)]
    return float(maps.foreground[box][mask].mean()), float("nan"), point
