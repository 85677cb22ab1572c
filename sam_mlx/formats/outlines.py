"""Exact outlines, one file a picture: for drawing programs, and for those that read polygons.

Coordinates are pixels of the picture: the first covers 0 to 1 in both, y goes down.
"""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_json
from ..masks import outlines
from ..overlay import hex_colour
from .base import Format, Result


def named(result: Result, i: int) -> tuple[str, str]:
    """A mask's name and colour: its own, or its number and one from the palette."""
    record = result.records[i]
    return record.get("name", f"mask {i}"), record.get("colour", hex_colour(i))


class Svg(Format):
    name = "svg"
    help = "an SVG file for each picture, a path a mask"
    pattern = "{}.svg"

    def write(self, result: Result, path: str) -> None:
        height, width = result.image.shape[:2]
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" fill-rule="evenodd">'
        ]
        for i, mask in enumerate(result.masks):
            name, colour = (escape(text) for text in named(result, i))
            drawn = "".join(map(drawing, (ring for region in outlines(mask) for ring in region)))
            kind = escape(result.category(i)) if "category_id" in result.records[i] else ""
            data = f' data-class="{kind}"' if kind else ""
            lines.append(f'<path fill="{colour}"{data} d="{drawn}"><title>{name}</title></path>')
        Path(path).write_text("\n".join([*lines, "</svg>\n"]), encoding="utf-8")


def drawing(ring: np.ndarray) -> str:
    """A ring as a path: horizontal and vertical edges alternate."""
    x, y = ring[0].tolist()
    steps = np.diff(ring, axis=0).tolist()
    return f"M{x} {y}" + "".join(f"h{dx}" if dx else f"v{dy}" for dx, dy in steps) + "z"


class GeoJson(Format):
    name = "geojson"
    help = "a GeoJSON file for each picture, a feature a mask, in pixels"
    pattern = "{}.geojson"

    def write(self, result: Result, path: str) -> None:
        features = [feature(result, i, mask) for i, mask in enumerate(result.masks)]
        collection = {"type": "FeatureCollection", **result.describe(), "features": features}
        write_json(path, collection)


def feature(result: Result, i: int, mask: np.ndarray) -> dict[str, Any]:
    name, colour = named(result, i)
    record = result.records[i]
    scores = {k: record[k] for k in ("area", "predicted_iou", "stability_score")}
    kind = {"class": result.category(i)} if "category_id" in record else {}
    properties = {"name": name, "colour": colour, **kind, **scores}
    return {"type": "Feature", "id": i, "properties": properties, "geometry": geometry(mask)}


def geometry(mask: np.ndarray) -> dict[str, Any]:
    """A mask's GeoJSON geometry: a polygon, or several."""
    # Holes run the other way round, as GeoJSON requires.
    regions = [
        [closed(outline), *(closed(hole)[::-1] for hole in holes)]
        for outline, *holes in outlines(mask)
    ]
    if len(regions) == 1:
        return {"type": "Polygon", "coordinates": regions[0]}
    return {"type": "MultiPolygon", "coordinates": regions}


def closed(ring: np.ndarray) -> list[list[int]]:
    """A ring that ends where it begins, as GeoJSON requires."""
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]
