"""Label Studio's regions: masks as brush strokes, bitmasks or polygons."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..image_files import as_value_error
from ..masks import Record, Rle, decode_rle, encode_rle, outlines, simplified
from ..messages import short
from ..tuner.data.polygons import filled
from .brush_rle import decode_brush, encode_brush
from .common import Given, record_from, records_of

TYPES = ("brushlabels", "bitmasklabels", "polygonlabels")


def to_label_studio(
    found: Given,
    from_name: str = "tag",
    to_name: str = "image",
    label: str = "object",
    kind: str = "brushlabels",
    tolerance: float = 0,
) -> list[dict[str, Any]]:
    """Regions, the ``result`` of an annotation or a prediction.

    from_name, to_name: names of the control and of the image in the labelling configuration. kind:
    "brushlabels" and "bitmasklabels" are exact, a region a mask; "polygonlabels" have a region for
    each part of a mask, without its holes, and with fewer corners by a tolerance in pixels. Empty
    masks are left out.
    """
    if kind not in TYPES:
        raise ValueError(f"kind is {short(kind)}; expected one of {', '.join(TYPES)}")
    return [
        {
            "id": uuid.uuid4().hex[:10],
            "from_name": from_name,
            "to_name": to_name,
            "type": kind,
            "original_width": mask.shape[1],
            "original_height": mask.shape[0],
            "image_rotation": 0,
            "score": float(record["predicted_iou"]),
            "value": {**value, kind: [label]},
        }
        for record in records_of(found)
        for mask in decode_rle([record["segmentation"]])
        for value in values_of(mask, kind, tolerance)
    ]


def values_of(mask: np.ndarray, kind: str, tolerance: float) -> list[dict[str, Any]]:
    """The values of a mask's regions."""
    if not mask.any():
        return []
    if kind == "brushlabels":
        return [{"format": "rle", "rle": encode_brush(mask)}]
    if kind == "bitmasklabels":
        return [{"imageDataURL": bitmask(mask)}]
    percent = 100 / np.array(mask.shape[::-1])
    rings = [simplified(region[0], tolerance) for region in outlines(mask)]
    return [{"points": (ring * percent).tolist(), "closed": True} for ring in rings]


def bitmask(mask: np.ndarray) -> str:
    """A PNG in which set pixels are black and opaque, as the editor draws them."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., 3] = mask * 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def from_label_studio(regions: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records of regions that are areas: brush, bitmask, polygon, rectangle, ellipse. Others are
    left out. Raises ValueError for damaged ones.
    """
    rles = ((region, rle_of(region)) for region in regions)
    return [record_from(rle, region.get("score")) for region, rle in rles if rle is not None]


def rle_of(region: Mapping[str, Any]) -> Rle | None:
    """The mask of a region; None for one that is not an area."""
    value = region.get("value") or {}
    try:
        size = int(region["original_height"]), int(region["original_width"])
        if "rle" in value:
            return encode_rle(decode_brush(value["rle"], size)[None])[0]
        if "imageDataURL" in value:
            return encode_rle(of_bitmask(value["imageDataURL"], size)[None])[0]
        ring = ring_of(value, size)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{short(region)} is not a region of Label Studio: {error}") from None
    return None if ring is None else filled([ring], size)


def of_bitmask(text: str, size: tuple[int, int]) -> np.ndarray:
    """The mask of a region whose value is a PNG in a data URL."""
    with as_value_error("a bitmask"):
        data = base64.b64decode(text.partition(",")[2], validate=True)
        picture = Image.open(io.BytesIO(data))
        if picture.size != size[::-1]:
            raise ValueError(f"it has {picture.size} pixels in x and y, not {size[::-1]}")
        pixels = np.asarray(picture.convert("RGBA"))
    return pixels[..., 3] > 0 if (pixels[..., 3] < 255).any() else pixels[..., 0] > 0


def ring_of(value: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """The outline of a polygon, rectangle or ellipse in pixels, from percents of the picture."""
    scale = np.array(size[::-1]) / 100
    if "points" in value:
        ring = np.asarray(value["points"], float)
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
            raise ValueError(f"a polygon has the points {short(value['points'])}")
        return ring * scale
    if {"x", "y", "radiusX", "radiusY"} <= value.keys():
        angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring = ring * [value["radiusX"], value["radiusY"]] * scale
        return turned(ring, value) + np.array([value["x"], value["y"]]) * scale
    if {"x", "y", "width", "height"} <= value.keys():
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * [value["width"], value["height"]]
        return turned(corners * scale, value) + np.array([value["x"], value["y"]]) * scale
    return None


def turned(ring: np.ndarray, value: Mapping[str, Any]) -> np.ndarray:
    """A ring (K, 2) turned clockwise about the origin, by degrees."""
    angle = np.radians(float(value.get("rotation") or 0))
    cos, sin = np.cos(angle), np.sin(angle)
    return ring @ np.array([[cos, sin], [-sin, cos]])
