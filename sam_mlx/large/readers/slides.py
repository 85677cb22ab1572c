"""Whole slides of pathology, by tiffslide or openslide, which have the same methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base import Reader, is_installed, needed

ENDINGS = {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"}


class SlideReader(Reader):
    """Whole slides, by openslide or tiffslide."""

    dtype = np.dtype(np.uint8)
    bands, colours = 3, (0, 1, 2)

    def __init__(self, path: str):
        package = "openslide" if is_installed("openslide") else "tiffslide"
        opener = needed(package, f"reading the slide {path}", "slides")
        try:
            self.slide = opener.open_slide(path)
        except Exception as error:  # each reads a dozen formats, with the errors of each
            raise ValueError(f"{package} cannot read the slide {path}: {error}") from error
        self.sizes = [(height, width) for width, height in self.slide.level_dimensions]

    def read(
        self, level: int, x: int, y: int, width: int, height: int, bands: Sequence[int]
    ) -> np.ndarray:
        """The pixels (height, width, bands) of a rectangle; glass that was not scanned is white."""
        factor = self.slide.level_downsamples[level]
        corner = round(x * factor), round(y * factor)  # in pixels of level 0
        part = np.asarray(self.slide.read_region(corner, level, (width, height)).convert("RGBA"))
        # Where nothing was scanned openslide is transparent: glass is white.
        colours = np.where(part[..., 3:] > 0, part[..., :3], 255)
        return colours[..., list(bands)]
