"""Masks as polygons in any coordinates, and as run lengths of the whole picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from ...masks import Rle, outlines
from ...tiled.found import Found
from .base import LargeResult

Region = list[np.ndarray]  # an outline and those of its holes, each (K, 2), closed
Transform = Callable[[np.ndarray], np.ndarray]  # points (N, 2) of the picture to others


def regions_of(result: LargeResult, one: Found, transform: Transform) -> list[Region]:
    """The regions of a mask, outlines counter-clockwise where y goes up, holes clockwise."""
    corner = np.array([result.region.x, result.region.y])
    _, _, right, bottom = result.region.box
    regions = []
    for region in outlines(one.mask):
        rings = []
        for i, ring in enumerate(region):
            points = (ring + np.array([one.x, one.y])) * one.scale + corner
            points = transform(np.minimum(points, (right, bottom)).astype(float))
            if (signed_area(points) < 0) == (i == 0):
                points = points[::-1]
            rings.append(np.concatenate([points, points[:1]]))
        regions.append(rings)
    return regions


def signed_area(ring: np.ndarray) -> float:
    """Above 0 for a ring (K, 2) that runs counter-clockwise where y goes up."""
    x, y = (ring - ring[0]).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def as_geojson(regions: list[Region]) -> dict[str, Any]:
    coordinates = [[ring.tolist() for ring in region] for region in regions]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


POLYGON, MULTIPOLYGON = 3, 6  # in well-known binary


def as_wkb(regions: list[Region]) -> bytes:
    """A multipolygon in well-known binary."""
    parts = [struct.pack("<BII", 1, MULTIPOLYGON, len(regions))]
    for region in regions:
        parts.append(struct.pack("<BII", 1, POLYGON, len(region)))
        for ring in region:
            parts += [struct.pack("<I", len(ring)), ring.astype("<f8").tobytes()]
    return b"".join(parts)


def whole_rle(result: LargeResult, one: Found) -> Rle:
    """Uncompressed RLE of a mask in the whole picture, at the picture's scale."""
    (H, W), s = result.picture.size, one.scale
    left, top = one.x * s + result.region.x, one.y * s + result.region.y
    columns = np.pad(one.mask.T, ((0, 0), (1, 1)))  # every column begins and ends unset
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), len(one.mask) + 1)
    x = (column[:, None] * s + np.arange(s) + left).ravel()  # each column is s columns
    y = np.minimum(row.repeat(s) * s + top, H)
    ends = np.sort((x * H + y)[x < W])
    # A run that ends with a column and one that begins with the next column are one run.
    meets = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, np.concatenate([meets, meets + 1]))
    if len(ends) == 0 or ends[-1] < H * W:
        ends = np.append(ends, H * W)
    return {"size": [H, W], "counts": np.diff(ends, prepend=0).tolist()}


def measures(result: LargeResult, one: Found) -> dict[str, Any]:
    """A mask's name, if it has one, its area in pixels and in the reference system's unit, and its
    scores.
    """
    pixels = result.area(one)
    found: dict[str, Any] = {"name": one.name} if one.name else {}
    found["area_px"] = pixels
    if (place := result.picture.place) is not None:
        x0, y0, x1, y1 = result.box(one)
        found["area"] = pixels * place.pixel_area((y0 + y1) / 2, (x0 + x1) / 2)
        found["area_unit"] = place.area_unit
    scores = {"predicted_iou": one.predicted_iou, "stability_score": one.stability_score}
    return found | scores
