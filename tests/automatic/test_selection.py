"""Choosing from records, as ``select`` chooses from answers."""

from pathlib import Path

import pytest

from sam_mlx import Sam, SamAutomaticMaskGenerator
from sam_mlx.automatic.options import GeneratorOptions
from sam_mlx.automatic.selection import choose


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
    metas = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}  # nano has others
    assert got == generator.select(state, **{**metas, **options})
    assert bool(changed) == ("min_mask_region_area" in options)
