"""A label raster, by rasterio."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...large.readers import needed
from .base import LargeFormat, LargeResult

BLOCK = 256  # side of the file's tiles, pixels
ROWS = 512  # written at a time
RASTERIO = ("rasterio", "writing a label raster", "geo")


class LabelRaster(LargeFormat):
    name = "labelmap"
    help = "a tiled GeoTIFF of 32-bit labels from 1 on, 0 elsewhere; the smallest mask is on top"
    ending = ".labels.tif"

    needs = RASTERIO

    def write(self, result: LargeResult, path: str) -> None:
        rasterio = needed(*RASTERIO)
        profile = profile_of(result, rasterio)
        table = index_of(result)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, "w", **profile) as file:
                for top in range(0, result.region.height, ROWS):
                    rows = min(ROWS, result.region.height - top)
                    labels = painted(result, table, top, rows)
                    part = rasterio.windows.Window(0, top, result.region.width, rows)
                    file.write(labels, 1, window=part)


def profile_of(result: LargeResult, rasterio: Any) -> dict[str, Any]:
    region, place = result.region, result.picture.place
    profile = dict(
        driver="GTiff", dtype="uint32", count=1, width=region.width, height=region.height,
        tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", bigtiff="IF_SAFER",
    )  # fmt: skip
    if place is not None:
        moved = place.moved(region.x, region.y)
        profile |= {"crs": place.crs, "transform": rasterio.Affine(*moved.transform)}
    return profile


def index_of(result: LargeResult) -> np.ndarray:
    """For each mask its label, first row and the row after the last, in the region; its area; and
    where it begins in the file: (N, 5). The largest come first.
    """
    table = [
        (i, *(y - result.region.y for y in result.box(one)[1::2]), result.area(one), offset)
        for (i, one), offset in zip(result.numbered(), result.masks.offsets())
    ]
    rows = np.array(table, np.int64).reshape(-1, 5)
    return rows[np.argsort(-rows[:, 3], kind="stable")]


def painted(result: LargeResult, table: np.ndarray, top: int, rows: int) -> np.ndarray:
    """The labels (rows, W) of some rows of the region."""
    labels = np.zeros((rows, result.region.width), np.uint32)
    here = table[(table[:, 1] < top + rows) & (table[:, 2] > top)]
    for label, one in zip(here[:, 0].tolist(), result.masks.at(here[:, 4].tolist())):
        x0, y0, x1, y1 = result.box(one)
        left, first = x0 - result.region.x, y0 - result.region.y - top
        start, end = max(first, 0), min(first + y1 - y0, rows)
        # Of a coarse mask only the rows that are painted are made large.
        s = one.scale
        part = one.mask[(start - first) // s : -(-(end - first) // s)]
        part = part.repeat(s, axis=0).repeat(s, axis=1)[(start - first) % s :]
        target = labels[start:end, left : left + x1 - x0]
        target[part[: end - start, : x1 - x0]] = label
    return labels
