"""Work on disk: a file for each session, written whole after every change, and read again later.

A file is lines of JSON: the session, then each of its pictures with its objects. Pictures of the
command line stay where they are; uploaded ones are kept in a folder beside the session's file.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..files import make_folder, to_json, write_whole
from ..locks import held
from ..messages import printable
from ..samples import Range, check_range
from .archive import SAVED_OBJECT, opened_object
from .classes import CLASSES, checked
from .errors import Refusal
from .large import LargeContent
from .objects import KEY, SAVED_RECORD, SIZE
from .sessions import MAX_OBJECTS, Picture, Session
from .store import Content, Store, link_or_copy
from .validate import FLAG, INTEGER, NUMBER, TEXT, check, form, many, or_null, parse

FORMAT = "sam_mlx.web.kept 1"
MAX_LINE = 1 << 30  # bytes: a session, or a picture with its objects
MAX_VALUES = 50_000_000  # of a picture; as many as its objects may have
MAX_LISTED = 100  # sessions
MAX_NAMES = 3  # of pictures, in a list of sessions
ID = re.compile(r"[A-Za-z0-9_-]{8,40}")

HEAD = form(
    "format id time revision pictures objects classes names sources removed",
    format=TEXT, id=KEY, time=NUMBER, revision=INTEGER, pictures=INTEGER, objects=INTEGER,
    classes=CLASSES, names=many(TEXT), sources=many(TEXT), removed=many(TEXT),
    selected=or_null(TEXT),
)  # fmt: skip
UPLOAD = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "a SHA-256"}
PICTURE = form(
    "id name size revision objects",
    id=KEY, name=TEXT, size=SIZE, value_range=or_null(many(NUMBER, 2, 2)), source=or_null(TEXT),
    upload=or_null(UPLOAD), revision=INTEGER, runs=INTEGER, objects=many(SAVED_OBJECT, MAX_OBJECTS),
    taken={"type": "object"}, large=FLAG, done=FLAG,
)  # fmt: skip


def data_folder() -> Path:
    """Where a user's programs keep what is theirs."""
    if given := os.environ.get("XDG_DATA_HOME"):
        return Path(given) / "sam_mlx"
    home = Path.home()
    if (support := home / "Library" / "Application Support").is_dir():  # a Mac's
        return support / "sam_mlx"
    return home / ".local" / "share" / "sam_mlx"


class Keeper:
    """The sessions in a folder, and the one in a file of the user's choice, if any."""

    def __init__(self, store: Store, folder: Path, file: Path | None = None):
        self.store, self.folder, self.file = store, folder, file
        self.file_id: str | None = None  # of the session in the file
        self._held: dict[str, ExitStack] = {}  # locks of files, by the ids of sessions
        self._lock = threading.RLock()

    def path(self, name: str) -> Path:
        """The file of a session."""
        if self.file is not None and name == self.file_id:
            return self.file
        return self.folder / f"{name}.json"

    # Writing.

    def write(self, session: Session) -> None:
        """Write a session's newest state, unless that is on disk or there is nothing to keep.

        Raises OSError.
        """
        with self._lock:
            revision, path = session.revision, self.path(session.id)
            if session.written >= revision:
                return
            if not (session.has_work or path.exists()):
                session.written = revision
                return
            if not path.parent.is_dir():
                make_folder(path.parent)
                path.parent.chmod(0o700)
            self._hold(session.id)
            uploads_in(path, session)
            text = "\n".join(lines_of(session)) + "\n"
            write_whole(path, lambda name: write_text(name, text))
            session.written = revision

    def _hold(self, name: str) -> None:
        """Keep other servers from a session's file. Raises OSError if one has it."""
        if name in self._held:
            return
        stack = ExitStack()
        if not stack.enter_context(held(lock_of(self.path(name)))):
            raise OSError(f"{printable(self.path(name))} is in use by another sam-mlx web")
        self._held[name] = stack

    def release(self, name: str) -> None:
        """Let other servers have a session."""
        with self._lock:
            if name in self._held:
                self._held.pop(name).close()

    def close(self) -> None:
        for name in list(self._held):
            self.release(name)

    def forget(self, name: str) -> None:
        """Remove a session's file and its uploaded pictures."""
        with self._lock:
            path = self.path(name)
            self.store.rescue(uploads_of(path))
            path.unlink(missing_ok=True)
            shutil.rmtree(uploads_of(path), ignore_errors=True)
            self.release(name)

    # Reading.

    def read(self, name: str) -> Session | None:
        """A session; None if there is none. Raises Refusal if it cannot be read."""
        path = self.path(name)
        if not ID.fullmatch(name) or not path.is_file():
            return None
        try:
            with self._lock:
                self._hold(name)
                return session_in(path, self.store)
        except OSError as error:
            raise Refusal(409, f"the kept session cannot be read: {error}") from None

    def open_file(self) -> Session | None:
        """The session in the user's file, which is held from now on; None if it is a new file.

        Raises OSError or ValueError if it is something else, or cannot be written.
        """
        assert self.file is not None
        with self._lock:
            if not self.file.parent.is_dir():
                raise FileNotFoundError(f"no such folder: {printable(self.file.parent)}")
            found = None
            if self.file.exists():
                try:
                    found = session_in(self.file, self.store)
                except Refusal as error:
                    raise ValueError(
                        f"{printable(self.file)} is not a file that --session wrote: {error}; "
                        "give another name, or open it in the page"
                    ) from None
            self.file_id = (found or Session()).id
            self._hold(self.file_id)
            return found

    def listed(self) -> list[dict[str, Any]]:
        """The heads of the sessions in the folder that no other server has open, newest first."""
        found = []
        paths = sorted(self.folder.glob("*.json"), key=lambda p: -p.stat().st_mtime)
        for path in paths[:MAX_LISTED]:
            with suppress(OSError, Refusal):
                head = head_of(path)
                if head["id"] == path.stem and (path.stem in self._held or is_free(path)):
                    found.append(head)
        return found


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def is_free(path: Path) -> bool:
    with held(lock_of(path)) as mine:
        return mine


def write_text(name: str, text: str) -> None:
    """Write a file that is on disk when this returns."""
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def lines_of(session: Session) -> Iterator[str]:
    pictures = list(session.pictures.values())
    contents = [picture.content for picture in pictures]
    yield to_json({
        "format": FORMAT, "id": session.id, "time": time.time(), "revision": session.revision,
        "pictures": len(pictures), "objects": sum(len(p.objects) for p in pictures),
        "names": [p.name for p in pictures[:MAX_NAMES]], "selected": session.selected,
        "sources": [source for c in contents if (source := c.source) is not None],
        "removed": sorted(session.removed_sources),
        "classes": [each.show() for each in session.classes],
    })  # fmt: skip
    yield from map(line_of, pictures)


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


# Uploaded pictures, by what is in them.


def uploads_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.pictures")


def uploads_in(path: Path, session: Session) -> None:
    """Have the uploaded pictures of a session beside its file."""
    for picture in list(session.pictures.values()):
        content = picture.content
        if content.upload is None or (place := uploads_of(path) / content.upload).exists():
            continue
        place.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(place, partial(link_or_copy, content.path))


# From a file to a session.


def head_of(path: Path) -> dict[str, Any]:
    """The first line. Raises Refusal if it is not one of ours."""
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
    with path.open("rb") as file:
        head = checked_head(file.readline(MAX_LINE))
        session = Session(
            head["id"], classes=checked(head["classes"]), selected=head.get("selected"),
            revision=head["revision"], written=head["revision"],
            removed_sources=set(head["removed"]),
        )  # fmt: skip
        for number in range(1, head["pictures"] + 1):
            given = parse(file.readline(MAX_LINE), name := f"picture {number}", MAX_VALUES)
            check(given, PICTURE, name)
            picture = picture_of(given, uploads_of(path), store)
            session.pictures[picture.id] = picture
    return session


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


def picture_of(given: dict[str, Any], uploads: Path, store: Store) -> Picture:
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
