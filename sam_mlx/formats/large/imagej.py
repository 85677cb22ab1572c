"""Regions of interest for ImageJ and Fiji, by roifile."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np

from ...large.readers import needed
from .base import LargeFormat, LargeResult
from .geometry import Region, regions_of

MOVE, LINE, CLOSE = 0, 1, 4  # in the path of a composite region


class ImageJ(LargeFormat):
    name = "imagej"
    help = "a zip of regions for ImageJ's ROI manager, in pixels"
    ending = ".rois.zip"

    def write(self, result: LargeResult, path: str) -> None:
        roifile = needed("roifile", "writing ImageJ's regions", "microscopy")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i, one in result.numbered():
                regions = regions_of(result, one, lambda points: points)
                region = roi_of(roifile, regions, f"mask_{i}")
                archive.writestr(f"mask_{i}.roi", region.tobytes())


def roi_of(roifile: Any, regions: list[Region], name: str) -> Any:
    """A polygon, or a composite of outlines and holes."""
    rings = [ring for region in regions for ring in region]
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(rings[0][:-1].astype(int), name=name)
        roi.roitype = roifile.ROI_TYPE.TRACED
        return roi
    points = np.concatenate(rings)
    roi = roifile.ImagejRoi()
    roi.name, roi.roitype = name, roifile.ROI_TYPE.RECT
    (roi.left, roi.top), (roi.right, roi.bottom) = (
        f(points, axis=0).astype(int).tolist() for f in (np.min, np.max)
    )
    roi.multi_coordinates = path_of(rings)
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def path_of(rings: list[np.ndarray]) -> np.ndarray:
    """Rings as ImageJ's path: a letter and a point, one after another."""
    path: list[float] = []
    for ring in rings:
        for i, (x, y) in enumerate(ring[:-1].tolist()):
            path += [LINE if i else MOVE, x, y]
        path.append(CLOSE)
    return np.array(path, np.float32)
