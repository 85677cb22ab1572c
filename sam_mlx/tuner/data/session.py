"""Sessions of ``sam-mlx web``: a saved one is a zip of ``session.json`` and the pictures; one that
the server keeps is lines of JSON, with uploaded pictures in a folder beside it.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ...files import parse_json
from ...image_files import MAX_BYTES
from ...images import load_image
from ...masks import Rle, decode_rle, encode_rle
from ...messages import printable
from ...samples import Range, check_range
from ...session_files import files_of, uploads_of
from .picture import MAX_TEXT, LabelledPicture

CONTENT = "session.json"
KIND = "sam_mlx.web"  # begins the names of all formats
KEPT = re.compile(rb'\s*\{\s*"format"\s*:\s*"sam_mlx\.web\.kept ')  # begins a file of the server's
LARGE = b"sam_mlx.large "  # begins what stands for a large picture in a zip
DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error)


def recognises(path: Path) -> bool:
    return path.is_file() and (is_kept(path) or is_saved(path))


def is_kept(path: Path) -> bool:
    with path.open("rb") as file:
        return KEPT.match(file.read(100)) is not None


def is_saved(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return CONTENT in archive.namelist()


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    """Pictures with their objects. The samples of each are read as the page did, unless a range is
    given.
    """
    try:
        found = kept(path, value_range) if is_kept(path) else saved(path, value_range)
        return list(found)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, *DAMAGE) as error:
        raise ValueError(
            f"{printable(str(path))} is no session that can be read: {error!r}"
        ) from None


def saved(path: Path, value_range: Range | None) -> Iterator[LabelledPicture]:
    """The pictures of a zip; those that were gone when it was saved are left out."""
    content = parse_json(entry(path, CONTENT, MAX_TEXT).decode())
    if not str(content["format"]).startswith(KIND):
        raise ValueError(f"its format is {content['format']!r}")
    for i, picture in enumerate(content["pictures"]):
        if picture["objects"] and not picture.get("gone"):
            name = f"{picture['name']} ({i + 1})"
            samples = partial(of_entry, path, i, name)
            # Each is a file of its own where data are split by file.
            yield labelled(name, path / f"{i}", samples, picture, value_range)


def kept(path: Path, value_range: Range | None) -> Iterator[LabelledPicture]:
    """The pictures of a file of the server's: those of the command line where they are, uploaded
    ones from the folder beside it.
    """
    uploads = uploads_of(path)
    for i, picture in enumerate(newest(path)):
        if not picture["objects"]:
            continue
        name, upload = f"{picture['name']} ({i + 1})", picture.get("upload")
        place = uploads / upload if upload else Path(picture.get("source") or picture["name"])
        samples = partial(of_file, place, name, bool(picture.get("large")))
        own = path / f"{i}" if upload else place
        yield labelled(name, own, samples, picture, value_range)


def newest(path: Path) -> Iterable[dict[str, Any]]:
    """The pictures in a file of the server's, as the files of later changes beside it have them."""
    pictures: dict[str, dict[str, Any]] = {}
    known, session = -1, None
    for each in files_of(path):
        head, *lines = map(parse_json, each.read_text("utf-8").splitlines())
        if known < 0 or (head["id"] == session and head["revision"] > known):
            known, session = head["revision"], head["id"]
            count = head.get("written", head["pictures"])
            if len(lines) != count:
                raise ValueError(f"{each.name} has {len(lines)} of {count} pictures")
            pictures |= {picture["id"]: picture for picture in lines}
    return pictures.values()


def labelled(
    name: str,
    place: Path,
    samples: Callable[..., np.ndarray],
    picture: Mapping[str, Any],
    value_range: Range | None,
) -> LabelledPicture:
    """samples: gives the pixels, by a ``value_range``. picture: what the session has of it."""
    masks = [found["mask"] for found in picture["objects"]]
    by = value_range or check_range(picture.get("value_range"))
    return LabelledPicture(
        name, place, partial(samples, value_range=by), partial(objects_of, masks)
    )


def entry(path: Path, name: str, most: int) -> bytes:
    """What the zip has under a name. Raises ValueError if that is more than ``most`` bytes."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{name} has more than {most:,} bytes")
    return data


def of_entry(path: Path, number: int, name: str, value_range: Range | None) -> np.ndarray:
    data = entry(path, f"pictures/{number}", MAX_BYTES)
    if data.startswith(LARGE):
        refuse_large(name)
    return load_image(data, value_range=value_range)


def of_file(path: Path, name: str, is_large: bool, value_range: Range | None) -> np.ndarray:
    if is_large:
        refuse_large(name)
    return load_image(path, value_range=value_range)


def refuse_large(name: str) -> NoReturn:
    raise ValueError(
        f"{printable(name)} is a large picture, which the page reads in windows, and training "
        "reads pictures whole: cut the labelled parts out of it, or remove it from the session"
    )


def objects_of(masks: list[Rle]) -> list[Rle]:
    """The masks that are not empty, as run lengths."""
    decoded = (decode_rle([mask]) for mask in masks)
    return [encode_rle(mask)[0] for mask in decoded if mask.any()]
