"""Sessions, their pictures, and the objects in them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from itertools import count

from ..masks import Record
from ..overlay import hex_colour
from .automatic import PointRun
from .classes import Category
from .errors import Refusal
from .instances import InstanceRun
from .names import free_name
from .objects import MaskObject, Size
from .store import Content

MAX_PICTURES = 2000  # of a session
MAX_OBJECTS = 10_000  # of a picture
MAX_REMOVED = 100  # pictures of a session that can be restored
IDLE_SECONDS = 3600.0  # after which a session may be dropped to make room for a new one
AWAY_SECONDS = 180.0  # the same where nothing is lost; pages ask more often, also in the background
LEAVING_SECONDS = 2.0  # for which requests of a closed page may still arrive
OPEN_SECONDS = 10.0  # for which a session counts as open in a page that has not asked since


@dataclass
class Picture:
    """A picture in a session."""

    id: str
    name: str
    content: Content
    objects: dict[str, MaskObject] = field(default_factory=dict)
    automatic: PointRun | InstanceRun | None = None  # the newest search
    taken: dict[str, Record] = field(default_factory=dict)  # automatic masks, by id
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    runs: int = 0  # searches for automatic masks so far
    done: bool = False  # whether a user has said that all is labelled
    revision: int = 0  # the session's, when the picture was last changed

    @property
    def size(self) -> Size:
        return self.content.size

    def size_at(self, scale: int) -> Size:
        """The picture's size at the scale of a mask."""
        height, width = self.size
        return -(-height // scale), -(-width // scale)

    def new_object(self, waiting: int = 0) -> MaskObject:
        """waiting: how many other new ones are not among the objects yet."""
        self.check_room(waiting + 1)
        number = next_number(self.numbers, "o", self.objects)
        colour, order = hex_colour(number - 1), float(number)
        return MaskObject(f"o{number}", f"object {number}", colour, order=order)

    def check_room(self, more: int) -> None:
        """Raise Refusal, 400, where the picture cannot have so many more objects."""
        if len(self.objects) + more > MAX_OBJECTS:
            raise Refusal(400, f"the picture has {MAX_OBJECTS} objects, the most it can have")

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
    removed: dict[str, tuple[int, Picture]] = field(default_factory=dict)  # places and pictures
    removed_sources: set[str] = field(default_factory=set)  # paths that do not come back
    revision: int = 0  # counts changes
    classes_revision: int = 0  # in which the classes were last changed
    written: int = 0  # the newest revision that is on disk
    trouble: str | None = None  # why the newest is not
    left_at: float | None = None  # when its page was closed

    @property
    def has_work(self) -> bool:
        """Whether there is something to lose."""
        pictures = self.pictures.values()
        made = any(p.objects or p.done or p.content.upload is not None for p in pictures)
        return made or self.classes_revision > 0

    @property
    def is_open(self) -> bool:
        """Whether somebody seems to work on it."""
        return not self.left and time.monotonic() - self.used < OPEN_SECONDS

    @property
    def is_idle(self) -> bool:
        """Whether it may be dropped to make room for others."""
        if self.has_work and self.written < self.revision:
            return time.monotonic() - self.used > IDLE_SECONDS
        return self.left or time.monotonic() - self.used > AWAY_SECONDS

    def as_it_is(self) -> Session:
        """A copy that stays as it is, for threads that take their time."""
        pictures = {k: replace(p, objects=dict(p.objects)) for k, p in self.pictures.items()}
        return replace(self, pictures=pictures, classes=list(self.classes))

    def use(self) -> None:
        """Somebody works on it."""
        self.used = time.monotonic()
        if self.left_at is not None and self.used - self.left_at > LEAVING_SECONDS:
            self.left_at = None

    @property
    def left(self) -> bool:
        """Whether its page was closed."""
        return self.left_at is not None

    def changed(self, picture: Picture | None = None) -> int:
        """Count a change; returns the new revision."""
        self.revision += 1
        if picture is not None:
            picture.revision = self.revision
        return self.revision

    def set_classes(self, classes: list[Category]) -> None:
        """Have these classes, and no others."""
        self.classes = classes
        self.classes_revision = self.changed()

    def put(self, picture: Picture, found: MaskObject) -> None:
        """Add an object, or a new version of one."""
        found.version = self.changed(picture)
        picture.objects[found.id] = found

    def drop(self, picture: Picture, name: str) -> None:
        """Remove an object."""
        del picture.objects[name]
        self.changed(picture)

    def add(self, name: str, content: Content, folder: str = "") -> Picture:
        """folder: what tells it from others of its name."""
        if len(self.pictures) >= MAX_PICTURES:
            raise Refusal(400, f"the session has {MAX_PICTURES} pictures, the most it can have")
        number = next_number(self.numbers, "p", {**self.pictures, **self.removed})
        name = free_name(name, folder, (each.name for each in self.pictures.values()))
        picture = Picture(f"p{number}", name, content)
        self.pictures[picture.id] = picture
        self.changed(picture)
        return picture

    def picture(self, name: str) -> Picture:
        if name not in self.pictures:
            raise Refusal(404, "there is no such picture")
        return self.pictures[name]

    def remove(self, name: str) -> Picture:
        """Remove a picture, which can be restored until its room is needed."""
        picture = self.picture(name)
        self.removed[name] = list(self.pictures).index(name), picture
        if len(self.removed) > MAX_REMOVED:
            del self.removed[next(iter(self.removed))]
        del self.pictures[name]
        if picture.content.source is not None:
            self.removed_sources.add(picture.content.source)
        if self.selected == name:
            self.selected = None
        self.changed()
        return picture

    def restore(self, name: str) -> Picture:
        """Put a removed picture back in its place."""
        if name not in self.removed:
            raise Refusal(404, "there is no such picture")
        place, picture = self.removed.pop(name)
        picture.name = free_name(picture.name, "", (p.name for p in self.pictures.values()))
        others = list(self.pictures.items())
        self.pictures = dict([*others[:place], (name, picture), *others[place:]])
        self.removed_sources.discard(picture.content.source or "")
        self.changed(picture)
        return picture


def next_number(numbers: Callable[[], int], letter: str, taken: Container[str]) -> int:
    """The next number whose id is free: those from session files may have any."""
    while f"{letter}{(number := numbers())}" in taken:
        pass
    return number
