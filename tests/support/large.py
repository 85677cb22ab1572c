"""Large pictures for tests: drawn where they are read, and written in every format."""

from __future__ import annotations

import numpy as np

from examples.benchmarks.drawn import Drawn
from sam_mlx.masks import decode_part, rle_area

__all__ = ["Drawn", "geotiff", "iou_with"]


def inside(disc, box, scale=1):
    """The disc's pixels in a box, x0, y0, x1, y1, of the picture at a scale."""
    x0, y0, x1, y1 = box
    y, x = (np.mgrid[y0:y1, x0:x1] + 0.5) * scale
    return np.hypot(x - disc[0], y - disc[1]) <= disc[2]


def iou_with(disc, rle, scale):
    """Of a mask, each of whose pixels is scale x scale of the picture: no more of it is held than
    what lies in the disc's box.
    """
    (x, y, radius), (height, width) = disc, rle["size"]
    left, top = (max(0, int((at - radius) / scale) - 1) for at in (x, y))
    right, bottom = (int((at + radius) / scale) + 2 for at in (x, y))
    box = (left, top, max(left, min(right, width)), max(top, min(bottom, height)))
    mask, wanted = decode_part(rle, box), inside(disc, box, scale)
    common = (mask & wanted).sum()
    return common / (rle_area(rle) + wanted.sum() - common)


def geotiff(path, array, crs="EPSG:32633", transform=None, **options):
    """Write an array (H, W) or (H, W, C) as a tiled GeoTIFF, with overviews if asked for."""
    import rasterio

    bands = array[..., None] if array.ndim == 2 else array
    factors = options.pop("overviews", ())
    transform = transform or rasterio.transform.from_origin(500000, 5400000, 0.5, 0.5)
    profile = dict(driver="GTiff", tiled=True, blockxsize=256, blockysize=256, dtype=array.dtype)
    profile |= dict(height=array.shape[0], width=array.shape[1], count=bands.shape[2])
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile, **options) as file:
        file.write(np.moveaxis(bands, -1, 0))
    if factors:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(factors), rasterio.enums.Resampling.average)
    return path
