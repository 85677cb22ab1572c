"""Roboflow's ``supervision.Detections``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..masks import Record, decode_rle, encode_rle, rle_bbox
from .common import Given, needed, record_from, records_of


def to_supervision(found: Given, class_id: int = 0) -> Any:
    """``supervision.Detections`` with masks, boxes x0, y0, x1, y1 (exclusive, as it has them) and
    predicted IoU as confidence; ``data`` holds the stability scores and areas.
    """
    sv = needed("supervision")
    records = records_of(found)
    if not records:
        return sv.Detections.empty()
    boxes = np.array([rle_bbox(record["segmentation"]) for record in records], float)
    boxes[:, 2:] += boxes[:, :2]
    return sv.Detections(
        xyxy=boxes,
        mask=decode_rle([record["segmentation"] for record in records]),
        confidence=np.array([record["predicted_iou"] for record in records], np.float32),
        class_id=np.full(len(records), class_id),
        data={
            name: np.array([record[name] for record in records])
            for name in ("stability_score", "area")
        },
    )


def from_supervision(detections: Any) -> list[Record]:
    """Records of ``supervision.Detections``. Raises ValueError for those without masks."""
    if len(detections) == 0:
        return []
    if detections.mask is None:
        raise ValueError("the detections have no masks: predict them from detections.xyxy")
    scores = [None] * len(detections) if detections.confidence is None else detections.confidence
    return [record_from(rle, score) for rle, score in zip(encode_rle(detections.mask), scores)]
