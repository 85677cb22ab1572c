"""Classes that a session's objects may have, in the order that keys and exports follow."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from ..files import read_file
from ..overlay import hex_colour
from .errors import Refusal
from .objects import CATEGORY_ID, COLOUR
from .validate import Schema, form, many

MAX_CLASSES = 1000  # of a session
MAX_FILE = 1 << 20  # bytes, of a file of names
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}

CLASS = form("id name colour", id=CATEGORY_ID, name=NAME, colour=COLOUR)
CLASSES = many(CLASS, MAX_CLASSES)


@dataclass(frozen=True)
class Category:
    """A class of objects. Objects refer to its id, so that its name can change."""

    id: int
    name: str
    colour: str

    def show(self) -> dict[str, Any]:
        return asdict(self)


def checked(given: Sequence[dict[str, Any]]) -> list[Category]:
    """Classes of a client. Raises Refusal, 400, for two of one id or of one name."""
    found = [Category(each["id"], as_line(each["name"]), each["colour"]) for each in given]
    if not all(c.name for c in found):
        raise Refusal(400, "a class has no name; give it one")
    for what in ("id", "name"):
        used = Counter(getattr(each, what) for each in found)
        value, count = max(used.items(), key=itemgetter(1), default=(None, 0))
        if count > 1:
            raise Refusal(400, f"two classes have the {what} {value!r}; choose another")
    return found


def as_line(name: str) -> str:
    """A class's name as files of labels can hold it: one line without control characters."""
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name).split())


def of_names(names: Iterable[str]) -> list[Category]:
    """New classes of these names, each once, with the palette's colours."""
    each = dict.fromkeys(filter(None, map(as_line, names)))
    if len(each) > MAX_CLASSES:
        raise ValueError(f"there are {len(each)} classes; expected {MAX_CLASSES} or fewer")
    return [Category(i, name, hex_colour(i - 1)) for i, name in enumerate(each, 1)]


def given(text: str) -> list[Category]:
    """The classes of a flag: names with commas between them, or a file with one on each line."""
    if not text.strip():
        raise ValueError("there are no classes; give their names, or a file with one on each line")
    if not os.path.isfile(text):  # which takes names too long to be one
        return of_names(text.split(","))
    lines = read_file(text, MAX_FILE).decode("utf-8-sig", "replace").splitlines()
    if not (found := of_names(lines)):
        raise ValueError(f"{text} holds no names; expected one class on each line")
    return found
