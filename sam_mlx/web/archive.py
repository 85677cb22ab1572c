"""A session as a file: a zip of session.json and the pictures.

Nothing in an uploaded file is trusted. Pictures are entries named pictures/0, pictures/1, ...; the
names that a client sees are in the JSON, and no name in an archive becomes a path.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..files import to_json
from ..masks import record_of, rle_counts
from ..samples import check_range
from .automatic import parts_of
from .classes import CLASSES, checked
from .errors import Refusal
from .names import clean_path
from .objects import SIZE, MaskObject, prompt_of, schemas
from .sessions import MAX_OBJECTS, MAX_PICTURES, Picture, Session
from .store import Store
from .validate import FLAG, NUMBER, PATH, TEXT, check, form, many, or_null, parse, short

# All are read; the last is written.
FORMATS = tuple(f"sam_mlx.web {number}" for number in (1, 2, 3, 4, 5))
RENAMED = {"everything": "automatic"}  # fields of objects, from the first format
MAX_BYTES = 1 << 30  # of a file, and of the pictures inside
MAX_JSON_BYTES = 64 << 20
MAX_VALUES = 2_000_000  # of session.json

OBJECT = schemas("saved")
# Their scales, and large pictures, are there since the fifth format.
SAVED_OBJECT = form("mask", **OBJECT, **{old: OBJECT[new] for old, new in RENAMED.items()})
SAVED_PICTURE = form(
    "name objects", name=PATH, objects=many(SAVED_OBJECT, MAX_OBJECTS),
    value_range=or_null(many(NUMBER, 2, 2)),  # since the third format
    done=FLAG, size=SIZE, gone=FLAG,  # since the fourth; gone: the file has only its size
)  # fmt: skip
SAVED = form(
    "format pictures", format=TEXT, pictures=many(SAVED_PICTURE, MAX_PICTURES),
    classes=CLASSES,  # since the fourth format
)  # fmt: skip


def save(session: Session) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        shown = []
        for i, picture in enumerate(list(session.pictures.values())):
            shown.append(saved_picture(picture))
            try:
                archive.writestr(f"pictures/{i}", picture.content.read(), zipfile.ZIP_STORED)
            except Refusal:
                shown[-1]["gone"] = True
        classes = [each.show() for each in session.classes]
        text = to_json({"format": FORMATS[-1], "classes": classes, "pictures": shown})
        if len(text) > MAX_JSON_BYTES or text.count(",") > MAX_VALUES:
            raise Refusal(
                413, "the work is too large for one session file; it stays kept on the server, and "
                "can be exported"
            )  # fmt: skip
        archive.writestr("session.json", text)
    return target.getvalue()


def saved_picture(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.name,
        "objects": [found.save() for found in picture.in_order()],
        "value_range": picture.content.value_range,
        "done": picture.done,
        "size": picture.size,
    }


def load(path: Path, store: Store) -> Session:
    """Raises Refusal for a file that ``save`` did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = parse(read(archive, "session.json", MAX_JSON_BYTES), "session.json", MAX_VALUES)
            check_format(saved)
            check(saved, SAVED, "session.json")
            return opened(saved, partial(picture_in, archive, store.max_bytes), store)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError):
        raise Refusal(400, "the file is not a session file, or is damaged") from None


def check_format(saved: Any) -> None:
    """Raise Refusal, 400, for a session of an unknown format, before its schema is checked."""
    found = saved.get("format") if isinstance(saved, dict) else None
    if found not in FORMATS:
        raise Refusal(
            400,
            f"the session file has format {short(found)}; expected one of {', '.join(FORMATS)}: a "
            "newer sam_mlx may have written it",
        )


def read(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """An entry, within bounds whatever size the archive claims for it."""
    try:
        with archive.open(name) as entry:
            data = entry.read(max_bytes + 1)
    except KeyError:
        raise Refusal(400, f"the session file lacks {name}") from None
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # whatever decompressors raise
        raise Refusal(400, f"the session file is damaged: {name} cannot be read") from error
    if len(data) > max_bytes:
        raise Refusal(413, f"{name} in the session file has more than {max_bytes} bytes")
    return data


def picture_in(archive: zipfile.ZipFile, max_bytes: int, number: int) -> bytes:
    return read(archive, f"pictures/{number}", max_bytes)


def opened(saved: dict[str, Any], picture: Callable[[int], bytes], store: Store) -> Session:
    """picture: gives the bytes of one by its number."""
    session, total = Session(classes=checked(saved.get("classes", []))), 0
    for number, given in enumerate(saved["pictures"]):
        value_range = check_range(given.get("value_range", store.value_range))
        if given.get("gone"):
            content = store.of_source(store.new_file(), tuple(given["size"]), value_range)
        else:
            total += len(data := picture(number))
            if total > MAX_BYTES:
                raise Refusal(413, f"the session file's pictures have more than {MAX_BYTES} bytes")
            content = store.of_bytes(data, value_range)
        added = session.add(clean_path(given["name"]), content)
        added.done = given.get("done", False)
        for state in given["objects"]:
            found = opened_object(added, state)
            added.objects[found.id] = found
    return session


def opened_object(picture: Picture, state: dict[str, Any]) -> MaskObject:
    found = picture.new_object()
    for name, value in state.items():
        setattr(found, RENAMED.get(name, name), value)
    found.painted = len(found.edits)
    prompt_of(found.points, found.labels, found.box)
    sizes = [picture.size_at(found.mask_scale)] * 2 + [picture.size]
    for rle, size in zip((found.mask, found.base, found.start), sizes):
        if rle is not None:
            if tuple(rle["size"]) != size:
                raise Refusal(400, "a mask in the session file has another size than its picture")
            rle_counts(rle)
    if found.automatic is not None:
        keep_automatic(picture, found, found.automatic)
    return found


def keep_automatic(picture: Picture, found: MaskObject, name: str) -> None:
    """Keep an object's automatic mask under its id, and reserve that id from later searches."""
    _, run, _ = parts_of(name)
    picture.runs = max(picture.runs, run)
    if found.base is not None and found.min_mask_region_area == 0:
        picture.taken[name] = record_of(found.base, found.score, found.stability)
