"""Work that is kept on the server: sessions, their pictures, and the objects in them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..overlay import hex_colour
from .automatic import PointRun
from .classes import Category
from .errors import Refusal
from .instances import InstanceRun
from .objects import MaskObject, Size
from .store import Content

MAX_SESSIONS = 256
MAX_PICTURES = 2000  # of a session
MAX_OBJECTS = 10_000  # of a picture
IDLE_SECONDS = 3600.0  # after which a session may be dropped to make room for a new one


@dataclass
class Picture:
    """A picture in a session."""

    id: str
    name: str
    content: Content
    objects: dict[str, MaskObject] = field(default_factory=dict)
    automatic: PointRun | InstanceRun | None = None  # the newest search
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)  # automatic masks, by id
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    runs: int = 0  # searches for automatic masks so far
    done: bool = False  # whether a user has said that all is labelled

    @property
    def size(self) -> Size:
        return self.content.size

    def size_at(self, scale: int) -> Size:
        """The picture's size at the scale of a mask."""
        height, width = self.size
        return -(-height // scale), -(-width // scale)

    def new_object(self, waiting: int = 0) -> MaskObject:
        """waiting: how many other new ones are not among the objects yet."""
        if len(self.objects) + waiting >= MAX_OBJECTS:
            raise Refusal(400, f"the picture has {MAX_OBJECTS} objects, the most it can have")
        number = self.numbers()
        colour, order = hex_colour(number - 1), float(number)
        return MaskObject(f"o{number}", f"object {number}", colour, order=order)

    def new_run(self) -> int:
        """The number of the next search: its masks have ids of their own."""
        self.runs += 1
        return self.runs

    def in_order(self) -> list[MaskObject]:
        """The objects from the back to the front; those of one place as they were made."""
        return sorted(self.objects.values(), key=lambda found: found.order)

    def object(self, name: str) -> MaskObject:
        if name not in self.objects:
            raise Refusal(404, "there is no such object")
        return self.objects[name]


@dataclass
class Session:
    """One page's work."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    pictures: dict[str, Picture] = field(default_factory=dict)
    classes: list[Category] = field(default_factory=list)
    selected: str | None = None
    used: float = field(default_factory=time.monotonic)
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def add(self, name: str, content: Content) -> Picture:
        if len(self.pictures) >= MAX_PICTURES:
            raise Refusal(400, f"the session has {MAX_PICTURES} pictures, the most it can have")
        picture = Picture(f"p{self.numbers()}", name, content)
        self.pictures[picture.id] = picture
        return picture

    def picture(self, name: str) -> Picture:
        if name not in self.pictures:
            raise Refusal(404, "there is no such picture")
        return self.pictures[name]

    def remove(self, name: str) -> Picture:
        picture = self.picture(name)
        del self.pictures[name]
        if self.selected == name:
            self.selected = None
        return picture


class Sessions:
    """All sessions, by their ids, which cannot be guessed."""

    def __init__(
        self, pictures: Sequence[tuple[str, Content]] = (), classes: Sequence[Category] = ()
    ):
        self.first_pictures = pictures  # in every new session
        self.first_classes = classes
        self._kept: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def create(self, session: Session | None = None) -> Session:
        """Keep a new session, or the one given. Raises Refusal, 503, if there is no room."""
        if len(self._kept) >= MAX_SESSIONS:
            oldest = min(self._kept.values(), key=lambda s: s.used)
            if time.monotonic() - oldest.used < IDLE_SECONDS:
                raise Refusal(503, "the server has too many sessions; close other pages of it")
            del self._kept[oldest.id]
        if session is None:
            session = Session(classes=list(self.first_classes))
            for name, content in self.first_pictures:
                session.add(name, content)
        self._kept[session.id] = session
        return session

    def get(self, name: str) -> Session:
        if name not in self._kept:
            raise Refusal(404, "there is no such session: it ended, or the server was restarted")
        session = self._kept[name]
        session.used = time.monotonic()
        return session

    def end(self, name: str) -> Session:
        session = self.get(name)
        del self._kept[name]
        return session
