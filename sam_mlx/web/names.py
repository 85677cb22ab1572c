"""Names of pictures as they are shown, and the names of files that are made for them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

MAX_NAME = 255  # bytes, as disks have it
MAX_STEM = 120  # bytes, which leaves room for what is appended
# They show a text in another order than it has. Other invisible characters join the parts of emoji
# and of letters, and stay.
REORDERING = set("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in names, somewhere
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def clean_name(name: str | None, fallback: str = "picture") -> str:
    """A client's name for a picture, as far as it can be shown and written: not a path."""
    base = os.path.basename((name or "").replace("\\", "/"))
    kept = cut("".join(map(shown, base)), MAX_NAME)
    return kept if kept.strip(" .") else fallback


def clean_path(name: str, fallback: str = "picture") -> str:
    """The same with the folders that a picture is in."""
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(" .")]
    return "/".join(clean_name(part) for part in parts) or fallback


def shown(char: str) -> str:
    """A character, or what is shown for it."""
    if unicodedata.category(char) == "Cs":  # of bytes that are no text, in names of Linux
        return "\ufffd"
    return "" if unicodedata.category(char) == "Cc" or char in REORDERING else char


def cut(name: str, max_bytes: int) -> str:
    """A name within a number of bytes, with its ending."""
    if len(name.encode()) <= max_bytes:
        return name
    stem, ending = os.path.splitext(name)
    ending = ending if len(ending.encode()) <= 20 else ""
    return stem.encode()[: max_bytes - len(ending.encode())].decode(errors="ignore") + ending


def names_of(paths: Sequence[Path]) -> list[str]:
    """The names of files; those of one name by their paths below the folder that all are in."""
    counts = Counter(path.name for path in paths)
    absolute = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in absolute]) if paths else ""
    return [
        clean_path(path.relative_to(root).as_posix()) if counts[path.name] > 1
        else clean_name(path.name)
        for path in absolute
    ]  # fmt: skip


def free_name(name: str, folder: str, taken: Iterable[str]) -> str:
    """A name that no other picture has: with its folder if need be, or else a number."""
    used = set(taken)
    inside = f"{folder}/{name}" if folder else name
    stem, ending = os.path.splitext(inside)
    number = 2
    for new in (name, inside):
        if new not in used:
            return new
    while (new := f"{stem} {number}{ending}") in used:
        number += 1
    return new


def alike(name: str) -> str:
    """Equal for names that some disks hold for the same: in other cases or accents."""
    return unicodedata.normalize("NFC", name).casefold()


def stem_of(name: str) -> str:
    """What the names of files begin with that are made for a picture, on any disk."""
    return "/".join(map(safe, PurePosixPath(name).with_suffix("").parts)) or "picture"


def safe(part: str) -> str:
    """A part of a path that every disk takes, and none hides."""
    part = FORBIDDEN.sub("_", part).strip(" .")
    part = part.encode()[:MAX_STEM].decode(errors="ignore").rstrip(" .")
    return f"_{part}" if RESERVED.fullmatch(part) else part or "picture"
