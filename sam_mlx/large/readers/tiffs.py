"""OME-TIFF, BigTIFF, ImageJ's stacks and other TIFF, by tifffile."""

from __future__ import annotations

import logging
import struct
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
    through. What it logs of them is not shown. Pages in a circle, which it would follow without
    end, are refused before.
    """
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        check_pages(path)
        yield
    except ImportError as error:  # of a codec
        raise ImportError(f'{path}: {error}; pip install "sam-mlx[{EXTRA}]"') from error
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"cannot read {path} as a TIFF: {error}") from error
    finally:
        logger.disabled = before


def check_pages(path: str) -> None:
    """Raise ValueError if the pages of a TIFF, each of which says where the next one is, lead back
    to an earlier one. Whatever else is wrong with them is left to the reader.
    """
    with open(path, "rb") as file:
        byte_order = {b"II": "<", b"MM": ">"}.get(file.read(2), "")
        version = file.read(2)
        is_big = version in (
            b"+\0",
            b"\0+",
        )  # 43, BigTIFF; other files have 42, or their makers' own
        count, entry_bytes, offset = ("Q", 20, "Q") if is_big else ("H", 12, "I")

        def number(kind: str) -> int:
            data = file.read(struct.calcsize(byte_order + kind))
            return int(struct.unpack(byte_order + kind, data)[0])

        seen: set[int] = set()
        try:
            file.seek(8 if is_big else 4)
            page = number(offset) if byte_order else 0
            while page and page not in seen:
                seen.add(page)
                file.seek(page)
                file.seek(number(count) * entry_bytes, 1)
                page = number(offset)
        except (struct.error, ValueError, OSError):
            return  # the file ends before
    if page:
        raise ValueError(f"page {len(seen)} is an earlier one again, at byte {page}")


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
