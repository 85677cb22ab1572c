"""Masks measured and cut where they reach, against whole ones."""

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import SamPredictor
from sam_mlx.full_size import Grid, edges, upscale_masks
from sam_mlx.masks import mask_boxes, stability_scores
from sam_mlx.strips import cut, measure, stability_at_full_size, strip
from sam_mlx.transforms import preprocess_shape
from tests.support.automatic import squares
from tests.support.budgets import limited


@pytest.mark.parametrize("size", [(300, 200), (900, 5), (20, 10), (5, 900), (130, 128)])
@pytest.mark.parametrize("pixels", [50, 128, 512])  # of a band
def test_strips_are_parts_of_whole_masks(size, pixels):
    inner = preprocess_shape(size, 256)
    logits = mx.random.normal((2, 64, 64), key=mx.random.key(1))
    whole = np.array(upscale_masks(logits, inner, size, 256))
    with limited(band_pixels=pixels, strip_pixels=pixels):
        grid = Grid.of(64, inner, size, 256)
        banded = np.array(upscale_masks(logits, inner, size, 256))
    assert max(len(matrix) for _, matrix in grid.rows) == min(pixels, size[0])
    np.testing.assert_allclose(banded, whole, rtol=0, atol=1e-6)  # 4.8e-7 found
    assert grid.size == size
    y, x = edges(grid.rows), edges(grid.columns)
    for row in range(len(grid.rows)):
        for columns in (slice(0, 1), slice(len(grid.columns) - 1, len(grid.columns))):
            (found,) = strip(logits, np.array([1, 0]), grid, row, columns)
            there = whole[::-1, y[row] : y[row + 1], x[columns.start] : x[columns.stop]]
            np.testing.assert_allclose(found, there, rtol=0, atol=1e-6)  # 2.4e-7 found


@pytest.mark.parametrize("size", [(700, 900), (900, 700), (1000, 12), (300, 2000)])
@pytest.mark.parametrize("together", [1, 3, 7])
@pytest.mark.parametrize("forms", ["here", "plain"])
def test_masks_measured_and_cut_where_they_reach(size, together, forms, plain):
    """Discs all over the picture, one partly beside it and one empty, against whole masks."""
    if forms == "plain":
        plain()
    n, side = 64, 256
    inner = preprocess_shape(size, side)
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 1, (7, 2)) * inner * (n / side)
    y, x = np.mgrid[:n, :n] + 0.5
    radii = np.array([2, 3, 4, 5, 8, 12, -5])[:, None, None]
    logits = radii - np.hypot(y - centres[:, :1, None], x - centres[:, 1:, None])
    logits = mx.array(logits.astype(np.float32))
    whole = upscale_masks(logits, inner, size, side)
    masks = np.array(whole > 0)
    assert min(mx.abs(whole - t).min().item() for t in (-1, 0, 1)) > 2e-6  # no matter of rounding
    grid, index = Grid.of(n, inner, size, side), np.arange(len(logits))

    H, W = size
    with limited(mask_pixels=together * max(128 * W, 4 * H), cut_pixels=9000):
        scores, boxes = measure(logits, index, grid, 0.0, 1.0)
        found = list(cut(logits, index[::-1], boxes[::-1], grid, 0.0))[::-1]
        turned = measure(logits, index[::-1], grid, 0.0, 1.0)
    np.testing.assert_array_equal(turned[0], scores[::-1])
    np.testing.assert_array_equal(turned[1], boxes[::-1])
    np.testing.assert_array_equal(boxes, np.array(mask_boxes(mx.array(masks))))
    np.testing.assert_array_equal(scores, np.array(stability_scores(whole)))
    for mask, (x0, y0, x1, y1), expected in zip(found, boxes, masks):
        np.testing.assert_array_equal(mask, expected[y0 : y1 + 1, x0 : x1 + 1])


def test_what_a_gpu_is_waited_for(monkeypatch, plain):
    """Two arrays to numpy for masks measured, one for masks cut, however many strips there are."""
    plain()
    size, side = (700, 900), 256
    logits = mx.random.normal((9, 64, 64), key=mx.random.key(0))
    grid, index = Grid.of(64, preprocess_shape(size, side), size, side), np.arange(9)
    reads, real = [], np.array

    def noted(x, *rest, **named):
        reads.extend([x] if isinstance(x, mx.array) else [])
        return real(x, *rest, **named)

    monkeypatch.setattr(np, "array", noted)
    with limited(mask_pixels=2 * 128 * 900):  # two masks a strip
        _, boxes = measure(logits, index, grid, 0.0, 1.0)
        assert len(reads) == 2
        list(cut(logits, index, boxes, grid, 0.0))
    assert len(reads) == 3


def test_stability_is_that_of_the_mask_at_full_size():
    """Of low-resolution logits it was another: 0.45 for 0.08."""
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image(squares(40, 200))
    sizes = predictor.input_size, predictor.original_size, predictor.model.config.image_size
    for prompt in (([[30, 20]], [1]), ([[100, 20], [9, 9]], [1, 0])):
        _, _, logits = predictor.predict(*prompt)
        full = mx.array(predictor.predict(*prompt, return_logits=True)[0])
        found = stability_at_full_size(mx.array(logits), *sizes, 0.0)
        np.testing.assert_allclose(found, stability_scores(full), atol=1e-5, equal_nan=True)
        low = stability_scores(mx.array(logits))
        assert np.abs(found - np.array(low)).max() > 1e-4
