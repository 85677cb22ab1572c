"""OME-TIFF, BigTIFF, ImageJ's stacks and other TIFF, by tifffile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .arrays import ArrayReader
from .base import needed

EXTRA = "microscopy"


def tiff_reader(path: str) -> ArrayReader:
    """The first series of a TIFF file, with its levels."""
    tifffile = needed("tifffile", f"reading {path}", EXTRA)
    zarr = needed("zarr", f"reading parts of {path}", EXTRA)
    with as_tiff(path):
        series = tifffile.TiffFile(path).series[0]
        levels = [zarr.open(series.aszarr(level=i), mode="r") for i in range(len(series.levels))]
        # Axes of length 1 may be missing from the arrays.
        return ArrayReader(levels, named(series.axes, series.shape, levels[0].shape), path)


@contextmanager
def as_tiff(path: str) -> Iterator[None]:
    """Raise ValueError for whatever tifffile raises: it lets all kinds of errors of damaged files
    through. What it logs of them is not shown.
    """
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    except ImportError as error:  # of a codec
        raise ImportError(f'{path}: {error}; pip install "sam-mlx[{EXTRA}]"') from error
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"cannot read {path} as a TIFF: {error}") from error
    finally:
        logger.disabled = before


def named(axes: str, shape: tuple[int, ...], found: tuple[int, ...]) -> str:
    """Names for the axes of an array, from a series' axes. What is not Y, X, C or S is another."""
    if len(axes) != len(found):
        axes = "".join(name for name, length in zip(axes, shape) if length > 1)
    if "Y" not in axes or "X" not in axes:  # unnamed stacks
        axes = axes[:-2] + "YX"
    return axes


def looks_like_microscopy(path: str) -> bool:
    """Whether a TIFF was written by microscopes' software: GDAL would read its pages apart."""
    try:
        import tifffile

        with as_tiff(path), tifffile.TiffFile(path) as file:
            kinds: tuple[Any, ...] = (file.is_ome, file.is_imagej, file.is_shaped, file.is_lsm)
            return any(kinds)
    except (ImportError, ValueError):
        return False
