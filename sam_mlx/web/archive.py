"""A session as a file: a zip of session.json and the pictures. What comes in is believed nothing.

Pictures are in it as pictures/0, pictures/1, ...; the names that a client sees are in the JSON,
and no name of an archive becomes a path.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from ..masks import decode_rle
from .api import NAME, OBJECT_STATE, TEXT, form, many
from .editing import check_colour, check_prompt
from .errors import Refusal
from .pictures import Store, clean_name
from .schema import check, parse
from .sessions import MOST_OBJECTS, MOST_PICTURES, STATE, MaskObject, Picture, Session

FORMAT = "sam_mlx.web 1"
MOST_BYTES = 1 << 30  # of a file, and of the pictures in it
JSON_BYTES = 64 << 20

RLE = form(
    "size counts",
    size=many({"type": "integer", "minimum": 1, "maximum": 1 << 24}, 2),
    counts=TEXT,
)
SAVED_OBJECT = form(
    "mask",
    **OBJECT_STATE["properties"],
    mask=RLE,
    base=RLE | {"nullable": True},
    score={"type": "number"},
    stability={"type": "number"},
)
SAVED_PICTURE = form("name objects", name=NAME, objects=many(SAVED_OBJECT, MOST_OBJECTS))
SAVED = form("format pictures", format=TEXT, pictures=many(SAVED_PICTURE, MOST_PICTURES))


def save(session: Session) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        pictures = list(session.pictures.values())
        saved = {"format": FORMAT, "pictures": [saved_picture(p) for p in pictures]}
        archive.writestr("session.json", json.dumps(saved))
        for i, picture in enumerate(pictures):
            archive.writestr(f"pictures/{i}", picture.content.read(), zipfile.ZIP_STORED)
    return target.getvalue()


def saved_picture(picture: Picture) -> dict[str, Any]:
    names = sorted(STATE | {"base", "mask", "score", "stability"})
    objects = [{n: getattr(found, n) for n in names} for found in picture.objects.values()]
    return {"name": picture.name, "objects": objects}


def load(path: Path, store: Store) -> Session:
    """Raises Refusal for what is no session file."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = parse(read(archive, "session.json", JSON_BYTES))
            check(saved, SAVED, "session.json")
            if saved["format"] != FORMAT:
                raise Refusal(400, f"the session file is of another version than {FORMAT!r}")
            return opened(saved, pictures_of(archive, store))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError):
        raise Refusal(400, "the file is no session file, or is damaged") from None


def read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry, whatever the archive says of its size."""
    try:
        with archive.open(name) as entry:
            data = entry.read(most + 1)
    except KeyError:
        raise Refusal(400, f"the session file lacks {name}") from None
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # whatever decompressors raise
        raise Refusal(400, f"the session file is damaged: {name} cannot be read") from error
    if len(data) > most:
        raise Refusal(413, f"{name} in the session file has more than {most} bytes")
    return data


def pictures_of(archive: zipfile.ZipFile, store: Store) -> Iterator[Any]:
    """The contents, one after another, as they are asked for."""
    total = 0
    for i in count():
        data = read(archive, f"pictures/{i}", store.most_bytes)
        total += len(data)
        if total > MOST_BYTES:
            raise Refusal(413, f"the session file's pictures have more than {MOST_BYTES} bytes")
        yield store.of_bytes(data)


def opened(saved: dict[str, Any], contents: Iterator[Any]) -> Session:
    session = Session()
    for given in saved["pictures"]:
        picture = session.add(clean_name(given["name"]), next(contents))
        for state in given["objects"]:
            found = opened_object(picture, state)
            picture.objects[found.id] = found
    return session


def opened_object(picture: Picture, state: dict[str, Any]) -> MaskObject:
    found = picture.new_object()
    for name, value in state.items():
        setattr(found, name, value)
    found.painted = len(found.edits)
    check_colour(found.colour)
    check_prompt(found.points, found.labels, found.box)
    for rle in (found.mask, found.base):
        if rle is not None:
            if tuple(rle["size"]) != picture.size:
                raise Refusal(400, "a mask in the session file has another size than its picture")
            decode_rle([rle])
    if found.everything is not None:
        check_everything(picture, found)
    return found


def check_everything(picture: Picture, found: MaskObject) -> None:
    """The mask stays to be had by its id."""
    parts = str(found.everything).split("-")
    if len(parts) != 3 or not all(p.isascii() and p.isdecimal() for p in parts):
        raise Refusal(400, "an object in the session file names no mask of everything")
    record = {
        "segmentation": found.base, "predicted_iou": found.score, "area": found.area,
        "stability_score": found.stability,
    }  # fmt: skip
    if found.base is not None and found.min_mask_region_area == 0:
        picture.taken[str(found.everything)] = record
