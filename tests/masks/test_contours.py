"""Outlines against areas, and against what COCO reads."""

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
        assert len(outer) == ndimage.label(mask)[1]  # regions that touch at a corner are apart
        background = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1]
        assert len(holes) == background - 1


def test_polygons_are_what_coco_reads():
    y, x = np.mgrid[:200, :300]
    mask = (x - 150) ** 2 / 9 + (y - 90) ** 2 < 40**2
    outer, holes = M.polygons(mask)
    assert not holes
    rle = coco.frPyObjects([ring.ravel().tolist() for ring in outer], 200, 300)
    again = coco.decode(coco.merge(rle)).astype(bool)
    assert (again & mask).sum() / (again | mask).sum() > 0.999


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
