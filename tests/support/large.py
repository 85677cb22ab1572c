"""Large pictures for tests: drawn where they are read, and written in every format."""

from __future__ import annotations

import numpy as np


class Drawn:
    """Discs on a grid of any size, drawn where the picture is sliced: nothing is held.

    Every cell has a disc with a middle, radius and colour that depend on the cell alone.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, height: int, width: int, cell: int = 200, seed: int = 0, most: float = 0.4):
        self.shape = height, width, 3
        self.cell, self.seed, self.most = cell, seed, most
        self.read = 0  # pixels

    def disc(self, row: int, column: int) -> tuple[float, float, float, np.ndarray]:
        """x, y of the middle, radius, colour."""
        rng = np.random.default_rng((self.seed, row, column))
        radius = self.cell * rng.uniform(0.12, self.most)
        room = self.cell / 2 - radius - 4
        x, y = (np.array([column, row]) + 0.5) * self.cell + rng.uniform(-room, room, 2)
        return x, y, radius, rng.integers(90, 256, 3).astype(np.uint8)

    def __getitem__(self, where):
        rows, columns = (range(*part.indices(n)) for part, n in zip(where[:2], self.shape))
        y, x = np.mgrid[rows.start : rows.stop, columns.start : columns.stop]
        self.read += x.size
        picture = np.full((*x.shape, 3), 40, np.uint8)
        for row in range(rows.start // self.cell, (rows.stop - 1) // self.cell + 1):
            for column in range(columns.start // self.cell, (columns.stop - 1) // self.cell + 1):
                cx, cy, radius, colour = self.disc(row, column)
                picture[(x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 <= radius**2] = colour
        return picture[..., where[2]] if len(where) > 2 else picture

    def whole(self) -> np.ndarray:
        height, width, _ = self.shape
        return self[0:height, 0:width]

    def discs(self) -> list[tuple[float, float, float]]:
        """x, y, radius of those that lie whole in the picture."""
        height, width, _ = self.shape
        found = [
            self.disc(row, column)[:3]
            for row in range(height // self.cell + 1)
            for column in range(width // self.cell + 1)
        ]
        return [(x, y, r) for x, y, r in found if r < x < width - r and r < y < height - r]


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
