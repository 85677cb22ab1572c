"""Automatic masks of many files: ``sam-mlx auto``.

Results appear whole or not at all, and what is there is not made again, so that a run that was
stopped continues. Under ``mlx.launch`` every process takes its share of the files: the i-th picture
is always the same process's, whatever is done already, so that no two make one result.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from itertools import combinations
from os.path import commonpath
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from PIL import Image
from tqdm import tqdm

from .automatic.generator import SamAutomaticMaskGenerator
from .embedding import fingerprint
from .files import write_whole
from .formats import Format, Result
from .transforms import load_image

SETTINGS = ".settings.json"


def run(
    source: str,
    output: str | Path,
    formats: Sequence[Format],
    generator: Callable[[], SamAutomaticMaskGenerator],
    settings: dict[str, Any],
) -> int:
    """Segment every picture of ``source`` into the folder ``output``; returns the exit code.

    generator: called when there is work. settings: what the results depend on; a folder with
    results of other settings is refused. Returns 0, or 1 when some files could not be read.
    Raises ValueError, FileNotFoundError or NotADirectoryError before any work.
    """
    plan = make_plan(source, Path(output), formats, settings)
    with workspace_of(plan):
        failures = work(plan, generator) if plan.todo else {}
        failed = finish(plan, failures)
    return 1 if failed else 0


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    pictures: dict[str, Path]  # by the name of their results
    todo: dict[str, int]  # names of this process's pictures without results, and their numbers
    output: Path
    formats: Sequence[Format]
    settings: dict[str, Any]
    group: mx.distributed.Group

    @property
    def workspace(self) -> Path:
        """Where this process writes what is not whole yet."""
        return self.output / f".partial-{self.group.rank()}"

    def write(self, path: Path, write: Callable[[str], object]) -> None:
        write_whole(path, write, self.workspace)


def make_plan(
    source: str, output: Path, formats: Sequence[Format], settings: dict[str, Any]
) -> Plan:
    """Find the pictures and what is done already; nothing is written but the folder."""
    check_formats(formats)
    pictures = find_pictures(source)
    if output.resolve() in {path.parent.resolve() for path in pictures.values()}:
        raise ValueError(f"{output} holds the pictures themselves; write to another folder")
    check_names(pictures, output, formats)
    output.mkdir(parents=True, exist_ok=True)
    check_settings(output / SETTINGS, settings)
    group = mx.distributed.init()
    mine = {name: i for i, name in enumerate(pictures, 1) if i % group.size() == group.rank()}
    todo = {
        name: i
        for name, i in mine.items()
        if not all(format.path(output, name).exists() for format in formats)
    }
    return Plan(pictures, todo, output, formats, settings, group)


def work(plan: Plan, generator: Callable[[], SamAutomaticMaskGenerator]) -> dict[str, Exception]:
    """Make the results that are missing; returns why those are missing still that are."""
    model = generator()
    # The same name may stand for other weights by now.
    sam = model.predictor.model
    settings = {**plan.settings, "weights": fingerprint(sam.config, sam)}
    check_settings(plan.output / SETTINGS, settings)
    # Noted once all is known to fit, or a slip in the options would bar their correction.
    note_settings(plan, settings)
    failures: dict[str, Exception] = {}
    with Bars(len(plan.todo), shown=plan.group.rank() == 0) as bars:
        for name, number in plan.todo.items():
            try:
                image = load_image(plan.pictures[name])
            except (ValueError, OSError) as error:
                failures[name] = error
            else:
                records = model.generate(image, progress=bars.points)
                write_missing(plan, name, Result(plan.pictures[name].name, number, image, records))
            bars.images()
    return failures


def write_missing(plan: Plan, name: str, result: Result) -> None:
    for format in plan.formats:
        path = format.path(plan.output, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            plan.write(path, partial(format.write, result))


def finish(plan: Plan, failures: dict[str, Exception]) -> int:
    """Join what is made for all pictures, say what was done; returns how many failed."""
    for name, error in failures.items():
        text = " ".join(str(error).split())
        print(f"not read: {plan.pictures[name]}: {text}", file=sys.stderr)
    made, failed = sum_over_processes(len(plan.todo) - len(failures), len(failures))
    if plan.group.rank() == 0:
        join(plan)
        for leftover in plan.output.glob(".partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        there = len(plan.pictures) - made - failed
        print(
            f"{made} of {len(plan.pictures)} pictures segmented into {plan.output}"
            + (f", {there} were there already" if there else "")
            + (f", {failed} could not be read" if failed else "")
        )
    wait_for_all_processes()
    return failed


def join(plan: Plan) -> None:
    """Have every format that has one make its file for all pictures."""
    for format in plan.formats:
        if format.joined:
            paths = {name: format.path(plan.output, name) for name in plan.pictures}
            parts = {name: path for name, path in paths.items() if path.exists()}
            plan.write(plan.output / format.joined, partial(format.finish, parts))


@contextmanager
def workspace_of(plan: Plan) -> Iterator[None]:
    shutil.rmtree(plan.workspace, ignore_errors=True)
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


def find_pictures(source: str) -> dict[str, Path]:
    """The pictures that a file name, a folder or a glob stands for, by the name of their results.

    That is the path below the folder they share, without its ending where that is unambiguous.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        endings = Image.registered_extensions()
        files = [f for f in path.iterdir() if f.suffix.lower() in endings and f.is_file()]
    elif path.exists() or not has_magic(source):
        files = [path]
    else:
        files = [Path(f) for f in glob(str(path), recursive=True) if Path(f).is_file()]
    if not files:
        raise FileNotFoundError(f"no pictures: {source}")
    if len(files) == 1 and not files[0].exists():
        raise FileNotFoundError(f"no such picture, folder or glob: {source}")
    root = commonpath([f.parent for f in files])
    files = sorted(f.relative_to(root) for f in files)
    times = Counter(f.with_suffix("") for f in files)
    names = [str(f if times[f.with_suffix("")] > 1 else f.with_suffix("")) for f in files]
    return {name: root / f for name, f in zip(names, files)}


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
