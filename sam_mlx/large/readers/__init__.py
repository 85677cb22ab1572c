"""Readers of large pictures, and which of them a source needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import user_path
from ...images import load_image
from .arrays import ArrayReader
from .base import Reader, is_installed, needed
from .rasters import RasterReader
from .slides import ENDINGS as SLIDES
from .slides import SlideReader
from .tiffs import looks_like_microscopy, tiff_reader
from .zarrs import is_zarr, zarr_reader

__all__ = ["ArrayReader", "Reader", "is_slide", "is_zarr", "may_be_large", "needed", "reader_of"]

TIFFS = {".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".stk"}
# What Pillow reads and nobody tiles: these are read whole.
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".heic", ".heif", ".avif", ".ppm"}


def is_slide(path: Path) -> bool:
    """True if the file's ending is that of a slide scanner."""
    return path.suffix.lower() in SLIDES


def may_be_large(path: Path) -> bool:
    """Whether a file is of a kind that is read in parts."""
    return path.suffix.lower() not in PICTURES


def reader_of(source: Any, axes: str | None = None) -> Reader:
    """The reader of a path, or of anything with a shape and slicing.

    Raises FileNotFoundError, ValueError for what is not a picture, ImportError with the line to
    run where a reader is not installed.
    """
    if isinstance(source, Reader):
        return source
    if hasattr(source, "shape") and hasattr(source, "__getitem__"):
        return ArrayReader([source], axes)
    try:
        path = user_path(source)
    except TypeError:
        raise ValueError(
            f"a large picture is of type {type(source).__name__}; expected a path, or an array "
            "with shape and slicing, such as a numpy memmap, zarr or dask"
        ) from None
    return _of_path(path, axes)


def _of_path(path: Path, axes: str | None) -> Reader:
    name = str(path)
    if is_zarr(path):
        return zarr_reader(name, axes)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and neither a picture nor zarr")
    ending = path.suffix.lower()
    if not path.exists() and not name.startswith("/vsi"):
        raise FileNotFoundError(f"no such picture: {path}")
    if ending in PICTURES:
        return ArrayReader([load_image(path)])
    if is_slide(path):
        return SlideReader(name)
    if ending in TIFFS and (looks_like_microscopy(name) or not is_installed("rasterio")):
        return _tiff(name)
    return RasterReader(name)


def _tiff(path: str) -> Reader:
    if not is_installed("tifffile"):
        raise ImportError(
            f'reading {path} needs a reader: pip install "sam-mlx[geo]" for maps, '
            '"sam-mlx[microscopy]" for microscopy'
        )
    return tiff_reader(path)
