"""Which pictures a run is about, and what their results are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from glob import escape, glob, has_magic
from os.path import commonpath
from pathlib import Path

from ..camera_raw import ENDINGS as RAW
from ..images import picture_endings
from .checks import SETTINGS


@dataclass
class Found:
    """What sources stand for."""

    files: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # what is no picture, by its ending
    subfolders: int = 0  # that were left out

    def add(self, files: Iterable[Path], bare: bool) -> None:
        """Take the pictures among files. bare: what has no ending counts as one."""
        endings = picture_endings() | ({""} if bare else set())
        for file in files:
            ending = file.suffix.lower()
            if ending in endings:
                self.files.append(file)
            else:
                self.skipped[ending or "without ending"] += 1

    @property
    def left_out(self) -> list[str]:
        kinds = ", ".join(
            f"{count} {ending}" + (" (camera raw, which rawpy converts)" if ending in RAW else "")
            for ending, count in sorted(self.skipped.items())
        )
        plural = "s" if self.subfolders > 1 else ""
        folders = f"{self.subfolders} subfolder{plural} (--recursive takes them)"
        return [*([kinds] if kinds else []), *([folders] if self.subfolders else [])]


def find(sources: Sequence[str], output: Path, recursive: bool) -> Found:
    """The pictures that file names, folders and globs stand for, but none below ``output``."""
    found = Found()
    for source in sources:
        path = Path(source).expanduser()
        if path.is_dir():
            add_folder(found, path, output, recursive)
        elif os.path.exists(path) and len(sources) == 1:
            found.files.append(path)
        elif os.path.exists(path):  # a shell's glob has clips among the pictures
            found.add([path], bare=True)
        elif has_magic(source):
            paths = map(Path, sorted(glob(escape_what_exists(path), recursive=True)))
            files = (p for p in paths if p.is_file() and not p.name.startswith("._"))
            found.add(files, bare=True)
        else:
            raise FileNotFoundError(f"no such picture, folder or glob: {source}")
    outside = [file for file in found.files if not is_below(file, output)]
    if len(outside) < len(found.files) and not (output / SETTINGS).exists():
        raise ValueError(f"{output} holds the pictures themselves; write to another folder")
    if not outside:
        inside = [f"{len(found.files)} in {output} itself"] if found.files else []
        why = ", ".join([*found.left_out, *inside])
        raise FileNotFoundError(f"no pictures: {' '.join(sources)}" + (why and f"; only {why}"))
    found.files = outside
    return found


def is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def add_folder(found: Found, folder: Path, output: Path, recursive: bool) -> None:
    """What is hidden is none of the user's pictures: Macs put a ._ file beside each on a stick."""
    for here, folders, files in os.walk(folder):
        paths = (Path(here, name) for name in sorted(files) if not name.startswith("."))
        found.add((path for path in paths if path.is_file()), bare=False)
        inner = [f for f in folders if f[0] != "." and not is_below(Path(here, f), output)]
        folders[:] = sorted(inner) if recursive else []
        if not recursive:
            found.subfolders += len(inner)


def escape_what_exists(path: Path) -> str:
    """A glob whose leading folders, as far as they exist, are taken by the letter."""
    for parent in path.parents:
        if parent.is_dir():
            return os.path.join(escape(str(parent)), path.relative_to(parent))
    return str(path)


def named(files: Iterable[Path]) -> dict[str, Path]:
    """Pictures by the name of their results.

    That is the path below the folder they share, without its ending where that is unambiguous,
    also on disks that do not tell capitals.
    """
    places = {Path(os.path.abspath(file)): file for file in files}
    root = commonpath([place.parent for place in places])
    below = sorted(place.relative_to(root) for place in places)
    taken = Counter(str(f.with_suffix("")).casefold() for f in below)
    taken.update({str(parent).casefold() for f in below for parent in f.parents})
    plain = {f: f.with_suffix("") for f in below}
    return {
        str(f if taken[str(short).casefold()] > 1 else short): places[Path(root, f)]
        for f, short in plain.items()
    }
