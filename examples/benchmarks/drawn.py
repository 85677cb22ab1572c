"""A picture of any size, drawn where it is read: discs on a grid."""

from __future__ import annotations

import numpy as np


class Drawn:
    """Discs on a grid, drawn where the picture is sliced: nothing is held.

    Every cell has a disc with a middle, radius and colour that depend on the cell alone. offset:
    pixels by which all are moved, right and down.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        height: int,
        width: int,
        cell: int = 200,
        seed: int = 0,
        most: float = 0.4,
        least: float = 0.12,
        offset: int = 0,
    ):
        self.shape = height, width, 3
        self.cell, self.seed, self.radii, self.offset = cell, seed, (least, most), offset
        self.read = 0  # pixels

    def disc(self, row: int, column: int) -> tuple[float, float, float, np.ndarray]:
        """x, y of the middle, radius, colour."""
        rng = np.random.default_rng((self.seed, row, column))
        radius = self.cell * rng.uniform(*self.radii)
        room = self.cell / 2 - radius - 4
        x, y = (np.array([column, row]) + 0.5) * self.cell + rng.uniform(-room, room, 2)
        colour = rng.integers(90, 256, 3).astype(np.uint8)
        return x + self.offset, y + self.offset, radius, colour

    def cells(self, low: int, high: int) -> range:
        """Rows or columns of the grid that reach into pixels."""
        first, last = ((n - self.offset) // self.cell for n in (low, high - 1))
        return range(max(first, 0), last + 1)

    def __getitem__(self, where):
        rows, columns = (range(*part.indices(n)) for part, n in zip(where[:2], self.shape))
        self.read += len(rows) * len(columns)
        picture = np.full((len(rows), len(columns), 3), 40, np.uint8)
        for row in self.cells(rows.start, rows.stop):
            for column in self.cells(columns.start, columns.stop):
                self.draw(picture, rows.start, columns.start, *self.disc(row, column))
        return picture[..., where[2]] if len(where) > 2 else picture

    def draw(self, picture, top, left, x, y, radius, colour):
        """A disc into the part of the picture that begins at top, left."""
        reach = radius + 2
        y0, y1 = (int(np.clip(y - top + r, 0, picture.shape[0])) for r in (-reach, reach))
        x0, x1 = (int(np.clip(x - left + r, 0, picture.shape[1])) for r in (-reach, reach))
        yy, xx = np.mgrid[y0:y1, x0:x1]
        inside = (xx + left + 0.5 - x) ** 2 + (yy + top + 0.5 - y) ** 2 <= radius**2
        picture[y0:y1, x0:x1][inside] = colour

    def whole(self) -> np.ndarray:
        height, width, _ = self.shape
        return self[0:height, 0:width]

    def discs(self) -> list[tuple[float, float, float]]:
        """x, y, radius of those that lie whole in the picture."""
        height, width, _ = self.shape
        found = [
            self.disc(row, column)[:3]
            for row in self.cells(0, height)
            for column in self.cells(0, width)
        ]
        return [(x, y, r) for x, y, r in found if r < x < width - r and r < y < height - r]
