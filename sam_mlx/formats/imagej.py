"""ImageJ's regions of interest: a zip for each picture, which its ROI Manager opens."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..large.readers import needed
from ..masks import outlines
from .base import Format, Result
from .outlines import named

ROIFILE = ("roifile", "writing ImageJ's regions", "microscopy")
MOVE, LINE, CLOSE = 0, 1, 4  # steps of a composite region's path


class ImageJRois(Format):
    name = "roi"
    help = "a zip of ImageJ ROIs for each picture (needs roifile)"
    pattern = "{}_rois.zip"

    needs = ROIFILE

    def write(self, result: Result, path: str) -> None:
        """Raises ImportError without roifile."""
        roifile, rois = needed(*ROIFILE), []
        for i, mask in enumerate(result.masks):
            rings = [ring for region in outlines(mask) for ring in region]
            if rings:
                rois.append(region(roifile, rings, named(result, i)[0]))
        names = [f"{i:05}" for i in range(1, len(rois) + 1)]  # of the files in the zip
        roifile.roiwrite(path, rois, name=names, mode="w")


def region(roifile: Any, rings: list[np.ndarray], name: str) -> Any:
    """A region whose pixels are inside an odd number of rings (K, 2)."""
    if len(rings) == 1:
        roi = roifile.ImagejRoi.frompoints(rings[0], name=name)
        roi.roitype = roifile.ROI_TYPE.TRACED
        return roi
    points = np.concatenate(rings)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    path = np.concatenate([steps(ring) for ring in rings]).astype(np.float32)
    roi = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, left=left, top=top, right=right, bottom=bottom, name=name
    )
    roi.multi_coordinates, roi.shape_roi_size = path, len(path)
    return roi


def steps(ring: np.ndarray) -> np.ndarray:
    """A ring as ImageJ's path: a move, lines, and the way back to its start."""
    kinds = np.full(len(ring), LINE)
    kinds[0] = MOVE
    return np.append(np.column_stack([kinds, ring]).ravel(), CLOSE)
