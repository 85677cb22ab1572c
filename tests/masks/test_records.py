"""Records, and COCO's annotations of them."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco

from sam_mlx import masks as M
from tests.support.masks import random_masks


def test_a_record_is_made_of_an_rle():
    mask = np.zeros((1, 9, 12), bool)
    mask[0, 3:8, 2:6] = True
    (rle,) = M.compress_rle(M.encode_rle(mask))
    record = M.record_of(rle, np.float32(0.5), np.float32(0.75))
    assert record == {
        "segmentation": rle, "area": 20, "bbox": [2, 3, 3, 4], "predicted_iou": 0.5,
        "point_coords": [[3.5, 5.0]], "stability_score": 0.75, "crop_box": [0, 0, 12, 9],
    }  # fmt: skip
    assert json.loads(json.dumps(record)) == record
    found = M.record_of(
        rle, 1, 1, [[4, 5], [6, 7]], box=np.array([1, 2, 8, 9]), crop_box=[1, 0, 9, 5]
    )
    assert found["point_coords"] == [[4, 5], [6, 7]]
    assert found["bbox"] == [1, 2, 7, 7] and found["crop_box"] == [1, 0, 8, 5]


def test_the_record_of_an_empty_mask():
    record = M.record_of({"size": [3, 4], "counts": [12]}, 0, 0)
    assert record["area"] == 0 and record["bbox"] == [0, 0, 0, 0]


@pytest.mark.parametrize("form", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_coco_annotations_of_every_output_mode(form):
    masks = random_masks((3, 20, 30), 0.4)
    rles = M.encode_rle(masks)
    segmentations = {"binary_mask": masks, "uncompressed_rle": rles}.get(form, M.compress_rle(rles))
    rest = dict.fromkeys(("bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"))
    records = [{"segmentation": s, "area": 1, **rest} for s in segmentations]
    annotations = M.coco_annotations(records, image_id=7, first_id=5)
    assert [a["id"] for a in annotations] == [5, 6, 7]
    decoded = coco.decode([a["segmentation"] for a in annotations])
    assert (decoded.transpose(2, 0, 1) == masks).all()
    assert M.coco_annotations([]) == []
