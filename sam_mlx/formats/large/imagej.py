"""Regions of interest for ImageJ and Fiji, by roifile."""

from __future__ import annotations

import zipfile

from ...large.readers import needed
from ..imagej import ROIFILE, ImageJRois, region
from .base import LargeFormat, LargeResult
from .geometry import regions_of


class LargeRois(LargeFormat):
    name = ImageJRois.name
    help = "a zip of regions for ImageJ's ROI manager, in pixels"
    ending = ImageJRois.pattern.format("")

    needs = ROIFILE

    def write(self, result: LargeResult, path: str) -> None:
        roifile = needed(*ROIFILE)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i, one in result.numbered():
                regions = regions_of(result, one, lambda points: points)
                rings = [ring[:-1].astype(int) for rings in regions for ring in rings]
                made = region(roifile, rings, f"mask_{i}")
                archive.writestr(f"mask_{i}.roi", made.tobytes())
