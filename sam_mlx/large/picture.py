"""A large picture: opened once, read in windows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import user_path
from ..messages import short
from ..samples import Range, check_range
from .place import Place
from .readers import Reader, reader_of
from .scaling import PERCENTILES, found_ranges, looked_at, to_uint8, valid_pixels
from .window import Window, check_window

Source = Any  # a path, or an object with shape and slicing
BLOCK_PIXELS = 1 << 24  # read at a time where a window is scaled down
VALUES_SIDE = 512  # the most pixels along a side that are read to look for a value


def open_large(
    source: Source,
    *,
    level: int = 0,
    bands: Sequence[int] | None = None,
    nodata: float | None = None,
    value_range: Range | None = None,
    percentiles: tuple[float, float] = PERCENTILES,
    axes: str | None = None,
) -> LargeImage:
    """Open a picture of any size. Of its pixels only samples for ``percentiles`` are read.

    source: a path to GeoTIFF, COG and other rasters (the extra ``geo``); OME-TIFF, BigTIFF,
    ImageJ's stacks, OME-Zarr (``microscopy``); slides (``slides``); a PNG, JPEG or the like, which
    is read whole; or an object with shape and slicing, such as numpy's memory maps, zarr and dask.
    level: of a pyramid, 0 the finest; the picture's pixels are then those of that level.
    bands: one or three, counted from 1; by default red, green and blue, or the first.
    nodata: the sample of pixels without a value, where the file does not say. value_range: the
    samples that become black and white; by default 8 bits are taken as they are, and others from
    ``percentiles`` of an overview, for each band, the same in all windows (``ranges``), unless a
    model has a ``value_range`` in its config.
    axes: names of the axes, such as "CYX"; by default the file's own, or YX and YXC.

    Raises FileNotFoundError; ValueError for what cannot be opened, levels and bands that are not
    there, pictures without a value; ImportError, with the line to run, where a reader is missing.
    """
    reader = reader_of(source, axes)
    if nodata is not None:
        reader.nodata = float(nodata)
    check_level(level, reader)
    chosen = check_bands(bands, reader)
    if reader.dtype.kind not in "biuf":
        raise ValueError(f"the picture has samples of type {reader.dtype}; expected numbers")
    if (value_range := check_range(value_range)) is not None:
        ranges: list[Range] | None = [value_range] * len(chosen)
    else:
        ranges = found_ranges(reader, chosen, percentiles)
    path = None if hasattr(source, "shape") or isinstance(source, Reader) else user_path(source)
    is_chosen = value_range is not None or tuple(percentiles) != PERCENTILES
    return LargeImage(reader, level, chosen, ranges, path, is_chosen)


class LargeImage:
    """A picture that is read in windows, made by ``open_large``. Sizes are of the chosen level."""

    def __init__(
        self,
        reader: Reader,
        level: int,
        bands: Sequence[int],
        ranges: list[Range] | None,
        path: Path | None = None,
        is_chosen: bool = False,
    ):
        """is_chosen: whether the user, and not the samples, decided on the ranges."""
        self.reader, self.level, self.bands, self.ranges = reader, level, tuple(bands), ranges
        self.path, self.is_chosen = path, is_chosen
        self.size: tuple[int, int] = reader.sizes[level]  # height, width
        full = reader.sizes[0]
        self.scale = factor_of(full, self.size)  # of its pixels to those of level 0

    def __repr__(self) -> str:
        height, width = self.size
        count, more = self.reader.bands, len(self.reader.sizes) - 1
        parts = [f"{height} x {width}", f"{count} band{'s' * (count > 1)}", str(self.reader.dtype)]
        parts += [f"level {self.level} of {more + 1}"] * (more > 0)
        parts += [self.place.crs[:40]] if self.place else []
        return f"LargeImage({', '.join(parts)})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W) in pixels of the level that is used."""
        return (*self.size, 3)

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name if self.path else "array"

    @property
    def place(self) -> Place | None:
        """Where the pixels of this level lie; None without a reference system."""
        found = self.reader.place
        return found and found.scaled(self.scale, self.scale)

    def read_by(self, value_range: Range | None) -> LargeImage:
        """The picture by a model's own range, which comes before one found in its samples, and
        after the user's; samples of 8 bits stay as they are.
        """
        if value_range is None or self.ranges is None or self.is_chosen:
            return self
        ranges = [value_range] * len(self.bands)
        return LargeImage(self.reader, self.level, self.bands, ranges, self.path, True)

    def read(self, window: Window | Sequence[int], scale: int = 1) -> np.ndarray:
        """Pixels (h, w, 3), uint8, RGB, of a window, or of x, y, width, height at a scale.

        Those without a value are black.
        """
        return self.pixels(check_window(window, self.size, scale))[0]

    def pixels(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (h, w, 3) of a window, and whether they have a value (h, w)."""
        if window.scale == 1:
            return self._part(self.level, *window.box)
        level = self._level_for(window.scale)
        factor = (
            window.scale * self.scale / factor_of(self.reader.sizes[0], self.reader.sizes[level])
        )
        return self._scaled(window, level, factor)

    def has_values(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Whether a box that lies on the picture holds a pixel with a value. Large boxes are read
        at a coarser scale.
        """
        height, width = self.size
        left, right = (min(max(int(x), 0), width - 1) for x in (x0, x1))
        top, bottom = (min(max(int(y), 0), height - 1) for y in (y0, y1))
        reader, w, h = self.reader, right - left + 1, bottom - top + 1
        all_have = reader.nodata is None and reader.dtype.kind != "f"
        if all_have and reader.valid(self.level, left, top, 1, 1) is None:
            return True  # without reading one
        scale = -(-max(w, h) // VALUES_SIDE)
        return bool(self.pixels(Window(left, top, w, h, scale))[1].any())

    def _level_for(self, scale: float) -> int:
        """The coarsest level that is not coarser than ``scale``."""
        full = self.reader.sizes[0]
        scales = [factor_of(full, size) for size in self.reader.sizes]
        return max(i for i, s in enumerate(scales) if s <= scale * self.scale * 1.001)

    def _scaled(self, window: Window, level: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
        """A window from a level with ``factor`` pixels to one, a few rows at a time."""
        (h, w), (H, W) = window.shape, self.reader.sizes[level]
        x, y = (corner * factor / window.scale for corner in (window.x, window.y))
        rgb, valid = np.zeros((h, w, 3), np.uint8), np.zeros((h, w), bool)
        rows = max(1, int(BLOCK_PIXELS / (factor * factor * w)))
        left, right = int(x), min(W, int(np.ceil(x + w * factor)))
        for row in range(0, h, rows):
            end = min(row + rows, h)
            top, bottom = int(y + row * factor), min(H, int(np.ceil(y + end * factor)))
            part, there = self._part(level, left, top, right, bottom)
            box = (x - left, y + row * factor - top)
            rgb[row:end] = shrink(part, (end - row, w), box, factor)
            valid[row:end] = shrink(there.astype(np.uint8) * 255, (end - row, w), box, factor) > 127
        return rgb, valid

    def _part(
        self, level: int, x0: int, y0: int, x1: int, y1: int
    ) -> tuple[np.ndarray, np.ndarray]:
        part = x0, y0, x1 - x0, y1 - y0
        samples = self.reader.read(level, *part, self.bands)
        valid = valid_pixels(self.reader, level, part, samples)
        pixels = to_uint8(samples, self.ranges)
        pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        if not valid.all():
            pixels = np.where(valid[..., None], pixels, np.uint8(0))
        return np.ascontiguousarray(pixels), valid

    def describe(self) -> dict[str, Any]:
        """What results depend on, for JSON: size, bands, ranges, and a digest of the source."""
        return {
            "source": None if self.path is None else str(self.path),
            "size": list(self.size),
            "level": self.level,
            "bands": [band + 1 for band in self.bands],
            "ranges": self.ranges and [list(limits) for limits in self.ranges],
            "nodata": self.reader.nodata,
            "digest": self.digest(),
        }

    def digest(self) -> str:
        """What shows that the source has changed: sizes, times and the ends of its files; of an
        array, its shape and samples of the overview.
        """
        found = hashlib.sha256(f"{self.reader.sizes} {self.reader.dtype}".encode())
        if self.path is None:
            for samples, _ in looked_at(self.reader, self.bands, whole=0):
                found.update(np.ascontiguousarray(samples).tobytes())
        else:
            for file in files_of(self.path):
                found.update(traits(file))
        return found.hexdigest()[:32]


def files_of(path: Path) -> list[Path]:
    """Files that a source consists of."""
    if not path.is_dir():
        return [path] if path.exists() else []
    return sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)


def traits(file: Path, end: int = 1 << 16) -> bytes:
    """A file's name, size, time of change, and its first and last bytes."""
    found = file.stat()
    with file.open("rb") as opened:
        first = opened.read(end)
        opened.seek(max(0, found.st_size - end))
        last = opened.read(end)
    head = f"{file.name} {found.st_size} {found.st_mtime_ns}".encode()
    return head + hashlib.sha256(first + last).digest()


def factor_of(full: tuple[int, int], size: tuple[int, int]) -> float:
    """How many pixels of a full picture, along a side, are one of a smaller level: a whole number
    where the level was rounded up or down from it.
    """
    factor = max(full) / max(size)
    whole = round(factor)
    fits = all(n // whole <= m <= -(-n // whole) for n, m in zip(full, size))
    return float(whole) if fits else factor


def shrink(
    pixels: np.ndarray, size: tuple[int, int], corner: tuple[float, float], factor: float
) -> np.ndarray:
    """Means of ``factor`` x ``factor`` pixels, (h, w) = ``size`` of them from a corner x, y on.

    What reaches beyond the picture repeats its edge.
    """
    (h, w), (x, y) = size, corner
    missing = [
        max(0, int(np.ceil(c + n * factor)) - m) for c, n, m in zip((y, x), size, pixels.shape)
    ]
    if any(missing):
        pad = [(0, missing[0]), (0, missing[1]), (0, 0)][: pixels.ndim]
        pixels = np.pad(pixels, pad, mode="edge")
    box = (x, y, x + w * factor, y + h * factor)
    return np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.BOX, box))


def check_level(level: int, reader: Reader) -> None:
    """Raise ValueError for a level that the picture lacks."""
    if not (isinstance(level, (int, np.integer)) and 0 <= level < len(reader.sizes)):
        sizes = ", ".join(f"{i}: {w} x {h}" for i, (h, w) in enumerate(reader.sizes))
        raise ValueError(f"level is {short(level)}; the picture has {sizes} pixels")


def check_bands(bands: Sequence[int] | None, reader: Reader) -> tuple[int, ...]:
    """Three bands, or one, counted from 0. Raises ValueError for others."""
    if bands is None:
        return tuple(reader.colours)
    if len(bands) not in (1, 3) or not all(
        isinstance(band, (int, np.integer)) and 1 <= band <= reader.bands for band in bands
    ):
        raise ValueError(
            f"bands is {short(list(bands))}; expected one or three numbers from 1 to "
            f"{reader.bands}, as red, green and blue"
        )
    return tuple(band - 1 for band in bands)


def check_plain(image_format: str, value_range: Range | None) -> None:
    """Raise ValueError for what ``open_large`` decides, and ``set_image`` was given."""
    if image_format != "RGB" or value_range is not None:
        raise ValueError(
            f"image_format is {image_format!r} and value_range {value_range}: of a large picture "
            "open_large(bands=..., value_range=...) decides them"
        )
