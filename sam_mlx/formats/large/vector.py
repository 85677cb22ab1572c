"""GeoPackage, by pyogrio."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import Any

import numpy as np

from ...large.readers import needed
from ...tiled.found import Found
from .base import LargeFormat, LargeResult
from .geometry import as_wkb, measures, regions_of

AT_ONCE = 1000  # features in memory
LAYER = "masks"
PYOGRIO = ("pyogrio.raw", "writing GeoPackage", "geo")


class GeoPackage(LargeFormat):
    name = "gpkg"
    help = "GeoPackage in the picture's reference system, in pixels without one"
    ending = ".gpkg"

    needs = PYOGRIO

    def write(self, result: LargeResult, path: str) -> None:
        raw = needed(*PYOGRIO)
        masks = result.numbered()
        some = list(islice(masks, AT_ONCE))
        write_features(raw, result, path, some, append=False)
        while some := list(islice(masks, AT_ONCE)):
            write_features(raw, result, path, some, append=True)


def write_features(
    raw: Any, result: LargeResult, path: str, some: list[tuple[int, Found]], append: bool
) -> None:
    """Write masks with their numbers, to a new file or after those that are there."""
    place = result.picture.place
    transform = place.to_map if place else (lambda points: points)
    shapes = np.empty(len(some), object)
    for i, (_, one) in enumerate(some):
        shapes[i] = as_wkb(regions_of(result, one, transform))
    rows = [{"id": number, **measures(result, one)} for number, one in some]
    columns = columns_of(rows, georeferenced=place is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the file has no reference system
        raw.write(
            path, shapes, list(columns.values()), np.array(list(columns)), layer=LAYER,
            driver="GPKG", geometry_type="MultiPolygon", append=append,
            crs=place.crs if place else None,
        )  # fmt: skip


def columns_of(rows: list[dict[str, Any]], georeferenced: bool) -> dict[str, np.ndarray]:
    """The rows' values by name; each column has its type even without rows."""
    types: dict[str, Any] = {"id": np.int64}
    if any("name" in row for row in rows):
        types["name"] = object
    types["area_px"] = np.int64
    if georeferenced:
        types |= {"area": np.float64, "area_unit": object}
    types |= {"predicted_iou": np.float64, "stability_score": np.float64}
    return {name: np.array([row.get(name) for row in rows], kind) for name, kind in types.items()}
