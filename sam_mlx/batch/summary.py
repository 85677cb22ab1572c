"""The files for all pictures, and what is reported at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..terminal import say
from .plan import NOTES, Note, Plan, load_note
from .processes import sum_over_processes, wait_for_all_processes
from .work import Failure, tell_of_failures

MAX_LISTED = 10  # pictures whose masks are counted one by one


def finish(plan: Plan, failures: Sequence[Failure], verbose: bool) -> int:
    """Join what is made for all pictures, and report what was done; returns how many failed."""
    tell_of_failures(plan, failures)
    failed = {failure.name for failure in failures}
    counts = sum_over_processes(
        len(plan.todo) - len(failed),
        len(plan.changed - failed),
        sum(failure.what == "read" for failure in failures),
        sum(failure.what == "written" for failure in failures),
        sum(failure.what == "segmented" for failure in failures),
    )
    if plan.group.rank() == 0:
        notes = {name: note for name in plan.pictures if (note := plan.current(name))}
        join(plan, notes)
        tell(plan, counts, notes, verbose)
    wait_for_all_processes()
    return sum(counts[2:])


def tell(plan: Plan, counts: Sequence[int], notes: dict[str, Note], verbose: bool) -> None:
    """Report what was done, what was found, and what to do if nothing was."""
    made, again, unread, unwritten, too_large = counts
    there = len(plan.pictures) - made - unread - unwritten - too_large
    say(
        f"{made} of {len(plan.pictures)} pictures segmented into {plan.output}"
        + (f", {again} made again, for their pictures have changed" if again else "")
        + (f", {there} were there already" if there else "")
        + (f", {unread} could not be read" if unread else "")
        + (f", {unwritten} could not be written" if unwritten else "")
        + (f", {too_large} did not fit into memory" if too_large else "")
    )
    for remark in plan.remarks:
        say(remark)
    masks = {name: note["masks"] for name, note in notes.items()}
    if masks:
        each = f": {', '.join(f'{n} {k}' for n, k in masks.items())}"
        each = each if verbose or len(masks) <= MAX_LISTED else ""
        say(f"{sum(masks.values())} masks in all{each}")
    tell_of_none(plan, [name for name, count in masks.items() if count == 0])
    gone = names_of_others(plan)
    if gone:
        say(f"also in {plan.output}, of pictures that are not in this run: {listed(gone)}")


def tell_of_sources(left_out: Sequence[str], unread: Mapping[Path, str]) -> None:
    """Report which files and folders were left out, and why."""
    if left_out:
        say(f"left out: {', '.join(left_out)}")
    for path, why in unread.items():
        say(f"not read: {path}: {why}", error=True)
    if unread:
        say(f"{len(unread)} files and folders could not be read, and are named above")


def tell_of_none(plan: Plan, names: Sequence[str]) -> None:
    if names:
        nano = plan.settings.get("model") == "nano"
        lower = " or ".join(plan.thresholds)
        say(
            f"no mask in {len(names)} of them: {listed(names)}. Lower {lower}, or use another "
            "--model, with --overwrite"
            + ("; nano knows drawn shapes, vit_b photographs" if nano else "")
        )


def names_of_others(plan: Plan) -> list[str]:
    notes = map(load_note, (plan.output / NOTES).glob("*.json"))
    return sorted({note["name"] for note in notes if note} - plan.pictures.keys())


def listed(names: Sequence[str], most: int = MAX_LISTED) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def join(plan: Plan, notes: dict[str, Note]) -> None:
    """Have every format that has a file for all pictures make it."""
    for format in plan.formats:
        if format.joined:
            parts = {
                name: format.path(plan.output, name)
                for name, note in notes.items()
                if plan.has(format, name, note)
            }
            plan.write(plan.output / format.joined, partial(format.finish, parts))
