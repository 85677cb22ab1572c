"""What counts as a mask; the best, the largest, and a map of labels."""

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import masks as M
from tests.support.masks import random_masks

EVERY = [
    ("masks", M.encode_rle),
    ("masks", M.mask_boxes),
    ("mask", lambda masks: M.remove_small_regions(masks[0], 1, "holes")[0]),
    ("mask", lambda masks: M.polygons(masks[0])),
    ("masks", lambda masks: M.label_map(masks, (6, 8))),
    ("masks", lambda masks: M.best_mask(masks, np.array([1, 2, 0]))),
    ("masks", M.largest_mask),
    ("masks", lambda masks: M.compressed_segmentations([{"segmentation": m} for m in masks])),
]


def equal(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(np.all(np.array(a) == np.array(b)))


@pytest.mark.parametrize("name, function", EVERY)
@pytest.mark.parametrize("kind", [np.array, mx.array])
def test_masks_of_0_and_1_are_masks(name, function, kind):
    """encode_rle gave uint8 masks the runs of their numbers; ~mask of them was 254 and 255."""
    masks = random_masks((3, 6, 8), 0.5)
    expected = function(masks)
    for dtype in (np.uint8, np.int64, np.float32, bool):
        found = function(kind(masks.astype(dtype)))
        assert equal(found, expected)


@pytest.mark.parametrize("name, function", EVERY)
@pytest.mark.parametrize("kind", [np.array, mx.array])
@pytest.mark.parametrize("low, high", [(0, 255), (0, 2), (1, 2), (-1, 1), (0, 0.5), (0, np.nan)])
def test_other_numbers_are_refused(name, function, kind, low, high):
    """encode_rle took 255, 2 and labels for set or not by chance."""
    masks = np.full((3, 6, 8), low, np.float32 if isinstance(high, float) else np.int16)
    masks[:, 2, 3] = high
    dtype = kind(masks).dtype
    with pytest.raises(ValueError, match=rf"masks? has dtype {dtype} .*: pass {name} > 0"):
        function(kind(masks))


@pytest.mark.parametrize("function", [M.encode_rle, M.mask_boxes, M.largest_mask])
def test_masks_of_other_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"masks has shape \(4, 5\); expected \(N, H, W\)"):
        function(np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match=r"no pixels"):
        M.encode_rle(np.zeros((2, 0, 5), bool))


def test_numpy_stays_in_numpy(monkeypatch):
    """An MLX axis ends at 2**31, and the copy took the masks' memory again."""
    masks = random_masks((3, 6, 8), 0.5)
    boxes = M.mask_boxes(masks)
    assert isinstance(boxes, np.ndarray) and isinstance(M.best_mask(masks, np.ones(3)), np.ndarray)
    assert equal(boxes, M.mask_boxes(mx.array(masks)))
    expected = M.encode_rle(mx.array(masks))
    monkeypatch.setattr(mx, "array", type("none", (), {}))
    assert M.encode_rle(masks) == expected


def test_label_map_puts_the_smallest_on_top():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1, 1] = True
    masks[1, :3] = True
    labels = M.label_map(masks, (4, 4))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[2, 2, 2, 2], [2, 1, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]]
    assert (M.label_map([], (2, 3)) == 0).all()


def test_best_and_largest():
    masks = random_masks((3, 8, 8), 0.5)
    masks[1] = True
    assert (M.best_mask(masks, np.array([0.2, 0.1, 0.9])) == masks[2]).all()
    assert M.largest_mask(masks).all()


@pytest.mark.parametrize("scores", [[1, 2], [1, 2, 3, 4], [1, np.nan, 0], [[1, 2, 3]], "abc", []])
def test_scores_that_do_not_fit_are_refused(scores):
    """Of fewer scores than masks, the best was taken among the first."""
    with pytest.raises(ValueError, match="scores (has shape|holds NaN|is 'abc')"):
        M.best_mask(random_masks((3, 6, 8), 0.5), scores)
    with pytest.raises(ValueError, match=r"boxes have shape \(3, 4\); expected \(2, 4\)"):
        M.nms(np.zeros((3, 4)), np.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"boxes have shape \(2, 2\)"):
        M.nms(np.zeros((2, 2)), np.zeros(2), 0.5)


@pytest.mark.parametrize("shape", [(1, 8), (6, 1), (1, 1), (8, 6)])
def test_masks_are_not_repeated_to_a_pictures_size(shape):
    with pytest.raises(ValueError, match=r"masks has a mask of size .*; the image has \(6, 8\)"):
        M.label_map([np.ones((6, 8), bool), np.ones(shape, bool)], (6, 8))


@pytest.mark.parametrize("size", [(10**6, 10**6), (-1, 5), (0, 3), 5, None, (2.5, 3), (10**400, 1)])
def test_sizes_of_label_maps_are_bounded(size):
    with pytest.raises(ValueError, match="^size (is|would take)"):
        M.label_map([], size)


def test_arrays_that_only_claim_their_size_are_refused():
    huge = np.broadcast_to(np.uint8(1), (1, 10**6, 10**6))
    for function in (M.encode_rle, M.mask_boxes, M.largest_mask, lambda m: M.polygons(m[0])):
        with pytest.raises(ValueError, match="mask.* would take 1000000000000 pixels"):
            function(huge)
