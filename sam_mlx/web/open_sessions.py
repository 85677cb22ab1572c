"""The sessions that are open, and those on disk, which are opened when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .classes import Category
from .errors import Refusal
from .keeping import Keeper
from .sessions import Session
from .store import Content

MAX_SESSIONS = 256


class Sessions:
    """All sessions, by their ids, which cannot be guessed."""

    def __init__(
        self,
        pictures: Sequence[tuple[str, Content]] = (),
        classes: Sequence[Category] = (),
        keeper: Keeper | None = None,
        offers_all: bool = False,
    ):
        self.offers_all = offers_all  # whatever their pictures are
        self.first_pictures = pictures  # in every new session
        self.first_classes = classes
        self.keeper = keeper
        self.shared: Session | None = None  # of all pages, if the user has chosen a file for it
        self._open: dict[str, Session] = {}
        if keeper is not None and keeper.file is not None:
            self.shared = self._complete(keeper.open_file() or self._new(keeper.file_id or ""))
            self._open[self.shared.id] = self.shared

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open.values()))

    def create(self, session: Session | None = None) -> Session:
        """Open a new session, or the one given. Raises Refusal, 503, if there is no room."""
        if session is None and self.shared is not None:
            return self.shared
        self.make_room()
        session = session or self._complete(self._new())
        self._open[session.id] = session
        return session

    def _new(self, name: str | None = None) -> Session:
        session = Session(classes=list(self.first_classes))
        session.id = name or session.id
        return session

    def _complete(self, session: Session) -> Session:
        """Add the pictures of the command line that a session lacks."""
        known = {picture.content.source for picture in session.pictures.values()}
        for name, content in self.first_pictures:
            if content.source not in known | session.removed_sources:
                session.add(name, content)
        return session

    def make_room(self) -> None:
        """Close idle sessions while there are too many; what was kept of them is on disk."""
        while len(self._open) >= MAX_SESSIONS:
            idle = [s for s in self._open.values() if s.is_idle and s is not self.shared]
            if not idle:
                raise Refusal(503, "the server has too many sessions; close other pages of it")
            self.close(min(idle, key=lambda s: s.used))

    def close_idle(self) -> None:
        """Close the sessions that nobody works on, for the room that their pictures take."""
        for session in self._open.values():
            session.removed.clear()
        for session in [s for s in self._open.values() if s.is_idle and s is not self.shared]:
            self.close(session)

    def close(self, session: Session) -> None:
        del self._open[session.id]
        if self.keeper is not None:
            self.keeper.release(session.id)

    def find(self, name: str) -> Session | None:
        """A session that is open."""
        return self._open.get(name)

    def get(self, name: str) -> Session:
        """A session, read from disk where it is not open. Raises Refusal, 404, if there is none."""
        session = self._open.get(name) or self._read(name)
        if session is None:
            raise Refusal(404, "there is no such session: it ended, or the server was restarted")
        session.use()
        return session

    def _read(self, name: str) -> Session | None:
        session = self.keeper.read(name) if self.keeper is not None else None
        if session is not None:
            self.make_room()
            self._open[name] = self._complete(session)
        return session

    def end(self, name: str) -> Session:
        """Close a session and forget its work."""
        session = self.get(name)
        if session is self.shared:
            raise Refusal(409, "the session in the file of --session cannot be ended")
        del self._open[name]
        if self.keeper is not None:
            self.keeper.forget(name)
        return session

    def earlier(self) -> list[dict[str, Any]]:
        """Sessions with objects that are on disk, those with the server's own pictures first."""
        if self.keeper is None or self.shared is not None:
            return []
        given = {content.source for _, content in self.first_pictures}
        found = []
        for head in self.keeper.listed():
            session = self._open.get(head["id"])
            if head["objects"]:
                related = self.offers_all or not given.isdisjoint(head["sources"])
                found.append({
                    "session": head["id"], "time": head["time"], "pictures": head["pictures"],
                    "objects": head["objects"], "names": head["names"], "related": related,
                    "open": session is not None and session.is_open,
                })  # fmt: skip
        return sorted(found, key=lambda one: (not one["related"], -one["time"]))
