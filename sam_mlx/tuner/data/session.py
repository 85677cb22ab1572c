"""Sessions that ``sam-mlx web`` saved: a zip of ``session.json`` and the pictures."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...files import parse_json
from ...image_files import MAX_BYTES
from ...images import load_image
from ...masks import Rle, decode_rle, encode_rle
from ...messages import printable
from ...samples import Range, check_range
from .picture import MAX_TEXT, LabelledPicture

CONTENT = "session.json"
KIND = "sam_mlx.web"  # begins the names of all formats
DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error)


def recognises(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return CONTENT in archive.namelist()


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    """Pictures with their objects. The samples of each are read as the page did, unless a range is
    given.
    """
    try:
        saved = parse_json(entry(path, CONTENT, MAX_TEXT).decode())
        if not str(saved["format"]).startswith(KIND):
            raise ValueError(f"its format is {saved['format']!r}")
        return [
            of_picture(path, i, picture, value_range)
            for i, picture in enumerate(saved["pictures"])
            if picture["objects"] and not picture.get("gone")
        ]
    except (KeyError, TypeError, AttributeError, ValueError, OSError, *DAMAGE) as error:
        raise ValueError(
            f"{printable(str(path))} is no session that can be read: {error!r}"
        ) from None


def entry(path: Path, name: str, most: int) -> bytes:
    """What the zip has under a name. Raises ValueError if that is more than ``most`` bytes."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{name} has more than {most:,} bytes")
    return data


def of_picture(
    path: Path, number: int, picture: Mapping[str, Any], value_range: Range | None
) -> LabelledPicture:
    masks = [found["mask"] for found in picture["objects"]]
    return LabelledPicture(
        f"{picture['name']} ({number + 1})",
        path / f"{number}",  # each is a file of its own where data are split by file
        partial(
            read_picture, path, number,
            value_range=value_range or check_range(picture.get("value_range")),
        ),
        partial(objects_of, masks),
    )  # fmt: skip


def read_picture(path: Path, number: int, value_range: Range | None) -> np.ndarray:
    return load_image(entry(path, f"pictures/{number}", MAX_BYTES), value_range=value_range)


def objects_of(masks: list[Rle]) -> list[Rle]:
    """The masks that are not empty, as run lengths."""
    decoded = (decode_rle([mask]) for mask in masks)
    return [encode_rle(mask)[0] for mask in decoded if mask.any()]
