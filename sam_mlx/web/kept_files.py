"""The files of kept sessions: lines of JSON, the session, then its pictures with their objects.

Pictures of the command line stay where they are; uploaded ones are in a folder beside the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..files import to_json
from ..samples import Range, check_range
from ..session_files import files_of, uploads_of
from .archive import SAVED_OBJECT, opened_object
from .classes import CLASSES, checked
from .errors import Refusal
from .large import LargeContent
from .objects import KEY, SAVED_RECORD, SIZE
from .sessions import MAX_OBJECTS, Picture, Session
from .store import Content, Store
from .validate import FLAG, INTEGER, NUMBER, TEXT, check, form, many, or_null, parse

FORMAT = "sam_mlx.web.kept 1"
MAX_LINE = 1 << 30  # bytes: a session, or a picture with its objects
MAX_VALUES = 50_000_000  # of a picture; as many as its objects may have
MAX_NAMES = 3  # of pictures, in a list of sessions

HEAD = form(
    "format id time revision pictures objects classes names sources removed",
    format=TEXT, id=KEY, time=NUMBER, revision=INTEGER, pictures=INTEGER, objects=INTEGER,
    classes=CLASSES, names=many(TEXT), sources=many(TEXT), removed=many(TEXT),
    selected=or_null(TEXT), written=INTEGER,
)  # fmt: skip
UPLOAD = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "a SHA-256"}
PICTURE = form(
    "id name size revision objects",
    id=KEY, name=TEXT, size=SIZE, value_range=or_null(many(NUMBER, 2, 2)), source=or_null(TEXT),
    upload=or_null(UPLOAD), revision=INTEGER, runs=INTEGER, objects=many(SAVED_OBJECT, MAX_OBJECTS),
    taken={"type": "object"}, large=FLAG, done=FLAG,
)  # fmt: skip


# From a session to a file.


def text_of(session: Session, revision: int, pictures: list[Picture]) -> str:
    """A file with the session and these of its pictures. revision: it has all changes up to it."""
    every = list(session.pictures.values())
    contents = [picture.content for picture in pictures]
    head = to_json({
        "format": FORMAT, "id": session.id, "time": time.time(), "revision": revision,
        "pictures": len(every), "objects": sum(len(p.objects) for p in every),
        "names": [p.name for p in pictures[:MAX_NAMES]], "selected": session.selected,
        "sources": [source for c in contents if (source := c.source) is not None],
        "removed": sorted(session.removed_sources), "written": len(pictures),
        "classes": [each.show() for each in session.classes],
    })  # fmt: skip
    return "".join(f"{line}\n" for line in [head, *map(line_of, pictures)])


def line_of(picture: Picture) -> str:
    content, objects = picture.content, list(picture.objects.values())
    of_objects = {found.automatic for found in objects if not found.min_mask_region_area}
    taken = {k: record for k, record in list(picture.taken.items()) if k not in of_objects}
    head = to_json({
        "id": picture.id, "name": picture.name, "size": content.size, "source": content.source,
        "value_range": content.value_range, "upload": content.upload, "runs": picture.runs,
        "revision": picture.revision, "taken": taken, "large": content.tiles is not None,
        "done": picture.done,
    })  # fmt: skip
    return f'{head[:-1]}, "objects": [{", ".join(found.text for found in objects)}]}}'


# From a file to a session.


def head_of(path: Path) -> dict[str, Any]:
    """What is known of a session without its pictures. Raises Refusal if it is not one of ours."""
    first, *changes = files_of(path)
    head = first_line(first)
    if changes:
        newest = first_line(changes[-1])
        head |= {name: newest[name] for name in ("time", "revision", "objects")}
    return head


def first_line(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return checked_head(file.readline(MAX_LINE))


def checked_head(line: bytes) -> dict[str, Any]:
    head = parse(line, "the first line")
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise Refusal(400, "it is of another format, or a newer sam_mlx wrote it")
    check(head, HEAD, "the first line")
    return head


def session_in(path: Path, store: Store) -> Session:
    """Raises Refusal for a file that is damaged, or was not written by ``Keeper.write``."""
    session, known = Session(), -1
    for file in files_of(path):
        known = read_into(session, file, known, partial(picture_of, uploads_of(path), store))
    session.revision = max([known, *(p.revision for p in session.pictures.values())])
    session.written = session.revision
    return session


def read_into(
    session: Session, path: Path, known: int, picture_of: Callable[[dict[str, Any]], Picture]
) -> int:
    """Take over what a file has. known: the revision that the session is at. Returns the new one,
    or ``known`` for a file that is older, or another session's.
    """
    with path.open("rb") as file:
        head = checked_head(file.readline(MAX_LINE))
        if known >= 0 and (head["revision"] <= known or head["id"] != session.id):
            return known
        session.id, session.selected = head["id"], head.get("selected")
        session.classes = checked(head["classes"])
        session.removed_sources = set(head["removed"])
        for number in range(1, head.get("written", head["pictures"]) + 1):
            given = parse(file.readline(MAX_LINE), name := f"picture {number}", MAX_VALUES)
            check(given, PICTURE, name)
            picture = picture_of(given)
            session.pictures[picture.id] = picture
    return int(head["revision"])


def content_at(
    path: Path, given: dict[str, Any], value_range: Range | None, store: Store
) -> Content:
    """A picture that stays where it is, or was: one that is gone keeps its objects."""
    if given.get("large"):
        with suppress(Refusal):
            content = LargeContent(path, value_range)
            return store.large.setdefault(content.digest, content)
    height, width = given["size"]
    return store.of_source(path, (height, width), value_range)


def picture_of(uploads: Path, store: Store, given: dict[str, Any]) -> Picture:
    value_range = check_range(given.get("value_range"))
    source, upload = given.get("source"), given.get("upload")
    height, width = given["size"]
    if upload is not None:
        content = store.of_kept(uploads / upload, (height, width), value_range, upload)
    else:
        content = content_at(Path(source or given["name"]), given, value_range, store)
    picture = Picture(given["id"], given["name"], content, revision=given["revision"])
    picture.done = given.get("done", False)
    for name, record in given.get("taken", {}).items():
        check(record, SAVED_RECORD, "an automatic mask")
        picture.taken[name] = record
    for state in given["objects"]:
        found = opened_object(picture, state)
        picture.objects[found.id] = found
    picture.runs = max(picture.runs, given.get("runs", 0))
    return picture
