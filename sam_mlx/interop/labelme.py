"""labelme's JSON, which X-AnyLabeling and AnyLabeling read too."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..masks import Record, decode_rle, outlines, rle_box
from ..messages import short
from ..tuner.data.labelme import mask_of_shape, ring_of_shape
from ..tuner.data.polygons import filled
from .common import Given, record_from, records_of, size_of

KINDS = ("polygon", "mask")


def to_labelme(
    found: Given,
    image_path: str,
    label: str = "object",
    kind: str = "polygon",
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """The contents of labelme's file for a picture.

    kind: "polygon", an outline for each region along the edges of pixels, those of one mask in a
    group, without holes, which labelme's polygons do not have; or "mask", exact. size: H and W of
    the picture, needed if there are no masks.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {short(kind)}; expected one of {', '.join(KINDS)}")
    records = records_of(found)
    height, width = size_of(records, size)
    make = mask_shape if kind == "mask" else polygon_shapes
    shapes = [shape for i, record in enumerate(records) for shape in make(i, record, label)]
    return {
        "version": "5.0.0",  # of the form: all later ones read it
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(image_path).name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def polygon_shapes(i: int, record: Record, label: str) -> list[dict[str, Any]]:
    """Polygons of a mask's regions without their holes, in a group where there are several."""
    regions = outlines(decode_rle([record["segmentation"]])[0])
    group = i if len(regions) > 1 else None
    return [shape_of("polygon", outline.tolist(), label, group) for outline, *_ in regions]


def mask_shape(i: int, record: Record, label: str) -> list[dict[str, Any]]:
    """One shape of kind mask: a PNG of the mask in its box."""
    if not record["area"]:
        return []
    x0, y0, x1, y1 = rle_box(record["segmentation"])
    part = decode_rle([record["segmentation"]])[0][y0 : y1 + 1, x0 : x1 + 1]
    file = io.BytesIO()
    Image.fromarray((part * 255).astype(np.uint8)).save(file, "PNG")
    shape = shape_of("mask", [[x0, y0], [x1, y1]], label, None)
    return [shape | {"mask": base64.b64encode(file.getvalue()).decode()}]


def shape_of(kind: str, points: Any, label: str, group: int | None) -> dict[str, Any]:
    """A labelme shape with the fields that labelme expects."""
    return {"label": label, "points": points, "group_id": group, "description": "",
            "shape_type": kind, "flags": {}, "mask": None}  # fmt: skip


def from_labelme(contents: Mapping[str, Any]) -> list[Record]:
    """Records of a labelme file's contents. Shapes of one group are one mask; lines and points
    are left out. Raises ValueError for contents without a size or with damaged shapes.
    """
    try:
        size = int(contents["imageHeight"]), int(contents["imageWidth"])
        shapes = list(contents["shapes"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{short(contents)} is not labelme's; expected shapes, imageHeight and imageWidth"
        ) from None
    groups: dict[Any, list[np.ndarray]] = defaultdict(list)
    masks: dict[Any, Any] = {}
    for i, shape in enumerate(shapes):
        kind, group = shape.get("shape_type") or "polygon", shape.get("group_id")
        if kind == "mask":
            masks["mask", i] = mask_of_shape(shape, size, "the contents")
        elif (ring := ring_of_shape(kind, shape, "the contents")) is not None:
            name = ("single", i) if group is None else ("group", group)
            masks[name] = None  # in the order of first shapes
            groups[name].append(ring)
    return [
        record_from(rle or filled(groups[name], size, union=True)) for name, rle in masks.items()
    ]
