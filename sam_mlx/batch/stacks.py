"""TIFF files of several pages or channels: each page is a picture of its own.

Axes are those that the file names: Y, X, channels C or samples S; along any other, such as Z and T,
lie pages, counted from 0 in the file's order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..images import load_image
from ..large.readers.base import is_installed, needed
from ..large.readers.tiffs import EXTRA, as_tiff, named
from ..messages import printable
from ..samples import Range, to_rgb

ENDINGS = {".tif", ".tiff"}
CHANNELS = "CS"
MAX_CHANNELS = 3  # of a picture


@dataclass(frozen=True)
class Stack:
    """A TIFF's first series. Raises ValueError for axes of which no pictures can be made."""

    name: str
    array: Any  # with the axes, sliced as numpy slices
    axes: str

    def __post_init__(self) -> None:
        sizes = [self.axes.count(axis) for axis in "YX"]
        several = [axis for axis in CHANNELS if self.length(axis) > 1]
        if sizes != [1, 1] or len(several) > 1:
            raise ValueError(
                f"{printable(self.name)} has the axes {self.axes} {tuple(self.array.shape)}; "
                "expected one Y, one X, and C or S for channels"
            )

    def length(self, axis: str) -> int:
        at = self.axes.find(axis)
        return 1 if at < 0 else int(self.array.shape[at])

    @property
    def page_axes(self) -> list[int]:
        return [i for i, axis in enumerate(self.axes) if axis not in f"YX{CHANNELS}"]

    @property
    def pages(self) -> int:
        return math.prod(int(self.array.shape[i]) for i in self.page_axes)

    @property
    def channels(self) -> int:
        return self.length("C") * self.length("S")

    def page(self, page: int) -> np.ndarray:
        """A page's samples, (H, W, channels)."""
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and self.length("Y") * self.length("X") > 2 * limit:
            raise ValueError(
                f"{printable(self.name)} has pages of {self.length('Y')} x {self.length('X')} "
                "pixels; if you trust it, --max-pixels allows more"
            )
        shape = [int(self.array.shape[i]) for i in self.page_axes]
        index: list[Any] = [slice(None)] * len(self.axes)
        for axis, at in zip(self.page_axes, np.unravel_index(page, shape) if shape else ()):
            index[axis] = int(at)
        left = [axis for i, axis in enumerate(self.axes) if i not in self.page_axes]
        samples = np.asarray(self.array[tuple(index)])
        rows_first = np.moveaxis(samples, [left.index("Y"), left.index("X")], [0, 1])
        return rows_first.reshape(*rows_first.shape[:2], -1)


def stack_of(path: Path) -> Stack | None:
    """A TIFF with more than Pillow's one page of up to four samples; None for other files, and
    where what reads stacks is not installed.
    """
    installed = is_installed("tifffile") and is_installed("zarr")
    if path.suffix.lower() not in ENDINGS or not installed:
        return None
    found = path.stat()
    return _stack(str(path), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)
def _stack(path: str, mtime: int, size: int) -> Stack | None:
    import tifffile
    import zarr

    try:
        with as_tiff(path):
            series = tifffile.TiffFile(path).series[0]
            array: Any = zarr.open(series.aszarr(level=0), mode="r")
            axes = named(series.axes, series.shape, array.shape)
    except ValueError:
        return None  # Pillow says what it is
    stack = Stack(path, array, axes)
    ordinary = stack.pages == 1 and stack.length("C") == 1 and stack.channels <= 4
    return None if ordinary else stack


def pages_of(
    pictures: Mapping[str, Path], wanted: Sequence[range] | None
) -> tuple[dict[str, Path], dict[str, int]]:
    """Pictures by the names of their results, a name for each wanted page; and the pages' numbers.

    wanted: None for all. Raises ValueError where no picture has a wanted page.
    """
    named_pages: dict[str, Path] = {}
    pages: dict[str, int] = {}
    for name, path in pictures.items():
        count = count_of(path)
        if count == 1 and wanted is None:
            named_pages[name] = path
            continue
        for page in range(count):
            if wanted is None or any(page in some for some in wanted):
                named_pages[page_name(name, page, count)] = path
                pages[page_name(name, page, count)] = page
    if not named_pages:
        raise ValueError(f"no picture has one of the --pages, which are counted from 0: {wanted}")
    return named_pages, pages


def page_name(name: str, page: int, count: int) -> str:
    return f"{name}_{page:0{len(str(count - 1))}}" if count > 1 else name


def count_of(path: Path) -> int:
    """How many pictures a file holds. A file that cannot be read counts as one: it fails later."""
    try:
        stack = stack_of(path)
    except (ValueError, OSError):
        return 1
    return 1 if stack is None else stack.pages


def load_page(
    path: Path, page: int, channels: Sequence[int] | None, value_range: Range | None
) -> np.ndarray:
    """A page as (H, W, 3) uint8 in RGB; of a file that is not a stack its picture.

    channels: up to three, counted from 0, which become red, green and blue; a single one is gray.
    Raises as ``load_image`` does, and ValueError for channels that are not there or not chosen.
    """
    stack = stack_of(path)
    if stack is None:
        return chosen(load_image(path, value_range=value_range), channels, path)
    samples = stack.page(page)
    several = stack.length("C") > 1 and stack.channels != MAX_CHANNELS
    if channels is None and (several or stack.channels > 4):
        raise ValueError(
            f"{printable(path)} has {stack.channels} channels; choose up to {MAX_CHANNELS} with "
            "--channels, such as --channels 0 1"
        )
    return to_rgb(chosen(samples, channels, path), value_range)


def chosen(samples: np.ndarray, channels: Sequence[int] | None, path: Path) -> np.ndarray:
    """Some of the channels of samples (H, W, C): one, or three, of which the last may be empty."""
    if channels is None:
        return samples
    count = samples.shape[2]
    if max(channels) >= count:
        raise ValueError(
            f"{printable(path)} has the channels 0 to {count - 1}; --channels asks for "
            f"{max(channels)}"
        )
    some = samples[..., list(channels)]
    if len(channels) == 1:
        return np.repeat(some, 3, axis=2)
    missing = MAX_CHANNELS - len(channels)
    return np.concatenate([some, np.zeros((*some.shape[:2], missing), some.dtype)], axis=2)


def check_channels(channels: Sequence[int] | None) -> None:
    if channels is not None and (len(channels) > MAX_CHANNELS or min(channels) < 0):
        raise ValueError(
            f"--channels {' '.join(map(str, channels))}: a picture has up to {MAX_CHANNELS}, "
            "counted from 0"
        )


def check_reader(wanted: object) -> None:
    """Raise ImportError where pages or channels are asked for, and nothing reads stacks."""
    if wanted is not None:
        for package in ("tifffile", "zarr"):
            needed(package, "reading pages of TIFF files", EXTRA)
