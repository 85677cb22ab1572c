"""Large pictures for tests: drawn where they are read, and written in every format."""

from __future__ import annotations

import numpy as np

from examples.benchmarks.drawn import Drawn

__all__ = ["Drawn", "geotiff"]


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
