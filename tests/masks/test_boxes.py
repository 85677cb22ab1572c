"""Boxes of masks and of RLEs, and suppression."""

import mlx.core as mx
import numpy as np
import pytest
from pycocotools import mask as coco

from sam_mlx import masks as M
from tests.support.masks import SHAPES, random_masks


def test_boxes_of_no_masks():
    """mlx-examples: TypeError whenever no mask of a batch survived."""
    assert M.mask_boxes(mx.zeros((0, 5, 6), dtype=mx.bool_)).shape == (0, 4)


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_of_rles_are_those_of_masks(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    for form in (rles, M.compress_rle(rles)):
        assert [M.rle_box(rle) for rle in form] == M.mask_boxes(masks).tolist()


def test_coco_boxes_are_cocos():
    """They were the original's, one column and row less."""
    sizes = [(1, 1), (1, 9), (9, 1), (7, 5), (20, 30)]
    masks = [random_masks((1, *s), density) for s in sizes for density in (0, 0.01, 0.1, 0.9, 1)]
    block = np.zeros((1, 12, 10), bool)
    block[0, 3:8, 2:6] = True
    for mask in [*masks, block]:
        rles = M.encode_rle(mask)
        expected = coco.toBbox(M.compress_rle(rles)).tolist()
        assert [M.rle_bbox(rle) for rle in rles] == expected
    assert M.rle_bbox(rles[0]) == [2, 3, 4, 5]
    assert M.rle_bbox({"size": [4, 4], "counts": [5, 0, 1, 2, 8]}) == [1, 2, 1, 2]
    assert M.rle_bbox({"size": [4, 4], "counts": [5, 0, 1, 2, 0, 8]}) == [1, 0, 3, 4]


def test_nms_of_a_chain_keeps_every_other():
    boxes = np.array([[0, 10 * i, 100, 10 * i + 30] for i in range(40)])  # neighbours: IoU 0.5
    assert M.nms(boxes, -np.arange(40), 0.4).tolist() == list(range(0, 40, 2))


def test_nms_keeps_boxes_without_area():
    """mlx-examples: such a box suppressed itself, so masks one pixel wide vanished."""
    boxes = np.array([[0, 0, 9, 9], [20, 3, 20, 30], [40, 0, 50, 9], [20, 3, 20, 30]])
    assert M.nms(boxes, np.array([4, 3, 2, 1.0]), 0.7).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "boxes",
    [np.zeros((2, 3)), np.zeros((2, 5)), [1, 2], 5, "ab", [["a"] * 4], {}, None, [[1], [2]]],
)
def test_boxes_of_other_forms_are_named(boxes):
    """Rows of three were taken for boxes, with a number that is there twice."""
    good = np.zeros((2, 4))
    for function in (
        M.to_xywh,
        M.box_area,
        lambda b: M.box_iou(b, good),
        lambda b: M.box_iou(good, b),
    ):
        with pytest.raises(ValueError, match="^boxes "):
            function(boxes)


@pytest.mark.parametrize("value", ["a", [], None, float("nan"), 10**400, {}, True])
def test_thresholds_are_numbers(value):
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2]])
    for call in (
        lambda: M.nms(boxes, np.ones(2), value),
        lambda: M.stability_scores(mx.zeros((1, 2, 2)), value),
        lambda: M.stability_scores(mx.zeros((1, 2, 2)), 0.0, value),
    ):
        with pytest.raises(ValueError, match="^(threshold|offset) is .*; expected a number"):
            call()
