"""Records of masks, in the automatic generator's form and in COCO's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import mlx.core as mx
import numpy as np

from ..arrays import count_of
from ..messages import short
from .boxes import rle_bbox, rle_box, to_xywh
from .rle import Rle, compress_rle, encode_rle, rle_area, rle_size


class _Optional(TypedDict, total=False):
    """What only some records have."""

    category_id: int  # of a class, from 1
    name: str  # of the object, and its
    colour: str  # #rrggbb
    seg_id: int  # of ``InstanceSegmenter``: the mask's label in the label map
    window: list[int]  # of a large picture: x, y, width, height of the segmentation in it
    scale: int  # of a large picture: pixels along both sides of one of the segmentation's


class Record(_Optional):
    """A mask and what is known of it: a dict with the keys of the original's
    ``SamAutomaticMaskGenerator``, and ``category_id``, ``name``, ``colour``, ``seg_id``, ``window``
    and ``scale`` where there is such a thing.
    """

    segmentation: Any  # (H, W) bool, or an RLE, by the generator's output_mode
    area: int  # pixels
    bbox: list[int]  # x, y, width, height of the outermost pixels; width is x1 - x0, as there
    predicted_iou: float  # by the model
    point_coords: list[list[float]]  # [[x, y]] in pixels: the point that was asked
    stability_score: float  # 0 to 1
    crop_box: list[int]  # x, y, width, height of the part that was searched


def record_of(
    rle: Rle,
    predicted_iou: float,
    stability_score: float,
    points: Sequence[Sequence[float]] | None = None,
    *,
    box: Sequence[int] | None = None,
    crop_box: Sequence[int] | None = None,
) -> Record:
    """The record of a mask in the form of ``SamAutomaticMaskGenerator``, from its RLE, compressed
    or not.

    points: x, y in pixels of the picture; by default the middle of the mask's box. box: the mask's
    box, x0, y0, x1, y1, inclusive, where the caller knows it. crop_box: the crop in which the mask
    was found, x0, y0, x1, y1, exclusive; by default the whole picture.
    """
    height, width = rle_size(rle)
    x, y, w, h = to_xywh(np.array(rle_box(rle) if box is None else box)).tolist()
    crop = np.array([0, 0, width, height] if crop_box is None else crop_box)
    return {
        "segmentation": rle,
        "area": rle_area(rle),
        "bbox": [x, y, w, h],
        "predicted_iou": float(predicted_iou),
        "point_coords": [[x + w / 2, y + h / 2]] if points is None else [*map(list, points)],
        "stability_score": float(stability_score),
        "crop_box": to_xywh(crop).tolist(),
    }


def with_mask(record: Record, rle: Rle) -> Record:
    """A record with another mask: its area and box follow, all else stays."""
    box = to_xywh(np.array(rle_box(rle))).tolist()
    return {**record, "segmentation": rle, "area": rle_area(rle), "bbox": box}


def coco_annotations(
    records: Sequence[Record], image_id: int = 0, first_id: int = 1, category_id: int = 1
) -> list[dict[str, Any]]:
    """COCO annotations of automatic masks in any output mode, with compressed RLE.

    Ids count from ``first_id``. A record's own ``category_id`` goes before the one given. ``bbox``
    is COCO's, one wider and higher than the records', which are the original's. The records'
    scores, point and crop come along.
    """
    rles = compressed_segmentations(records)
    return [
        {
            "id": first_id + i,
            "image_id": image_id,
            "category_id": record.get("category_id", category_id),
            "segmentation": rle,
            "area": record["area"],
            "bbox": rle_bbox(rle),
            "iscrowd": 0,
            "predicted_iou": record["predicted_iou"],
            "stability_score": record["stability_score"],
            "point_coords": record["point_coords"],
            "crop_box": record["crop_box"],
            **({"name": record["name"]} if "name" in record else {}),
        }
        for i, (record, rle) in enumerate(zip(records, rles))
    ]


def compressed_segmentations(records: Sequence[Record]) -> list[Rle]:
    """Compressed RLE of automatic masks in any output mode."""
    for i in range(count_of(records, "records")):
        if not isinstance(records[i], Mapping) or "segmentation" not in records[i]:
            raise ValueError(f"record {i} is {short(records[i])}; expected one of a generator's")
    # One mask at a time: together they would take their memory twice.
    return compress_rle(
        [
            encode_rle(found[None])[0] if isinstance(found, (np.ndarray, mx.array)) else found
            for found in (record["segmentation"] for record in records)
        ]
    )
