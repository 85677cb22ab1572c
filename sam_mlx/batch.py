"""Automatic masks of many files: ``sam-mlx auto``.

Results appear whole or not at all, and what is there is not made again, so that a run that was
stopped continues. Beside each picture's results lies a note of what they were made from: a result
belongs to a picture's content, not to its name. Under ``mlx.launch`` every process takes its share
of the files: the i-th picture is always the same process's, whatever is done already, so that no
two make one result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from glob import escape, glob, has_magic
from itertools import combinations
from os.path import commonpath
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from PIL import Image
from tqdm import tqdm

from .automatic.generator import SamAutomaticMaskGenerator
from .embedding import fingerprint
from .files import PARTIAL, held, sha256, write_whole
from .formats import FORMATS, Format, Result
from .transforms import load_image

SETTINGS = ".settings.json"
NOTES = ".pictures"
LOCK = ".lock"
FEW = 10  # pictures whose masks are counted one by one
# What Pillow lists among pictures but only writes, or reads no pixels of.
NO_PICTURES = {"PDF", "MPEG", "FLI", "BUFR", "GRIB", "HDF5", "WMF"}

Note = dict[str, Any]


def run(
    sources: str | Sequence[str],
    output: str | Path,
    formats: Sequence[Format],
    generator: Callable[[], SamAutomaticMaskGenerator],
    settings: dict[str, Any],
    *,
    recursive: bool = False,
    verbose: bool = False,
) -> int:
    """Segment every picture of ``sources`` into the folder ``output``; returns the exit code.

    generator: called when there is work. settings: what the results depend on; a folder with
    results of other settings is refused. recursive: pictures of subfolders too. verbose: count
    the masks of every picture. Returns 0, or 1 when some pictures have no results. Raises
    ValueError, FileNotFoundError or NotADirectoryError before any work, OSError for a full disk.
    """
    output = Path(output).expanduser()
    check_formats(formats)
    found = find([sources] if isinstance(sources, str) else sources, output, recursive)
    pictures = named(found.files)
    check_names(pictures, output, formats)
    check_strangers(pictures, output, formats)
    output.mkdir(parents=True, exist_ok=True)
    check_settings(output / SETTINGS, settings)
    group = mx.distributed.init()
    with only_run(output, group):
        workspace = output / f"{PARTIAL}{group.rank()}"
        plan = Plan(pictures, output, formats, settings, group, workspace)
        with workspace_of(plan):
            see_what_is_done(plan)
            failures = work(plan, generator) if plan.todo else []
            failed = finish(plan, failures, verbose)
        if group.rank() == 0:
            found.tell()
    return 1 if failed else 0


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    pictures: dict[str, Path]  # by the name of their results
    output: Path
    formats: Sequence[Format]
    settings: dict[str, Any]
    group: mx.distributed.Group
    workspace: Path  # where this process writes what is not whole yet
    # Names of this process's pictures without results, and their numbers.
    todo: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)  # those whose results are of another content

    def write(self, path: Path, write: Callable[[str], object]) -> None:
        write_whole(path, write, self.workspace)

    def has(self, format: Format, name: str, note: Note | None) -> bool:
        """Whether a result is there, of the content that the note tells of."""
        return (
            note is not None
            and format.name in note["formats"]
            and os.path.exists(format.path(self.output, name))
        )

    def current(self, name: str) -> Note | None:
        """The note of a picture's results, unless they are of another content."""
        note = read_note(self.output, name)
        return note if note and is_of(note, self.pictures[name]) else None


@dataclass(frozen=True)
class Failure:
    name: str
    what: str  # "read" or "written"
    error: Exception


def see_what_is_done(plan: Plan) -> None:
    """Fill in what this process has to do."""
    size, rank = plan.group.size(), plan.group.rank()
    for number, (name, path) in enumerate(plan.pictures.items(), 1):
        if number % size != rank:
            continue
        note = plan.current(name)
        if note is None and note_path(plan.output, name).exists():
            plan.changed.add(name)
        if not all(plan.has(format, name, note) for format in plan.formats):
            plan.todo[name] = number
        elif note is not None and not is_unmoved(note, path):
            write_note(plan, name, {**note, **traits(path)})  # or the next run reads it all again


def work(plan: Plan, generator: Callable[[], SamAutomaticMaskGenerator]) -> list[Failure]:
    """Make the results that are missing; returns why those are missing still that are."""
    model = generator()
    # The same name may stand for other weights by now.
    sam = model.predictor.model
    settings = {**plan.settings, "weights": fingerprint(sam.config, sam)}
    check_settings(plan.output / SETTINGS, settings)
    # Noted once all is known to fit, or a slip in the options would bar their correction.
    note_settings(plan, settings)
    failures = []
    with Bars(len(plan.todo), shown=plan.group.rank() == 0) as bars:
        for name in plan.todo:
            failure = segment(plan, model, name, bars)
            if failure:
                failures.append(failure)
            bars.images()
    return failures


def segment(plan: Plan, model: SamAutomaticMaskGenerator, name: str, bars: Bars) -> Failure | None:
    path = plan.pictures[name]
    note = plan.current(name)
    try:
        if note is None:
            discard(plan, name)
    except OSError as error:
        return Failure(name, "written", error)
    try:
        # Before it is read: what changes from here on is seen by the next run.
        note = note or {"name": name, "formats": [], **traits(path), "sha256": sha256(path)}
        image = load_image(path)
    except (ValueError, OSError) as error:
        return Failure(name, "read", error)
    records = model.generate(image, progress=bars.points)
    note["masks"] = len(records)
    try:
        write_missing(plan, name, Result(path.name, plan.todo[name], image, records), note)
    except (ValueError, OSError) as error:
        refuse_full_disk(plan, error)
        return Failure(name, "written", error)
    return None


def refuse_full_disk(plan: Plan, error: Exception) -> None:
    """Raise OSError where no other picture would fare better."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(
            f"no space is left for {plan.output}; with space, the same command continues"
        ) from error


def write_missing(plan: Plan, name: str, result: Result, note: Note) -> None:
    """Write the results that are missing, and note each as it is there."""
    for format in plan.formats:
        if plan.has(format, name, note):
            continue
        path = format.path(plan.output, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        format.remove(path)
        plan.write(path, partial(format.write, result))
        # Two formats may have one path: then the other's result is no more.
        others = [n for n in note["formats"] if format.pattern != FORMATS[n].pattern]
        note["formats"] = sorted([*others, format.name])
        write_note(plan, name, note)


def discard(plan: Plan, name: str) -> None:
    """Remove what is there of another content, in any format."""
    note = read_note(plan.output, name)
    # The note first: results without one are made again, wherever this is stopped.
    note_path(plan.output, name).unlink(missing_ok=True)
    for format_name in note["formats"] if note else ():
        FORMATS[format_name].remove(FORMATS[format_name].path(plan.output, name))


def note_path(output: Path, name: str) -> Path:
    """Of a fixed length: the name may be as long as names can be."""
    return output / NOTES / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.json"


def read_note(output: Path, name: str) -> Note | None:
    return load_note(note_path(output, name))


def load_note(path: Path) -> Note | None:
    """None where there is none, and where it is none of ours."""
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or not {"name", "formats", "masks", "sha256"} <= note.keys():
        return None
    return {**note, "formats": [n for n in note["formats"] if n in FORMATS]}


def write_note(plan: Plan, name: str, note: Note) -> None:
    path = note_path(plan.output, name)
    path.parent.mkdir(exist_ok=True)
    plan.write(path, lambda new: Path(new).write_text(json.dumps(note, indent=2) + "\n"))


def traits(path: Path) -> Note:
    """What tells of a change without reading the file."""
    found = path.stat()
    return {
        "path": str(path.resolve()),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def is_unmoved(note: Note, path: Path) -> bool:
    return traits(path).items() <= note.items()


def is_of(note: Note, path: Path) -> bool:
    """Whether results are of this content; formats name the file too, so that counts."""
    try:
        if is_unmoved(note, path):
            return True
        same_name = Path(note["path"]).name == path.resolve().name
        return same_name and note["size"] == path.stat().st_size and note["sha256"] == sha256(path)
    except OSError:
        return False


def finish(plan: Plan, failures: Sequence[Failure], verbose: bool) -> int:
    """Join what is made for all pictures, say what was done; returns how many failed."""
    for failure in failures:
        text = " ".join(str(failure.error).split())
        print(f"not {failure.what}: {plan.pictures[failure.name]}: {text}", file=sys.stderr)
    failed = {failure.name for failure in failures}
    counts = sum_over_processes(
        len(plan.todo) - len(failed),
        len(plan.changed - failed),
        sum(failure.what == "read" for failure in failures),
        sum(failure.what == "written" for failure in failures),
    )
    if plan.group.rank() == 0:
        notes = {name: note for name in plan.pictures if (note := plan.current(name))}
        join(plan, notes)
        tell(plan, counts, notes, verbose)
    wait_for_all_processes()
    return counts[2] + counts[3]


def tell(plan: Plan, counts: Sequence[int], notes: dict[str, Note], verbose: bool) -> None:
    """Say what was done, what was found, and what to do where nothing was."""
    made, again, unread, unwritten = counts
    there = len(plan.pictures) - made - unread - unwritten
    say(
        f"{made} of {len(plan.pictures)} pictures segmented into {plan.output}"
        + (f", {again} made again, for their pictures have changed" if again else "")
        + (f", {there} were there already" if there else "")
        + (f", {unread} could not be read" if unread else "")
        + (f", {unwritten} could not be written" if unwritten else "")
    )
    masks = {name: note["masks"] for name, note in notes.items()}
    if masks:
        each = f": {', '.join(f'{n} {k}' for n, k in masks.items())}"
        say(f"{sum(masks.values())} masks in all" + (each if len(masks) <= FEW or verbose else ""))
    tell_of_none(plan, [name for name, count in masks.items() if count == 0])
    gone = names_of_others(plan)
    if gone:
        say(f"also in {plan.output}, of pictures that are not in this run: {listed(gone)}")


def tell_of_none(plan: Plan, names: Sequence[str]) -> None:
    if names:
        nano = plan.settings.get("model") == "nano"
        say(
            f"no mask in {len(names)} of them: {listed(names)}. Lower --pred-iou-thresh or "
            "--stability-score-thresh, or use another --model, with another folder"
            + ("; nano knows drawn shapes, facebook/sam-vit-base photographs" if nano else "")
        )


def say(text: str) -> None:
    """Print, also names of files that are no text: stdout would refuse them, stderr does not."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def names_of_others(plan: Plan) -> list[str]:
    notes = map(load_note, (plan.output / NOTES).glob("*.json"))
    return sorted({note["name"] for note in notes if note} - plan.pictures.keys())


def listed(names: Sequence[str], most: int = FEW) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def join(plan: Plan, notes: dict[str, Note]) -> None:
    """Have every format that has one make its file for all pictures."""
    for format in plan.formats:
        if format.joined:
            parts = {
                name: format.path(plan.output, name)
                for name, note in notes.items()
                if plan.has(format, name, note)
            }
            plan.write(plan.output / format.joined, partial(format.finish, parts))


@contextmanager
def only_run(output: Path, group: mx.distributed.Group) -> Iterator[None]:
    """Raise ValueError where another run writes to the folder; remove what killed ones left."""
    first = group.rank() == 0  # holds the lock for all processes of this run
    with held(output / LOCK) if first else nullcontext(True) as mine:
        if sum_over_processes(not mine)[0]:
            raise ValueError(
                f"another run writes to {output} now; wait for its end or use another folder"
            )
        for leftover in output.glob(f"{PARTIAL}*") if first else ():
            shutil.rmtree(leftover, ignore_errors=True)
        wait_for_all_processes()
        yield


@contextmanager
def workspace_of(plan: Plan) -> Iterator[None]:
    plan.workspace.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(plan.workspace, ignore_errors=True)


def sum_over_processes(*counts: int) -> list[int]:
    """Each process waits here for the others' counts."""
    return cast("list[int]", mx.distributed.all_sum(mx.array(counts), stream=mx.cpu).tolist())


def wait_for_all_processes() -> None:
    """``mlx.launch`` ends them all when one exits with another code than 0, done or not."""
    sum_over_processes(0)


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
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(self.skipped.items()))
        plural = "s" if self.subfolders > 1 else ""
        folders = f"{self.subfolders} subfolder{plural} (--recursive takes them)"
        return [*([kinds] if kinds else []), *([folders] if self.subfolders else [])]

    def tell(self) -> None:
        if self.left_out:
            say(f"left out: {', '.join(self.left_out)}")


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


def picture_endings() -> set[str]:
    endings = Image.registered_extensions()
    return {e for e, form in endings.items() if form in Image.OPEN and form not in NO_PICTURES}


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


def check_formats(formats: Sequence[Format]) -> None:
    """Raise ValueError where two formats would have one name for any picture."""
    for a, b in combinations(formats, 2):
        if a.pattern == b.pattern:
            raise ValueError(
                f"--format {a.name} and {b.name} write files of the same names; choose one"
            )


def check_names(pictures: dict[str, Path], output: Path, formats: Sequence[Format]) -> None:
    """Raise ValueError where two results would have one name."""
    paths = Counter(format.path(output, name) for name in pictures for format in formats)
    paths.update(output / format.joined for format in formats if format.joined)
    path, times = paths.most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"two results would be called {path}; rename the picture, or write each of the formats "
            f"{', '.join(format.name for format in formats)} to a folder of its own"
        )


def check_strangers(pictures: dict[str, Path], output: Path, formats: Sequence[Format]) -> None:
    """Raise ValueError where a result would replace what is not of this command."""
    if (output / SETTINGS).exists():
        return
    paths = [format.path(output, name) for name in pictures for format in formats]
    paths += [output / format.joined for format in formats if format.joined]
    for path in paths:
        if os.path.exists(path):
            raise ValueError(f"{path} is not of this command; write to another folder")


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError where results of other settings are."""
    if not path.exists():
        return
    before = json.loads(path.read_text())
    changed = sorted(k for k in settings if before.get(k) != settings[k])
    if changed:
        listed = ", ".join(f"{k}={before.get(k)} (now {settings.get(k)})" for k in changed)
        raise ValueError(
            f"{path.parent} holds results made with {listed}; use another folder or delete it"
        )


def note_settings(plan: Plan, settings: dict[str, Any]) -> None:
    text = json.dumps(settings, indent=2) + "\n"
    plan.write(plan.output / SETTINGS, lambda name: Path(name).write_text(text))


class Bars:
    """Progress of pictures and of one picture's points; nothing where nobody looks."""

    def __init__(self, total: int, shown: bool):
        disable = None if shown else True  # None: only on a terminal
        self.outer = tqdm(total=total, unit="picture", disable=disable)
        self.inner = tqdm(unit="point", leave=False, position=1, disable=disable)

    def points(self, done: int, total: int) -> None:
        self.inner.total = total
        self.inner.update(done - self.inner.n)

    def images(self) -> None:
        self.outer.update()
        self.inner.reset()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self.inner.close()
        self.outer.close()
