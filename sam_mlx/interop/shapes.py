"""shapely's polygons, in pixels: the first pixel covers 0 to 1 in both, y goes down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formats.outlines import geometry
from ..masks import Record, decode_rle
from ..tuner.data.polygons import filled
from .common import Given, needed, record_from, records_of


def to_shapely(found: Given) -> list[Any]:
    """A ``Polygon`` or ``MultiPolygon`` for each mask, with holes, along the edges of pixels: its
    area is the mask's. An empty mask is an empty ``MultiPolygon``.
    """
    shape = needed("shapely.geometry", "shapely").shape
    masks = (decode_rle([record["segmentation"]])[0] for record in records_of(found))
    return [shape(geometry(mask)) for mask in masks]


def from_shapely(
    polygons: Sequence[Any], size: tuple[int, int], scores: Sequence[float] | None = None
) -> list[Record]:
    """Records of polygons on a picture of a size, H and W: pixels whose middle is inside are set.

    Raises ValueError for other geometries, and for scores that differ in number.
    """
    if scores is not None and len(scores) != len(polygons):
        raise ValueError(f"{len(polygons)} polygons have {len(scores)} scores; expected one each")
    return [
        record_from(filled(rings_of(polygon), size), None if scores is None else scores[i])
        for i, polygon in enumerate(polygons)
    ]


def rings_of(polygon: Any) -> list[np.ndarray]:
    """The rings (K, 2) of a polygon: the outer one, then its holes."""
    kind = getattr(polygon, "geom_type", type(polygon).__name__)
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a geometry is a {kind}; expected polygons")
    parts = [polygon] if kind == "Polygon" else polygon.geoms
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return [np.asarray(ring.coords, float)[:-1, :2] for ring in rings if len(ring.coords)] or [
        np.zeros((3, 2))
    ]
