"""OME-Zarr, and plain zarr arrays, by zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .arrays import ArrayReader
from .base import needed


def zarr_reader(path: str, axes: str | None = None) -> ArrayReader:
    """The first picture of an OME-Zarr group with its levels, or an array."""
    zarr = needed("zarr", f"reading {path}", "microscopy")
    try:
        opened = zarr.open(path, mode="r")
    except Exception as error:  # zarr's stores and codecs have errors of their own
        raise ValueError(f"cannot read {path} as zarr: {error}") from error
    if hasattr(opened, "shape"):
        return ArrayReader([opened], axes, path)
    found = dict(opened.attrs)
    scales = found.get("ome", found).get("multiscales")
    try:
        datasets: list[Any] = [opened[entry["path"]] for entry in scales[0]["datasets"]]
        names = scales[0].get("axes", "tczyx")
        letters = "".join(a if isinstance(a, str) else a["name"][0] for a in names)
        return ArrayReader(datasets, axes or letters, path)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path} is a zarr group without a picture of OME-Zarr (multiscales); give the path of "
            "an array in it"
        ) from error


def is_zarr(path: Path) -> bool:
    """True if a folder is a zarr array or group."""
    names = (".zarray", ".zgroup", "zarr.json")
    return path.is_dir() and any((path / name).exists() for name in names)
