"""Work that is kept on the server: sessions, their pictures, and the objects in them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from typing import Any

import numpy as np

from ..masks import (
    brush,
    compress_rle,
    decode_rle,
    encode_rle,
    record_of,
    rle_area,
    rle_counts,
)
from ..overlay import palette
from .errors import Refusal
from .pictures import Content

MOST_SESSIONS = 256
MOST_PICTURES = 2000  # of a session
MOST_OBJECTS = 1000  # of a picture
IDLE_SECONDS = 3600.0  # after which a session may go where there is no room for a new one

Rle = dict[str, Any]


@dataclass
class MaskObject:
    """An object of a picture: what was said of it, and its mask."""

    id: str
    name: str
    colour: str
    hidden: bool = False
    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    multimask: bool | None = None  # None: of one click
    choice: int | None = None  # which of three; None: the one with the highest score
    edits: list[dict[str, Any]] = field(default_factory=list)
    everything: str | None = None
    min_mask_region_area: float = 0
    base: Rle | None = None  # the mask before the edits, as compressed RLE; None: empty
    mask: Rle = field(default_factory=dict)
    painted: int = 0  # how many of the edits are in it
    score: float = 0.0
    stability: float = 0.0

    @property
    def prompt(self) -> dict[str, Any]:
        """The arguments of ``SamPredictor.predict``."""
        points = {"point_coords": self.points, "point_labels": self.labels} if self.points else {}
        return points | ({"box": self.box} if self.box is not None else {})

    @property
    def asks_for_three(self) -> bool:
        if self.multimask is None:
            return len(self.points) == 1 and self.box is None
        return self.multimask

    @property
    def area(self) -> int:
        return rle_area(self.mask)

    def set_base(self, record: dict[str, Any] | None, size: tuple[int, int]) -> None:
        """The mask of a record, with the edits on it."""
        self.base = record and record["segmentation"]
        self.score = record["predicted_iou"] if record else 0.0
        self.stability = record["stability_score"] if record else 0.0
        self.painted = 0
        self.paint(size)

    def paint(self, size: tuple[int, int]) -> None:
        """Bring the mask up to date: strokes that came last go on top of what is there."""
        start = self.mask if self.painted else self.base
        new = self.edits[self.painted :]
        self.painted = len(self.edits)
        if start is not None and not new:
            self.mask = start
            return
        mask = np.zeros(size, bool) if start is None else decode_rle([start])[0]
        for edit in new:
            mask = brush(mask, edit["path"], edit["radius"], edit["erase"])
        self.mask = compress_rle(encode_rle(mask[None]))[0]

    def show(self) -> dict[str, Any]:
        shown = asdict(self)
        del shown["base"], shown["painted"]
        return shown | {"mask": plain(self.mask), "area": self.area}

    def record(self) -> dict[str, Any]:
        """As the output formats take it."""
        record = record_of(self.mask, self.score, self.stability, self.points or None)
        return record | {"name": self.name, "colour": self.colour}


STATE = {f.name for f in fields(MaskObject)} - {
    "id",
    "base",
    "mask",
    "painted",
    "score",
    "stability",
}
PROMPT = ("points", "labels", "box", "multimask", "choice", "everything", "min_mask_region_area")


def plain(rle: Rle) -> Rle:
    return {"size": list(rle["size"]), "counts": rle_counts(rle)}


def colour_of(number: int) -> str:
    return "#" + "".join(f"{value:02x}" for value in palette(number)[-1].tolist())


@dataclass
class Everything:
    """A search for everything in a picture."""

    run: int
    points_per_side: int
    done: float = 0.0
    records: list[dict[str, Any]] | None = None
    error: str | None = None
    stopped: bool = False
    future: Future[Any] | None = None

    def id_of(self, index: int) -> str:
        return f"{self.points_per_side}-{self.run}-{index}"

    def index_of(self, name: str) -> int:
        """Raises Refusal, 404, for an id that is none of this run."""
        match = re.fullmatch(rf"{self.points_per_side}-{self.run}-(\d{{1,6}})", name)
        if not match or self.records is None or int(match[1]) >= len(self.records):
            raise Refusal(404, "there is no such mask of everything: run it again")
        return int(match[1])


@dataclass
class Picture:
    """A picture in a session."""

    id: str
    name: str
    content: Content
    objects: dict[str, MaskObject] = field(default_factory=dict)
    everything: Everything | None = None
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)  # of everything, by id
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    runs: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    @property
    def size(self) -> tuple[int, int]:
        return self.content.size

    def new_object(self) -> MaskObject:
        if len(self.objects) >= MOST_OBJECTS:
            raise Refusal(400, f"the picture has {MOST_OBJECTS} objects, the most it can have")
        number = self.numbers()
        return MaskObject(f"o{number}", f"object {number}", colour_of(number))

    def object(self, name: str) -> MaskObject:
        if name not in self.objects:
            raise Refusal(404, "there is no such object")
        return self.objects[name]


@dataclass
class Session:
    """One page's work."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    pictures: dict[str, Picture] = field(default_factory=dict)
    selected: str | None = None
    used: float = field(default_factory=time.monotonic)
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)

    def add(self, name: str, content: Content) -> Picture:
        if len(self.pictures) >= MOST_PICTURES:
            raise Refusal(400, f"the session has {MOST_PICTURES} pictures, the most it can have")
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
    """All sessions, by their ids, which nobody guesses."""

    def __init__(self, pictures: Sequence[tuple[str, Content]] = ()):
        self.first_pictures = pictures  # of every new one
        self._kept: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def create(self, session: Session | None = None) -> Session:
        """A new session, or one that was saved. Raises Refusal, 503, where there is no room."""
        if len(self._kept) >= MOST_SESSIONS:
            oldest = min(self._kept.values(), key=lambda s: s.used)
            if time.monotonic() - oldest.used < IDLE_SECONDS:
                raise Refusal(503, "the server has too many sessions; close other pages of it")
            del self._kept[oldest.id]
        if session is None:
            session = Session()
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
