"""GeoJSON for maps and for QuPath, and COCO: text that is written mask by mask."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...files import to_json
from ...large.readers import needed
from ...masks import compress_rle, rle_bbox
from ...overlay import hex_colour
from .base import LargeFormat, LargeResult
from .geometry import Transform, as_geojson, measures, regions_of, whole_rle


def write_list(path: str, before: str, entries: Iterable[Any], after: str) -> None:
    """A text with a list of JSON values, one a line."""
    with Path(path).open("w", encoding="utf-8") as file:
        file.write(before)
        for i, entry in enumerate(entries):
            file.write(("," if i else "") + "\n" + to_json(entry))
        file.write(after)


class LargeGeoJson(LargeFormat):
    name = "geojson"
    help = "GeoJSON in longitude and latitude, in pixels without a reference system"
    ending = ".geojson"

    def write(self, result: LargeResult, path: str) -> None:
        transform = to_degrees(result)
        features = (
            {
                "type": "Feature",
                "id": i,
                "properties": measures(result, one),
                "geometry": as_geojson(regions_of(result, one, transform)),
            }
            for i, one in result.numbered()
        )
        write_list(path, '{"type": "FeatureCollection", "features": [', features, "\n]}\n")


def to_degrees(result: LargeResult) -> Transform:
    """Pixels to longitude and latitude, as GeoJSON's standard has it; pixels without a place."""
    place = result.picture.place
    if place is None:
        return lambda points: points
    warp = needed("rasterio.warp", "writing GeoJSON", "geo")

    def transform(points: np.ndarray) -> np.ndarray:
        mapped = warp.transform(place.crs, "EPSG:4326", *place.to_map(points).T.tolist())
        return np.stack(mapped[:2], axis=1)

    return transform


class QuPath(LargeFormat):
    name = "qupath"
    help = "GeoJSON that QuPath imports as detections, in pixels of the slide's finest level"
    ending = ".qupath.geojson"

    def write(self, result: LargeResult, path: str) -> None:
        scale = result.picture.scale
        source = result.picture.digest()
        detections = (
            {
                "type": "Feature",
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{source} {i}")),
                "geometry": as_geojson(regions_of(result, one, lambda points: points * scale)),
                "properties": {
                    "objectType": "detection",
                    "name": one.name or f"mask {i}",
                    "color": rgb(i),
                    "classification": {"name": "object", "color": rgb(0)},
                    "measurements": numbers(measures(result, one)),
                },
            }
            for i, one in result.numbered()
        )
        write_list(path, '{"type": "FeatureCollection", "features": [', detections, "\n]}\n")


def rgb(i: int) -> list[int]:
    return list(bytes.fromhex(hex_colour(i).removeprefix("#")))


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those that are numbers: QuPath reads no others, and no null."""
    return {n: v for n, v in values.items() if not isinstance(v, str) and math.isfinite(v)}


class LargeCoco(LargeFormat):
    name = "coco"
    help = "a COCO dataset of the picture, with compressed run lengths"
    ending = ".coco.json"

    def write(self, result: LargeResult, path: str) -> None:
        height, width = result.picture.size
        image = {"id": 1, "width": width, "height": height, "file_name": result.picture.name}
        head = {
            "info": {"description": "Automatic masks of Segment Anything, by sam_mlx"},
            "licenses": [],
            "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
            "images": [image],
        }
        before = to_json(head).removesuffix("}") + ', "annotations": ['
        write_list(path, before, self._annotations(result), "\n]}\n")

    def _annotations(self, result: LargeResult) -> Iterable[dict[str, Any]]:
        for i, one in result.numbered():
            rle = whole_rle(result, one)
            yield ({"name": one.name} if one.name else {}) | {
                "id": i,
                "image_id": 1,
                "category_id": 1,
                "segmentation": compress_rle([rle])[0],
                "area": sum(rle["counts"][1::2]),
                "bbox": rle_bbox(rle),
                "iscrowd": 0,
                "predicted_iou": one.predicted_iou,
                "stability_score": one.stability_score,
            }
