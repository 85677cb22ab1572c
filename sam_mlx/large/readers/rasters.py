"""GeoTIFF, COG and whatever else GDAL reads, by rasterio."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..place import Place
from .base import Reader, default_colours, needed

MIN_SIDE = 64  # of a level; smaller ones are not worth a file handle


class RasterReader(Reader):
    """A raster with its overviews. GDAL's datasets are not for several threads: a lock keeps them
    apart.
    """

    def __init__(self, path: str):
        self.rasterio = needed("rasterio", f"reading {path}", "geo")
        self.lock, self.files = threading.Lock(), ExitStack()
        full = self._open(path)
        self.datasets = [full]
        for i, factor in enumerate(full.overviews(1)):
            if min(full.height, full.width) // factor >= MIN_SIDE:
                self.datasets.append(self._open(path, overview_level=i))
        check_whole(path, self.datasets)
        self.sizes = [(d.height, d.width) for d in self.datasets]
        self.bands, self.dtype = full.count, np.dtype(full.dtypes[0])
        self.nodata = full.nodata
        self.place = place_of(full)
        kinds = [kind.name for kind in full.colorinterp]
        self.palette = palette_of(full) if kinds[0] == "palette" else None
        if self.palette is not None:
            self.bands, self.dtype, self.nodata = 3, np.dtype(np.uint8), None
        named = [kinds.index(c) for c in ("red", "green", "blue") if c in kinds]
        self.colours = tuple(named) if len(named) == 3 else default_colours(self.bands)
        self.has_mask = any("all_valid" not in flag.name for flag in full.mask_flag_enums[0])

    def _open(self, path: str, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self.rasterio.errors.NotGeoreferencedWarning)
                opened = self.rasterio.open(path, **options)
        except self.rasterio.errors.RasterioError as error:
            raise ValueError(f"cannot read {path} as a raster: {error}") from error
        if opened.count == 0:
            raise ValueError(
                f"{path} is a container of several rasters; give one of "
                f"{', '.join(opened.subdatasets[:5])}"
            )
        return self.files.enter_context(opened)

    def _part(self, x: int, y: int, width: int, height: int) -> Any:
        return self.rasterio.windows.Window(x, y, width, height)

    def read(
        self, level: int, x: int, y: int, width: int, height: int, bands: Sequence[int]
    ) -> np.ndarray:
        """The pixels (height, width, bands) of a rectangle. Raises ValueError for damaged files."""
        wanted = [1] if self.palette is not None else [band + 1 for band in bands]
        try:
            with self.lock:
                found = self.datasets[level].read(wanted, window=self._part(x, y, width, height))
        except self.rasterio.errors.RasterioError as error:
            where = f"{width} x {height} pixels at {x} {y}"
            cause = error.__cause__ or error
            raise ValueError(
                f"{self.datasets[0].name} is damaged: it cannot be read at {where}: {cause}"
            ) from error
        if self.palette is not None:
            return self.palette[found[0]][..., list(bands)]
        return np.moveaxis(found, 0, -1)

    def valid(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray | None:
        """(height, width) bool, True where pixels have a value; None if all have."""
        if not self.has_mask:
            return None
        with self.lock:
            mask = self.datasets[level].dataset_mask(window=self._part(x, y, width, height))
        return mask > 0


def check_whole(path: str, datasets: Sequence[Any]) -> None:
    """Raise ValueError for a TIFF that ends before the last block of a level does, as one whose
    download was stopped: hours of work might come before that block is read.

    datasets: the raster, and its overviews from the first on.
    """
    if not os.path.isfile(path):  # a raster in an archive, or elsewhere
        return
    size = os.path.getsize(path)
    for level, dataset in enumerate(datasets):
        rows, columns = dataset.block_shapes[-1]
        block = f"{(dataset.width - 1) // columns}_{(dataset.height - 1) // rows}"
        offset, length = (
            int(
                datasets[0].get_tag_item(
                    f"BLOCK_{what}_{block}", "TIFF", bidx=dataset.count,
                    ovr=level - 1 if level else None,
                )
                or 0  # of other formats, and of blocks that are not stored
            )
            for what in ("OFFSET", "SIZE")
        )  # fmt: skip
        if offset + length > size:
            raise ValueError(
                f"{path} is not whole: it ends at byte {size}, and a part of the picture is "
                f"stored up to byte {offset + length}; copy it again"
            )


def palette_of(dataset: Any) -> np.ndarray:
    """The colours of a raster's values, (256 or more, 3)."""
    table = np.zeros((1 << 8 * np.dtype(dataset.dtypes[0]).itemsize, 3), np.uint8)
    for value, colour in dataset.colormap(1).items():
        table[value] = colour[:3]
    return table


def place_of(dataset: Any) -> Place | None:
    """None, with a warning if there is a transform, for a raster without a reference system."""
    transform = tuple(dataset.transform)[:6]
    if not dataset.crs:
        if transform != (1, 0, 0, 0, 1, 0):
            warnings.warn(
                f"{dataset.name} says where its pixels lie, but not in which reference system: "
                "results are in pixels. gdal_translate -a_srs EPSG:... sets one",
                stacklevel=2,
            )
        return None
    code = dataset.crs.to_epsg()
    crs = f"EPSG:{code}" if code else dataset.crs.to_wkt()
    geographic = dataset.crs.is_geographic
    unit = "degree" if geographic else dataset.crs.linear_units
    return Place(crs, transform, unit, geographic)
