"""Choosing from records, as ``select`` chooses from answers; measuring and cutting masks."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import Sam, SamAutomaticMaskGenerator
from sam_mlx.automatic.options import GeneratorOptions
from sam_mlx.automatic.selection import choose, cut, measure
from sam_mlx.masks import mask_boxes, stability_scores
from sam_mlx.transforms import preprocess_shape, upscale_masks, upscaling


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.8, "box_nms_thresh": 0.4},
        {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.0, "min_mask_region_area": 40},
        {"pred_iou_thresh": 2.0},
    ],
)
def test_choosing_from_records_is_selecting(options):
    picture = Path(__file__).parents[2] / "examples" / "images" / "coins.png"
    nano = Sam.from_pretrained("nano")
    generator = SamAutomaticMaskGenerator(nano, points_per_side=8, output_mode="uncompressed_rle")
    state = generator.predict(picture, keep_iou=0.5)
    loose = dict(pred_iou_thresh=0.5, stability_score_thresh=0.0, box_nms_thresh=1.0)
    found = generator.select(state, **loose)
    index, changed = choose(found, GeneratorOptions(**options))
    got = [changed.get(i, found[i]) for i in index]
    assert got == generator.select(state, **options)
    assert bool(changed) == ("min_mask_region_area" in options)


@pytest.mark.parametrize("size", [(700, 900), (900, 700), (1000, 12), (300, 2000)])
@pytest.mark.parametrize("together", [1, 3, 7])
def test_masks_measured_and_cut_where_they_reach(size, together):
    """Discs all over the picture, one partly beside it and one empty, against whole masks."""
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
    bands = [upscaling(n, side, *ends) for ends in zip(inner, size)]

    parts = [slice(i, i + together) for i in range(0, len(logits), together)]
    scores, boxes = map(np.concatenate, zip(*(measure(logits[p], *bands, 1.0) for p in parts)))
    np.testing.assert_array_equal(boxes, np.array(mask_boxes(mx.array(masks))))
    np.testing.assert_array_equal(scores, np.array(stability_scores(whole)))
    found = [mask for p in parts for mask in cut(logits[p], boxes[p], *bands)]
    for mask, (x0, y0, x1, y1), expected in zip(found, boxes, masks):
        np.testing.assert_array_equal(mask, expected[y0 : y1 + 1, x0 : x1 + 1])
