"""What a run has to do, and the notes that record what is done.

Beside each picture's results lies a note of what they were made from: a result belongs to a
picture's content, not to its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..files import read_json, sha256, write_json, write_whole
from ..formats import KEYED, Format

NOTES = ".pictures"
ANSWERS = ".answers"  # of the model, where they are kept

Note = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    pictures: dict[str, Path]  # by the names of their results
    output: Path
    formats: Sequence[Format]
    settings: dict[str, Any]
    group: mx.distributed.Group
    workspace: Path  # where this process writes unfinished results
    pages: Mapping[str, int] = field(default_factory=dict)  # of files that hold several, by names
    todo: list[str] = field(default_factory=list)  # this process's pictures without results
    changed: set[str] = field(default_factory=set)  # those whose results are from other content
    remarks: list[str] = field(default_factory=list)  # for the summary
    # Flags to lower when nothing is found.
    thresholds: list[str] = field(
        default_factory=lambda: ["--pred-iou-thresh", "--stability-score-thresh"]
    )
    keep: bool = False  # the model's answers
    may_change: Container[str] | None = ()  # settings in which older results may differ

    def write(self, path: Path, write: Callable[[str], object]) -> None:
        write_whole(path, write, self.workspace)

    def write_json(self, path: Path, values: dict[str, Any]) -> None:
        self.write(path, lambda new: write_json(new, values, indent=2))

    def file_name(self, name: str) -> str:
        """A picture's path below the folder that all share: two may have files of one name."""
        file = self.pictures[name].name
        page = f"#{self.pages[name]}" if name in self.pages else ""
        return str(Path(name).with_name(file + page))

    def has(self, format: Format, name: str, note: Note | None) -> bool:
        """Whether a result is there, made from the content that the note records."""
        return (
            note is not None
            and format.key in note["formats"]
            and os.path.exists(format.path(self.output, name))
        )

    def current(self, name: str) -> Note | None:
        """The note of a picture's results, unless they are from other content."""
        note = read_note(self.output, name)
        return note if note and is_of(note, self.pictures[name]) else None


def see_what_is_done(plan: Plan) -> None:
    """Fill in what this process has to do."""
    size, rank = plan.group.size(), plan.group.rank()
    for name, path in list(plan.pictures.items())[rank::size]:
        note = plan.current(name)
        if note is None and note_path(plan.output, name).exists():
            plan.changed.add(name)
        if not all(plan.has(format, name, note) for format in plan.formats):
            plan.todo.append(name)
        elif note is not None and not is_unmoved(note, path):
            write_note(plan, name, {**note, **traits(path)})  # or the next run reads it all again


def discard(plan: Plan, name: str) -> None:
    """Remove results from other content, in any format."""
    note = read_note(plan.output, name)
    # The note first: results without one are made again, wherever this stops.
    note_path(plan.output, name).unlink(missing_ok=True)
    for format in [KEYED[each] for each in note["formats"]] if note else ():
        path = format.path(plan.output, name)
        if not path.is_symlink():  # what a link points at is written over
            format.remove(path)


def discard_all(plan: Plan, answers: bool) -> None:
    """Remove this process's share of the results, and the first one's of pictures of other runs.

    answers: also those of the model that were kept.
    """
    if answers:
        shutil.rmtree(plan.output / ANSWERS, ignore_errors=True)
    size, rank = plan.group.size(), plan.group.rank()
    names = list(plan.pictures)[rank::size]
    if rank == 0:
        notes = map(load_note, (plan.output / NOTES).glob("*.json"))
        names += [note["name"] for note in notes if note and note["name"] not in plan.pictures]
    for name in names:
        discard(plan, name)


def answers_path(plan: Plan, name: str, sha256: str) -> Path:
    """Where the model's answers on a picture of this content are kept."""
    return plan.output / ANSWERS / f"{_digest(name)[:32]}-{sha256[:32]}.safetensors"


def note_path(output: Path, name: str) -> Path:
    """Of a fixed length: the name may be as long as names can be."""
    return output / NOTES / f"{_digest(name)[:32]}.json"


def number_of(name: str) -> int:
    """A picture's number, the same in every run; readers of JSON keep 53 bits."""
    return int(_digest(name)[:12], 16)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def read_note(output: Path, name: str) -> Note | None:
    return load_note(note_path(output, name))


def rivals_in(output: Path, formats: Sequence[Format]) -> list[Format]:
    """The formats of results in a folder that have files of the same names as these formats."""
    rivals = {
        key
        for key, other in KEYED.items()
        if any(f.pattern == other.pattern and f.name != other.name for f in formats)
    }
    if not rivals:  # as for most formats: there may be a hundred thousand notes
        return []
    notes = map(load_note, (output / NOTES).glob("*.json"))
    return [KEYED[key] for key in rivals & {key for n in notes if n for key in n["formats"]}]


def load_note(path: Path) -> Note | None:
    """None if there is none, or if it is not ours."""
    try:
        note = read_json(path)
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or not {"name", "formats", "masks", "sha256"} <= note.keys():
        return None
    return {**note, "formats": [n for n in note["formats"] if n in KEYED]}


def write_note(plan: Plan, name: str, note: Note) -> None:
    path = note_path(plan.output, name)
    path.parent.mkdir(exist_ok=True)
    plan.write_json(path, note)


def traits(path: Path) -> Note:
    """What shows a change without reading the file."""
    found = path.stat()
    return {
        "path": str(path.resolve()),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def digest(path: Path) -> str:
    """The SHA-256 of a file, read once for all its pages."""
    return _digest_now(path, *list(traits(path).values())[1:])


@lru_cache(maxsize=1)
def _digest_now(path: Path, *state: int) -> str:
    return sha256(path)


def is_unmoved(note: Note, path: Path) -> bool:
    return traits(path).items() <= note.items()


def is_of(note: Note, path: Path) -> bool:
    """Whether results are from this content; formats name the file too, so its name counts."""
    try:
        if is_unmoved(note, path):
            return True
        same_name = Path(note["path"]).name == path.resolve().name
        return same_name and note["size"] == path.stat().st_size and note["sha256"] == digest(path)
    except OSError:
        return False
