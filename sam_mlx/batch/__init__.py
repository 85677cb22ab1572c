"""Automatic masks of many files: ``sam-mlx auto``.

Results appear whole or not at all, and existing ones are not made again, so that a run that was
stopped continues. Beside each picture's results lies a note of what they were made from: a result
belongs to a picture's content, not to its name. Under ``mlx.launch`` every process takes its share
of the files: the i-th picture always goes to the same process, whatever is done already, so that no
two make the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..files import output_folder
from ..formats import Format, apart
from .checks import (
    ADVICE,
    CHOSEN,
    check_formats,
    check_names,
    check_settings,
    check_strangers,
    leaves_open,
)
from .plan import ANSWERS, Plan, discard_all, rivals_in, see_what_is_done
from .processes import SETTINGS, folder_of_run, sum_over_processes, workspace_of
from .sources import find, named
from .stacks import check_channels, check_reader, pages_of
from .summary import finish, tell_of_sources
from .work import Generator, make_results, settings_of


def run(
    sources: str | Sequence[str],
    output: str | Path,
    formats: Sequence[Format],
    generator: Callable[[], Generator],
    settings: dict[str, Any],
    *,
    recursive: bool = False,
    verbose: bool = False,
    pages: Sequence[range] | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> int:
    """Segment every picture of ``sources`` into the folder ``output``; returns the exit code.

    generator: called when there is work. settings: what the results depend on; a folder with
    results of other settings is refused. Its "value_range", if any, goes to ``load_image``.
    recursive: pictures of subfolders too. verbose: count the masks of every picture. pages: of TIFF
    files with several, by default all, each a picture. overwrite: replace results of other
    settings. keep: write the model's answers too; where they are, thresholds may change, and choose
    again. Returns 0, or 1 when some pictures have no results or something could not be read.
    Raises ValueError or OSError before any work, OSError for a full disk.
    """
    output = output_folder(output)
    formats = apart(formats, rivals_in(output, formats))
    check_formats(formats)
    check_channels(settings.get("channels"))
    check_reader(pages)
    found = find([sources] if isinstance(sources, str) else sources, output, recursive)
    pictures, numbers = pages_of(named(found.files), pages)
    check_names(pictures, output, formats)
    check_strangers(pictures, output, formats)
    generator = cache(generator)
    kept = CHOSEN if (output / ANSWERS).exists() else frozenset()
    may_change = None if overwrite else kept
    changed = changes(output / SETTINGS, settings, may_change, generator)
    group = mx.distributed.init()
    with folder_of_run(output, group):
        is_other, asks_again = sum_over_processes(bool(changed), bool(changed - CHOSEN))
        with workspace_of(output) as workspace:
            plan = Plan(
                pictures, output, formats, settings, group, workspace, numbers, keep=keep,
                may_change=may_change,
            )  # fmt: skip
            if is_other:
                discard_all(plan, answers=bool(asks_again))
            see_what_is_done(plan)
            failures = make_results(plan, generator) if plan.todo else []
            failed = finish(plan, failures, verbose)
        if group.rank() == 0:
            tell_of_sources(found.left_out, found.unread)
    return 1 if failed or found.unread else 0


def changes(
    path: Path,
    settings: dict[str, Any],
    may_change: Container[str] | None,
    generator: Callable[[], Generator],
) -> set[str]:
    """``check_settings``, with the model's own thresholds where only these can decide."""
    changed = check_settings(path, settings, may_change, ADVICE)
    if changed or not leaves_open(path, settings):
        return changed
    return check_settings(path, {**settings, **settings_of(generator())}, may_change, ADVICE)
