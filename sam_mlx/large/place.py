"""Where a picture lies on the earth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# Of the ellipsoid WGS 84: half the longer axis, metres, and the square of the eccentricity.
EQUATOR, ECCENTRICITY = 6378137.0, 0.00669437999014


@dataclass(frozen=True)
class Place:
    """A coordinate reference system, and the affine transform from pixels into it:
    X = a x + b y + c, Y = d x + e y + f, where pixel (0, 0) covers 0 to 1 in x and in y.
    """

    crs: str  # "EPSG:32633", or WKT
    transform: tuple[float, float, float, float, float, float]  # a, b, c, d, e, f
    unit: str = "metre"  # of X and Y
    geographic: bool = False  # X and Y are longitude and latitude, in degrees

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y in pixels to X, Y of the reference system."""
        a, b, c, d, e, f = self.transform
        return np.asarray(points, float) @ np.array([[a, d], [b, e]]) + (c, f)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as X, Y of the reference system to x, y in pixels."""
        a, b, c, d, e, f = self.transform
        inverse = np.linalg.inv(np.array([[a, d], [b, e]]))
        return (np.asarray(points, float) - (c, f)) @ inverse

    def scaled(self, x: float, y: float) -> Place:
        """The place of the same picture with pixels x times as wide and y times as high."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a * x, b * y, c, d * x, e * y, f))

    def moved(self, x: float, y: float) -> Place:
        """The place of the part of the picture that begins at the pixel x, y."""
        a, b, _, d, e, _ = self.transform
        c, f = self.to_map(np.array([x, y])).tolist()
        return replace(self, transform=(a, b, c, d, e, f))

    @property
    def area_unit(self) -> str:
        """The unit of areas: that of the reference system, squared."""
        return "square metre" if self.geographic else f"square {self.unit}"

    def pixel_area(self, y: float, x: float) -> float:
        """The area of the pixel at x, y: in the unit's square, and in square metres on WGS 84
        where the unit is the degree, whose square means nothing.
        """
        a, b, _, d, e, _ = self.transform
        area = abs(a * e - b * d)
        if not self.geographic:
            return area
        latitude = np.radians(self.to_map(np.array([x, y]))[1])
        curve = 1 - ECCENTRICITY * np.sin(latitude) ** 2
        east = EQUATOR * np.cos(latitude) / np.sqrt(curve)
        north = EQUATOR * (1 - ECCENTRICITY) / curve**1.5
        return float(area * east * north * np.radians(1) ** 2)
