"""Work on disk: a file for each session, up to date after every change, and read again later.

The file is written whole, then renamed. Where a session is large, only the pictures that have
changed are, into files of the same form in a folder beside the session's; they are in it when it
is next written whole.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..files import make_folder, write_whole
from ..locks import held
from ..messages import printable
from ..session_files import changes_of, files_of, lock_of, uploads_of
from .errors import Refusal
from .kept_files import head_of, session_in, text_of
from .sessions import Picture, Session
from .store import Store, link_or_copy

MAX_WHOLE = 1 << 20  # bytes of a session's file that is always written whole
MAX_LISTED = 100  # sessions
ID = re.compile(r"[A-Za-z0-9_-]{8,40}")


def data_folder() -> Path:
    """Where a user's programs keep what is theirs."""
    if given := os.environ.get("XDG_DATA_HOME"):
        return Path(given) / "sam_mlx"
    home = Path.home()
    if (support := home / "Library" / "Application Support").is_dir():  # a Mac's
        return support / "sam_mlx"
    return home / ".local" / "share" / "sam_mlx"


@dataclass
class Base:
    """A session's file as it was last written whole, and the files of what has changed since."""

    pictures: list[str]  # ids
    size: int  # bytes
    changes: dict[Path, tuple[set[str], int]] = field(default_factory=dict)  # ids and bytes of each

    def takes(self, pictures: list[str], ids: set[str], size: int) -> bool:
        """Whether a change of some pictures is written alone: all changes together stay smaller
        than the file, so that they cost no more than it does.
        """
        left = sum(count for others, count in self.changes.values() if not others <= ids)
        return self.pictures == pictures and MAX_WHOLE < self.size >= left + size

    def add(self, path: Path, ids: set[str], size: int) -> None:
        """Take note of a change, and remove earlier ones of which it leaves nothing."""
        for old in [name for name, (others, _) in self.changes.items() if others <= ids]:
            del self.changes[old]
            old.unlink(missing_ok=True)
        self.changes[path] = ids, size


class Keeper:
    """The sessions in a folder, and the one in a file of the user's choice, if any."""

    def __init__(self, store: Store, folder: Path, file: Path | None = None):
        self.store, self.folder, self.file = store, folder, file
        self.file_id: str | None = None  # of the session in the file
        self._held: dict[str, ExitStack] = {}  # locks of files, by the ids of sessions
        self._bases: dict[str, Base] = {}  # by the ids of sessions
        self._lock = threading.RLock()

    def path(self, name: str) -> Path:
        """The file of a session."""
        if self.file is not None and name == self.file_id:
            return self.file
        return self.folder / f"{name}.json"

    # Writing.

    def write(self, session: Session, whole: bool = False) -> None:
        """Write a session's newest state, unless that is on disk or there is nothing to keep.

        whole: into one file. Raises OSError.
        """
        with self._lock:
            revision, path = session.revision, self.path(session.id)
            base = self._bases.get(session.id)
            if session.written >= revision and not (whole and base and base.changes):
                return
            if not (session.has_work or path.exists()):
                session.written = revision
                return
            if not path.parent.is_dir():
                make_folder(path.parent)
                path.parent.chmod(0o700)
            self._hold(session.id)
            pictures = list(session.pictures.values())
            uploads_in(path, pictures if base is None else newer(pictures, session))
            if whole or base is None or not self._write_change(session, revision, pictures, base):
                self._write_all(session, revision, pictures)
            session.written = revision

    def _write_all(self, session: Session, revision: int, pictures: list[Picture]) -> None:
        path, text = self.path(session.id), text_of(session, revision, pictures)
        write_whole(path, lambda name: write_text(name, text))
        self._bases[session.id] = Base([picture.id for picture in pictures], len(text))
        shutil.rmtree(changes_of(path), ignore_errors=True)

    def _write_change(
        self, session: Session, revision: int, pictures: list[Picture], base: Base
    ) -> bool:
        """Write the pictures that have changed since the last time; False if that is not enough."""
        changed = newer(pictures, session)
        ids, text = {picture.id for picture in changed}, text_of(session, revision, changed)
        path = self.path(session.id)
        if not base.takes([p.id for p in pictures], ids, len(text)) or not path.exists():
            return False
        changes_of(path).mkdir(mode=0o700, exist_ok=True)
        place = changes_of(path) / f"{revision}.json"
        write_whole(place, lambda name: write_text(name, text))
        base.add(place, ids, len(text))
        return True

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
            self._bases.pop(name, None)
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
            for folder in uploads_of(path), changes_of(path):
                shutil.rmtree(folder, ignore_errors=True)
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
        paths = sorted(self.folder.glob("*.json"), key=lambda path: -time_of(path))
        for path in paths[:MAX_LISTED]:
            with suppress(OSError, Refusal):
                head = head_of(path)
                if head["id"] == path.stem and (path.stem in self._held or is_free(path)):
                    found.append(head)
        return found


def time_of(path: Path) -> float:
    """When a session was last written; 0 if it has just been removed."""
    with suppress(OSError):
        return files_of(path)[-1].stat().st_mtime
    return 0.0


def is_free(path: Path) -> bool:
    with held(lock_of(path)) as mine:
        return mine


def write_text(name: str, text: str) -> None:
    """Write a file that is on disk when this returns."""
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def newer(pictures: list[Picture], session: Session) -> list[Picture]:
    """Those that have changed since the session was last written."""
    return [picture for picture in pictures if picture.revision > session.written]


def uploads_in(path: Path, pictures: list[Picture]) -> None:
    """Have those of the pictures that were uploaded beside their session's file."""
    for picture in pictures:
        content = picture.content
        if content.upload is None or (place := uploads_of(path) / content.upload).exists():
            continue
        place.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(place, partial(link_or_copy, content.path))
