"""Run lengths, boxes, stability, suppression, regions against the original's and torchvision's."""

import sys

import mlx.core as mx
import numpy as np
import pytest
from pycocotools import mask as coco

torch = pytest.importorskip("torch")

import tests.support.originals  # noqa: F401  makes segment_anything importable
from sam_mlx import masks as M
from tests.support.budgets import limited
from tests.support.masks import SHAPES, random_masks

pytestmark = pytest.mark.original
amg = sys.modules["segment_anything.utils.amg"]
batched_nms = sys.modules["torchvision.ops.boxes"].batched_nms


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_rle_equals_the_original_and_comes_back(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    assert rles == M.encode_rle(mx.array(masks))
    assert rles == amg.mask_to_rle_pytorch(torch.from_numpy(masks))
    if len(masks):
        assert (M.decode_rle(rles) == masks).all()
    assert [M.rle_area(rle) for rle in rles] == masks.sum((1, 2)).tolist()


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_compressed_rle_equals_pycocotools(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    compressed = M.compress_rle(rles)
    assert compressed == [amg.coco_encode_rle(rle) for rle in rles]
    if len(masks):
        assert (M.decode_rle(compressed) == masks).all()
        assert (coco.decode(compressed).transpose(2, 0, 1) == masks).all()


@pytest.mark.parametrize("density", [0, 0.02, 0.5])
@pytest.mark.parametrize("shape", SHAPES[:5])
def test_boxes_equal_the_original(shape, density):
    masks = random_masks(shape, density)
    expected = amg.batched_mask_to_box(torch.from_numpy(masks)).numpy()
    assert (np.array(M.mask_boxes(mx.array(masks))) == expected).all()


def test_stability_equals_the_original():
    logits = np.random.default_rng(0).normal(0, 3, (5, 40, 30)).astype(np.float32)
    logits[3] = -9
    expected = amg.calculate_stability_score(torch.from_numpy(logits), 0.0, 1.0).numpy()
    np.testing.assert_allclose(
        np.array(M.stability_scores(mx.array(logits))), expected, rtol=2e-7, equal_nan=True
    )


@pytest.mark.parametrize("n", [0, 1, 60, 3000])
def test_nms_equals_torchvision(n):
    rng = np.random.default_rng(n)
    corner = rng.integers(0, 200, (n, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 60, (n, 2))], axis=1)
    scores = rng.random(n).round(2)  # with ties
    expected = batched_nms(
        torch.from_numpy(boxes).float(), torch.from_numpy(scores).float(), torch.zeros(n), 0.5
    ).tolist()
    with limited(boxes=256):
        kept = M.nms(boxes, scores, 0.5)
    # torchvision may give boxes of one score in any order; here they keep theirs.
    assert (np.diff(scores[expected]) <= 0).all()
    assert kept.tolist() == sorted(expected, key=lambda i: (-scores[i], i))


@pytest.mark.parametrize("mode", ["holes", "islands"])
@pytest.mark.parametrize("area", [1, 3, 10, 1000])
def test_small_regions_equal_the_original(opencv, mode, area):
    rng = np.random.default_rng(area)
    for density in (0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1) * 8:
        mask = rng.random(rng.integers(1, 24, 2)) < density
        mask = np.pad(mask, rng.integers(0, 9, (2, 2)) * rng.integers(0, 2))
        cleaned, changed = M.remove_small_regions(mask, area, mode)
        expected, expected_changed = amg.remove_small_regions(mask, area, mode)
        assert changed == expected_changed
        assert (cleaned == expected).all()
