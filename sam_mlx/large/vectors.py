"""Boxes and points from vector files, in pixels of a picture, by pyogrio."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import user_path
from ..messages import short
from .place import Place
from .readers import needed

POINT = 1  # in well-known binary
MAX_DEPTH = 8  # of geometries within geometries


@dataclass(frozen=True)
class Features:
    """The features of a vector file that have a geometry: corners of each, in pixels."""

    points: list[np.ndarray]  # (K, 2) each: x, y of all corners
    are_points: list[bool]  # rather than shapes with an extent
    numbers: list[int]  # of the features in the file, from 0
    empty: int  # features without a geometry, left out

    def boxes(self) -> np.ndarray:
        """Boxes (N, 4) round the features, x0, y0, x1, y1."""
        corners = [[*p.min(axis=0), *p.max(axis=0)] for p in self.points]
        return np.array(corners, float).reshape(-1, 4)


def read_features(path: str | Path, place: Place | None, layer: str | None = None) -> Features:
    """The features of a file that GDAL reads: GeoPackage, Shapefile, GeoJSON and others.

    place: of the picture; the file's reference system may be another. Without one, coordinates are
    pixels. Heights are ignored. Raises FileNotFoundError, and ValueError for files and layers that
    cannot be read, and where only one of file and picture has a reference system.
    """
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such vector file: {path}")
    raw = needed("pyogrio.raw", f"reading {path}", "geo")
    meta, geometry = read_layer(raw, path, layer)
    found: list[tuple[int, list[np.ndarray], bool]] = []
    empty = 0
    for number, wkb in enumerate(geometry):
        parts, kind = parse(wkb)
        empty += not parts
        if parts:
            found.append((number, parts, kind == POINT))
    points = [np.concatenate(parts) for _, parts, _ in found]
    return Features(
        to_picture(points, meta["crs"], place, path),
        [is_point for _, _, is_point in found],
        [number for number, _, _ in found],
        empty,
    )


def read_layer(raw: Any, path: Path, layer: str | None) -> tuple[dict[str, Any], np.ndarray]:
    """A layer's description, and its geometries as well-known binary, without heights."""
    errors = needed("pyogrio.errors", f"reading {path}", "geo")
    try:
        layers = needed("pyogrio", f"reading {path}", "geo").list_layers(path)[:, 0].tolist()
    except errors.DataSourceError as error:
        raise ValueError(f"cannot read {path} as a vector file: {error}") from error
    if layer is None and len(layers) != 1:
        named = (
            f"has the layers {', '.join(layers)}: choose one, in the shell --layer {layers[0]}"
            if layers
            else "has no layer"
        )
        raise ValueError(f"{path} {named}")
    if layer is not None and layer not in layers:
        raise ValueError(f"{path} has no layer {layer}; it has {', '.join(layers) or 'none'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of geometries with measures
        meta, _, geometry, _ = raw.read(path, layer=layer, columns=[], force_2d=True)
    if geometry is None:
        raise ValueError(f"the layer {layer or layers[0]} of {path} has no geometry: it is a table")
    return meta, geometry


def parse(wkb: bytes | None, depth: int = 0) -> tuple[list[np.ndarray], int]:
    """The corners of a geometry in well-known binary, (K, 2) each, and its type."""
    if not wkb or depth > MAX_DEPTH:
        return [], 0
    parts, kind, _ = _parse(memoryview(wkb), 0, depth)
    return [part[np.isfinite(part).all(axis=1)] for part in parts if np.isfinite(part).any()], kind


def _parse(data: memoryview, at: int, depth: int) -> tuple[list[np.ndarray], int, int]:
    """The corners, the type, and where the geometry ends."""
    order = "<" if data[at] == 1 else ">"
    (kind,) = struct.unpack_from(order + "I", data, at + 1)
    at += 5
    if kind == POINT:
        return [np.frombuffer(data, order + "f8", 2, at)[None].astype(float)], kind, at + 16
    (count,) = struct.unpack_from(order + "I", data, at)
    at += 4
    parts: list[np.ndarray] = []
    if kind == 2:  # a line
        return [corners(data, order, count, at)], kind, at + 16 * count
    for _ in range(count):
        if kind == 3:  # a polygon's rings
            (length,) = struct.unpack_from(order + "I", data, at)
            parts.append(corners(data, order, length, at + 4))
            at += 4 + 16 * length
        else:  # a collection
            more, _, at = _parse(data, at, depth + 1)
            parts += more
    return [part for part in parts if len(part)], kind, at


def corners(data: memoryview, order: str, count: int, at: int) -> np.ndarray:
    """``count`` points (count, 2) of well-known binary, from byte ``at``."""
    return np.frombuffer(data, order + "f8", 2 * count, at).reshape(-1, 2).astype(float)


def to_picture(
    points: list[np.ndarray], crs: str | None, place: Place | None, path: Path
) -> list[np.ndarray]:
    """Points of a vector file's reference system in pixels of the picture."""
    if place is None and crs is None:
        return points
    if place is None or crs is None:
        has, lacks = ("the picture", path) if crs is None else (path, "the picture")
        raise ValueError(
            f"{has} has a reference system and {lacks} has none: nobody knows where one lies on "
            "the other. gdal_translate -a_srs or ogr2ogr -a_srs sets one"
        )
    if not points:
        return []
    warp = needed("rasterio.warp", f"reading {path}", "geo")
    together = np.concatenate(points)
    try:
        mapped = warp.transform(crs, place.crs, *together.T.tolist())
    except Exception as error:  # of GDAL, whose errors have many classes
        wrong = f"{path} in {short(crs)} does not fit {place.crs}: {short(str(error))}"
        raise ValueError(wrong) from error
    pixels = place.to_pixels(np.stack(mapped[:2], axis=1))
    ends = np.cumsum([len(part) for part in points])[:-1]
    return np.split(pixels, ends)
