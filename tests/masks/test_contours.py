"""Outlines against areas, and against what COCO reads."""

import sys

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from sam_mlx import masks as M
from tests.support.masks import random_masks


def shoelace(ring):
    x, y = ring.T
    return abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


@pytest.mark.parametrize("density", [0, 0.1, 0.5, 0.9, 1])
def test_polygons_enclose_the_mask_exactly(density):
    for mask in random_masks((5, 12, 17), density):
        outer, holes = M.polygons(mask)
        assert sum(map(shoelace, outer)) - sum(map(shoelace, holes)) == mask.sum()
        labels, count = ndimage.label(mask)
        assert len(outer) == count  # regions that touch at a corner are apart
        around = [np.pad(labels != i, 1, constant_values=True) for i in range(1, count + 1)]
        assert len(holes) == sum(ndimage.label(outside)[1] - 1 for outside in around)


def test_polygons_are_what_coco_reads():
    y, x = np.mgrid[:200, :300]
    mask = (x - 150) ** 2 / 9 + (y - 90) ** 2 < 40**2
    outer, holes = M.polygons(mask)
    assert not holes
    rle = coco.frPyObjects([ring.ravel().tolist() for ring in outer], 200, 300)
    again = coco.decode(coco.merge(rle)).astype(bool)
    assert (again & mask).sum() / (again | mask).sum() > 0.999


def masks_that_touch_themselves():
    """Random masks, checkerboards, rings that meet at corners, holes in holes."""
    rng = np.random.default_rng(0)
    for density in (0.2, 0.4, 0.5, 0.6, 0.7, 0.9):
        yield from rng.random((20, 9, 11)) < density
    y, x = np.mgrid[:9, :12]
    yield from ((x + y) % 2 == 0, (x + y) % 2 == 1, (x * y) % 2 == 0, np.maximum(x, y) % 2 == 0)
    ring = np.ones((6, 6), bool)  # an outline that touches itself, and a hole that does
    ring[1:3, 1:3] = ring[3:5, 3:5] = False
    yield ring
    open_ring = ring.copy()
    open_ring[0, 0] = open_ring[1, 1] = False
    yield open_ring
    c = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    yield from (c, np.rot90(c), np.rot90(c, 2), np.rot90(c, 3), np.kron(c, np.ones((2, 3), bool)))


def test_regions_are_valid_polygons():
    shapely = pytest.importorskip("shapely")
    touched = 0
    for mask in masks_that_touch_themselves():
        labels, count = ndimage.label(mask)
        regions = M.outlines(mask)
        assert len(regions) == count
        for rings in regions:
            region = shapely.Polygon(rings[0], rings[1:])
            x, y = rings[0][0]
            assert region.is_valid and region.area == (labels == labels[y, x]).sum()
            corners = np.concatenate(rings)
            touched += len(np.unique(corners, axis=0)) < len(corners)
            for ring in rings:
                assert len(np.unique(ring, axis=0)) == len(ring)
                assert np.lexsort(ring.T)[0] == 0  # topmost, then leftmost
        whole = shapely.MultiPolygon([(rings[0], rings[1:]) for rings in regions])
        assert whole.is_valid and whole.area == mask.sum()
    assert touched > 50


def test_where_an_outline_is_split():
    """Pixels around a gap that meet at a corner: the outline and a hole, which touch there."""
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    ((outline, hole),) = M.outlines(mask)
    assert outline.tolist() == [[0, 0], [3, 0], [3, 2], [2, 2], [2, 3], [0, 3]]
    assert hole.tolist() == [[1, 1], [2, 1], [2, 2], [1, 2]]


def test_outlines_take_time_in_proportion_to_the_mask():
    """They took 10 times as long for 4 times the pixels: each hole was looked for in all regions.

    Counted is what Python runs for a pixel, which depends on no other load of the machine.
    """

    def lines(side):
        mask = np.random.default_rng(0).random((side, side)) < 0.6
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            M.outlines(mask)
        finally:
            sys.settrace(None)
        return count / mask.size

    assert lines(96) < 1.2 * lines(48)


@pytest.mark.parametrize("seed", range(5))
def test_regions_and_their_holes(seed):
    """Each hole is listed with the region around it, and with no other."""
    mask = np.random.default_rng(seed).random((20, 30)) < 0.65
    mask[3:15, 4:20] = True
    mask[5:13, 6:18] = False
    mask[7:11, 8:14] = True  # an island in a hole, with one of its own
    mask[8, 9] = False
    regions = M.outlines(mask)
    labels, count = ndimage.label(mask)
    assert len(regions) == count
    assert sum(map(len, regions)) == sum(map(len, M.polygons(mask)))
    for first, *holes in regions:
        x, y = first[0]
        filled = ndimage.binary_fill_holes(labels == labels[y, x])
        inner, _ = M.polygons(filled & (labels != labels[y, x]))
        own = {ring.tobytes() for ring in M.polygons(labels == labels[y, x])[1]}
        assert {ring.tobytes() for ring in holes} == own
        assert (len(inner) > 0) == (len(holes) > 0)
