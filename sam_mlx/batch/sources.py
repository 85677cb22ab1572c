"""Which pictures a run is about, and what their results are called."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from os.path import commonpath
from pathlib import Path

from ..camera_raw import ENDINGS as RAW
from ..files import unfit, user_path
from ..image_files import MAX_BYTES
from ..images import picture_endings
from ..messages import printable
from .processes import SETTINGS

MAX_LISTED = 10  # unreadable files named in an error
RAW_HINT = "camera raw, which rawpy converts"


@dataclass
class Found:
    """What sources stand for."""

    output: Path | None = None  # nothing below it is an input
    recursive: bool = False
    files: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # files that are not pictures, by ending
    subfolders: int = 0  # that were left out
    unread: dict[Path, str] = field(default_factory=dict)  # files and folders, and why
    visited: set[str] = field(default_factory=set)  # folders that were given, by their real paths

    def add(self, files: Iterable[Path], endings: Container[str]) -> None:
        for file in files:
            ending = file.suffix.lower()
            if ending in endings:
                self.take(file)
            else:
                self.skipped[ending or "without ending"] += 1

    def take(self, file: Path) -> None:
        if why := why_unreadable(file):
            self.unread[file] = why
        else:
            self.files.append(file)

    def add_folder(self, folder: Path) -> None:
        endings = picture_endings()
        for _, files, inner in self.walk(folder, self.visited):
            self.add(files, endings)
            if not self.recursive:
                self.subfolders += len(inner)
                return

    def walk(
        self, folder: Path, visited: set[str]
    ) -> Iterator[tuple[Path, list[Path], list[Path]]]:
        """A folder and those below it, each with the files and the folders in it.

        Folders that links lead to come after the others, and each comes once: links may lead in a
        circle. Hidden ones are left out: Macs put a ._ file beside each on a USB stick.
        """
        folders, links = [folder], list[Path]()
        while folders or links:
            here = (folders or links).pop(0)
            real = os.path.realpath(here)
            if real in visited:
                continue
            visited.add(real)
            files, inner = self.contents(here)
            yield here, files, inner
            folders += [path for path in inner if not path.is_symlink()]
            links += [path for path in inner if path.is_symlink()]

    def contents(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The files and the folders in a folder, without hidden ones and those of the output."""
        files, folders = list[Path](), list[Path]()
        for name in self.names(folder):
            if not name.startswith("."):
                path = folder / name
                (folders if self.is_folder(path) else files).append(path)
        files = [path for path in files if path not in self.unread]
        return files, [path for path in folders if not is_below(path, self.output)]

    def is_folder(self, path: Path) -> bool:
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:  # a link that leads nowhere
            return False
        except OSError as error:
            self.unread[path] = str(error.strerror)
            return False

    def names(self, folder: Path) -> list[str]:
        """What is in a folder; if it cannot be read, nothing, and that is noted."""
        try:
            return sorted(os.listdir(folder))
        except NotADirectoryError:
            return []
        except OSError as error:
            self.unread[folder] = str(error.strerror)
            return []

    def add_glob(self, path: Path) -> None:
        """The pictures of a glob; its leading folders, if they exist, are taken literally."""
        start = next(parent for parent in path.parents if os.path.isdir(parent))
        parts = path.relative_to(start).parts
        # Of "**" that follow each other, each but the first would look through all folders again.
        parts = tuple(p for i, p in enumerate(parts) if p != "**" or parts[i - 1 : i] != ("**",))
        found = each_once(sorted(self.expand(start, parts)))
        files = (f for f in found if not f.name.startswith("._") and not os.path.isdir(f))
        self.add(sorted(files), picture_endings() | {""})

    def expand(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        """What the parts of a glob stand for in a folder."""
        head, *rest = parts
        if head == "**":
            for here, files, _ in self.walk(folder, set()):
                yield from self.expand(here, rest) if rest else files
            return
        if has_magic(head):
            names = [name for name in self.names(folder) if fnmatchcase(name, head)]
        else:
            names = [head] if os.path.lexists(folder / head) else []
        for name in names:
            if name[0] != "." or head[0] == ".":
                yield from self.expand(folder / name, rest) if rest else [folder / name]

    @property
    def other_kinds(self) -> str:
        """How many files are not pictures, by their endings."""
        return ", ".join(
            f"{count} {printable(ending)}" + (f" ({RAW_HINT})" if ending in RAW else "")
            for ending, count in sorted(self.skipped.items())
        )

    @property
    def left_out(self) -> list[str]:
        plural = "s" if self.subfolders > 1 else ""
        folders = f"{self.subfolders} subfolder{plural} (--recursive takes them)"
        return list(filter(None, [self.other_kinds, folders if self.subfolders else ""]))


def gather(sources: Sequence[str], output: Path | None = None, recursive: bool = False) -> Found:
    """What file names, folders and globs stand for, each picture once.

    Raises OSError if an input does not exist.
    """
    found = Found(output, recursive)
    for source in sources:
        path = user_path(source)
        if os.path.isdir(path):
            found.add_folder(path)
        elif os.path.lexists(path) and len(sources) == 1:
            found.take(path)
        elif os.path.lexists(path):  # a shell's glob matches video clips too
            found.add([path], picture_endings() | {""})
        elif has_magic(source):
            found.add_glob(path)
        else:
            raise nothing_there(source)
    found.files = each_once(found.files)
    return found


def each_once(files: Iterable[Path]) -> list[Path]:
    """Of several names that links to folders give to a file, one, if possible without a link."""
    places: dict[tuple[str, str], Path] = {}
    for file in files:
        folder = os.path.realpath(file.parent)
        if folder == os.path.abspath(file.parent):
            places[folder, file.name] = file
        places.setdefault((folder, file.name), file)
    return list(places.values())


def find(sources: Sequence[str], output: Path, recursive: bool) -> Found:
    """The pictures that file names, folders and globs stand for, but none below ``output``.

    Raises OSError if there are none, or an input does not exist.
    """
    found = gather(sources, output, recursive)
    outside = [file for file in found.files if not is_below(file, output)]
    if len(outside) < len(found.files) and not (output / SETTINGS).exists():
        raise ValueError(f"{output} holds the pictures themselves; write to another folder")
    if not outside:
        raise nothing_to_do(found, sources)
    found.files = outside
    return found


def nothing_there(source: str) -> OSError:
    """The error that explains why a path leads nowhere."""
    try:
        os.stat(user_path(source))
    except PermissionError as error:
        return PermissionError(f"cannot read {source}: {error.strerror}")
    except OSError:
        pass
    return FileNotFoundError(f"no such picture, folder or glob: {source}")


def why_unreadable(file: Path) -> str | None:
    try:
        return unfit(file, MAX_BYTES)
    except FileNotFoundError:
        return "the link leads nowhere"
    except OSError as error:
        return str(error.strerror)


def nothing_to_do(found: Found, sources: Sequence[str]) -> OSError:
    """The error that explains why there are no pictures."""
    if found.unread:
        unread = [f"{path}: {why}" for path, why in found.unread.items()]
        more = f" and {len(unread) - MAX_LISTED} more" if len(unread) > MAX_LISTED else ""
        return OSError(f"cannot read {'; '.join(unread[:MAX_LISTED])}{more}")
    inside = [f"{len(found.files)} in {found.output} itself"] if found.files else []
    why = ", ".join([*found.left_out, *inside])
    return FileNotFoundError(f"no pictures: {' '.join(sources)}" + (why and f"; only {why}"))


def is_below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def named(files: Iterable[Path]) -> dict[str, Path]:
    """Pictures by the names of their results.

    A name is the path below the folder they share, without its ending if that is unambiguous even
    on disks that ignore case.
    """
    places = {Path(os.path.abspath(file)): file for file in files}
    root = commonpath([place.parent for place in places])
    below = sorted(place.relative_to(root) for place in places)
    taken = Counter(str(f.with_suffix("")).casefold() for f in below)
    taken.update(str(f).casefold() for f in below if f.suffix)  # x.png.png's name beside x.png
    taken.update({str(parent).casefold() for f in below for parent in f.parents})
    plain = {f: f.with_suffix("") for f in below}
    return {
        str(f if taken[str(short).casefold()] > 1 else short): places[Path(root, f)]
        for f, short in plain.items()
    }
