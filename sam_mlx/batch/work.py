"""Make the results that are missing."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..automatic.generator import SamAutomaticMaskGenerator
from ..automatic.options import DEFAULTS, OF_MODEL
from ..automatic.predictions import MaskPredictions
from ..embedding import fingerprint
from ..formats import KEYED, Result
from ..instances.segmenter import InstanceSegmenter
from ..masks import Record
from ..messages import lacks_memory, one_line
from ..modeling.layers import weights_of
from ..terminal import say
from .checks import ADVICE, CHOSEN, OF_THE_MODEL, check_settings
from .plan import (
    Note,
    Plan,
    answers_path,
    digest,
    discard,
    discard_all,
    number_of,
    traits,
    write_note,
)
from .processes import SETTINGS
from .stacks import load_page

KEPT_IOU = 0.5  # answers up to this predicted IoU are not kept: nobody asks for them
Generator = SamAutomaticMaskGenerator | InstanceSegmenter


@dataclass(frozen=True)
class Failure:
    name: str
    what: str  # "read", "written", or "segmented" where memory ran out
    error: Exception


def make_results(plan: Plan, generator: Callable[[], Generator]) -> list[Failure]:
    """Make the missing results; returns why some are still missing."""
    model = generator()
    plan.remarks.extend(remarks_of(model))
    if isinstance(model, InstanceSegmenter):
        plan.thresholds[:] = ["--foreground-threshold"]
    # The same name may mean other weights by now.
    settings = {**plan.settings, **settings_of(model)}
    if isinstance(model, SamAutomaticMaskGenerator):
        tell_own_thresholds(plan, model)
    elif plan.keep:
        raise ValueError("--keep is for --mode amg: an instance decoder has no answers to points")
    # Of several processes, one may have noted them already.
    may_change = plan.may_change if plan.group.size() == 1 else ()
    if changed := check_settings(plan.output / SETTINGS, settings, may_change, ADVICE):
        discard_all(plan, answers=bool(changed - CHOSEN))
        plan.todo[:] = plan.pictures
    # Noted once everything is known to fit, or a slip in the options would prevent correcting it.
    own = [name for name in OF_MODEL if name not in plan.settings]
    plan.write_json(plan.output / SETTINGS, {**settings, OF_THE_MODEL: own})
    failures: list[Failure] = []
    with Bars(len(plan.todo), shown=plan.group.rank() == 0) as bars:
        for name in plan.todo:
            try:
                failure = segment(plan, model, name, bars)
            except OSError:  # other pictures would fail too
                tell_of_failures(plan, failures)
                raise
            if failure:
                failures.append(failure)
            bars.images()
    return failures


def settings_of(model: Generator) -> dict[str, Any]:
    """What results depend on that is known with the model: its weights, its own thresholds."""
    sam = model.predictor.model
    settings: dict[str, Any] = {"weights": fingerprint(sam.config, weights_of(sam))}
    if isinstance(model, SamAutomaticMaskGenerator):
        settings |= {name: getattr(model, name) for name in OF_MODEL}
    return settings


def remarks_of(model: Generator) -> list[str]:
    """What a summary says of how masks were found, where that is not with a grid of points."""
    if isinstance(model, InstanceSegmenter):
        return [f"mode {model.options.mode}, by the model's instance decoder"]
    return []


def tell_own_thresholds(plan: Plan, model: SamAutomaticMaskGenerator) -> None:
    """Have the summary say which thresholds are neither the user's nor Meta's."""
    own = {n: getattr(model, n) for n in OF_MODEL if n not in plan.settings}
    own = {n: value for n, value in own.items() if value != getattr(DEFAULTS, n)}
    if own:
        flags = " ".join(f"--{n.replace('_', '-')} {value}" for n, value in own.items())
        plan.remarks.append(f"the model's own thresholds: {flags}")


def tell_of_failures(plan: Plan, failures: Sequence[Failure]) -> None:
    for failure in failures:
        path = plan.pictures[failure.name]
        say(f"not {failure.what}: {path}: {one_line(failure.error)}", error=True)


def segment(plan: Plan, model: Generator, name: str, bars: Bars) -> Failure | None:
    """Make one picture's results; returns why there are none."""
    try:
        return _segment(plan, model, name, bars)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return Failure(name, "segmented", error)


def _segment(plan: Plan, model: Generator, name: str, bars: Bars) -> Failure | None:
    path = plan.pictures[name]
    note = plan.current(name)
    try:
        if note is None:
            discard(plan, name)
    except OSError as error:
        return Failure(name, "written", error)
    try:
        # Before it is read: the next run sees any change from here on.
        note = note or {"name": name, "formats": [], **traits(path), "sha256": digest(path)}
        channels, value_range = (plan.settings.get(key) for key in ("channels", "value_range"))
        value_range = value_range or model.predictor.model.config.value_range
        image = load_page(path, plan.pages.get(name, 0), channels, value_range)
    except (ValueError, OSError) as error:
        return Failure(name, "read", error)
    records = records_of(plan, model, name, note["sha256"], image, bars)
    note["masks"] = len(records)
    try:
        result = Result(plan.file_name(name), number_of(name), image, records)
        write_missing(plan, name, result, note)
    except (ValueError, OSError) as error:
        refuse_lost_disk(plan, error)
        return Failure(name, "written", error)
    return None


def records_of(
    plan: Plan, model: Generator, name: str, sha256: str, image: np.ndarray, bars: Bars
) -> list[Record]:
    """Everything in a picture, chosen from answers that are kept if there are any."""
    path = answers_path(plan, name, sha256)
    if isinstance(model, SamAutomaticMaskGenerator):
        with suppress(FileNotFoundError, ValueError):  # or fewer are kept than are asked for
            return model.select(MaskPredictions.load(path))
        if plan.keep:
            answers = model.predict(image, min(KEPT_IOU, model.pred_iou_thresh), bars.points)
            path.parent.mkdir(exist_ok=True)
            plan.write(path, answers.save)
            return model.select(answers)
    return model.generate(image, progress=bars.points)


def refuse_lost_disk(plan: Plan, error: Exception) -> None:
    """Raise OSError where other pictures would fail too."""
    if not os.path.isdir(plan.workspace):
        raise error
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
        make_folders(plan, path)
        if path.is_dir():  # files are replaced once the new ones are whole
            format.remove(Path(os.path.realpath(path)))
        plan.write(path, partial(format.write, result))
        # An earlier run's format may have had the same path: then its result is gone.
        others = [n for n in note["formats"] if format.pattern != KEYED[n].pattern]
        note["formats"] = sorted([*others, format.key])
        write_note(plan, name, note)


def make_folders(plan: Plan, path: Path) -> None:
    """Make the folders of a result. Raises OSError if the output folder is gone: it stays gone."""
    if not os.path.isdir(plan.workspace):
        raise FileNotFoundError(f"{plan.output} is gone")
    path.parent.mkdir(parents=True, exist_ok=True)


class Bars:
    """Progress of pictures and of one picture's points; shown only on a terminal."""

    def __init__(self, total: int, shown: bool):
        disable = None if shown and sys.stderr else True  # None: only on a terminal
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
