"""One run a folder, shared by the processes of ``mlx.launch``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import cast

import mlx.core as mx

from ..files import make_folder, temporary_folder
from ..locks import held

LOCK = ".lock"
SETTINGS = ".settings.json"
SOURCE = "source.json"  # what a large picture's tiles are of


@contextmanager
def folder_of_run(output: Path, group: mx.distributed.Group) -> Iterator[None]:
    """The output folder, made if it is missing, for this run alone.

    A run that ends without any result, for whatever reason, leaves all as it was.
    """
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    make_folder(output)
    known = None if (output / SETTINGS).exists() else set(output.rglob("*"))
    try:
        with only_run(output, group):
            try:
                yield
            finally:
                if group.rank() == 0 and known is not None:
                    remove_notes(set(output.rglob("*")) - known - {output / LOCK})
    finally:
        for folder in made:
            with suppress(OSError):  # where there are results
                folder.rmdir()


def remove_notes(new: set[Path]) -> None:
    """Remove what a run has noted in its folder, if it made nothing else."""
    if any(path.name not in (SETTINGS, SOURCE) for path in new if not path.is_dir()):
        return
    for path in sorted(new, reverse=True):  # what is in a folder comes before it
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def only_run(output: Path, group: mx.distributed.Group) -> Iterator[None]:
    """Raise ValueError where another run writes to the folder."""
    first = group.rank() == 0  # holds the lock for all processes of this run
    with held(output / LOCK) if first else nullcontext(True) as mine:
        if sum_over_processes(not mine)[0]:
            if not first:  # the first reports it for all
                raise SystemExit(2)
            raise ValueError(
                f"another run writes to {output} now; wait for its end or use another folder"
            )
        wait_for_all_processes()
        yield


@contextmanager
def workspace_of(output: Path) -> Iterator[Path]:
    """A folder for unfinished results. Raises OSError once the output folder is gone."""
    with temporary_folder(output) as workspace:
        try:
            yield workspace
        except OSError as error:
            if os.path.isdir(workspace):
                raise
            raise OSError(
                f"{output} is gone, and with it what was made; the same command makes it again"
            ) from error


def sum_over_processes(*counts: int) -> list[int]:
    """Each process waits here for the others' counts."""
    return cast("list[int]", mx.distributed.all_sum(mx.array(counts), stream=mx.cpu).tolist())


def wait_for_all_processes() -> None:
    """``mlx.launch`` ends them all when one exits with a code other than 0, done or not."""
    sum_over_processes(0)
