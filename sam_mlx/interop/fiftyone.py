"""Voxel51's ``fiftyone.Detections``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..masks import Record, decode_rle, rle_bbox, rle_size, run_lengths
from .common import Given, needed, record_from, records_of


def to_fiftyone(found: Given, label: str = "object") -> Any:
    """``fiftyone.Detections``: boxes as shares of the picture, masks within them."""
    fo = needed("fiftyone")
    return fo.Detections(detections=[detection(fo, r, label) for r in records_of(found)])


def detection(fo: Any, record: Record, label: str) -> Any:
    """One record as a ``fiftyone.Detection``, its mask cut to its box."""
    rle = record["segmentation"]
    (height, width), (x, y, w, h) = rle_size(rle), rle_bbox(rle)
    return fo.Detection(
        label=label,
        bounding_box=[x / width, y / height, w / width, h / height],
        mask=decode_rle([rle])[0][y : y + h, x : x + w],
        confidence=float(record["predicted_iou"]),
    )


def from_fiftyone(detections: Any, size: tuple[int, int]) -> list[Record]:
    """Records of ``fiftyone.Detections`` on a picture of a size, H and W.

    Raises ValueError for a detection without a mask.
    """
    records = []
    for i, found in enumerate(detections.detections):
        if found.mask is None:
            raise ValueError(f"detection {i} has no mask: predict it from its bounding_box")
        mask = np.asarray(found.mask) > 0
        left, top = (round(c * n) for c, n in zip(found.bounding_box[:2], size[::-1]))
        mask = mask[: max(0, size[0] - top), : max(0, size[1] - left)]
        records.append(record_from(run_lengths(mask, (top, left), size), found.confidence))
    return records
