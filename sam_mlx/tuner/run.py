"""A whole fine-tuning: data, split, training, the model and a report, in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from tqdm import tqdm

from ..files import read_json, write_json, write_whole
from ..machine.worker import Cancel
from ..options import settings
from ..sam import Sam
from .data import LabelledPicture
from .evaluation import evaluate
from .examples import Example, examples_of
from .instances import with_new_decoder
from .levels import LEVELS
from .options import TrainingOptions
from .outputs import write_about, write_model, write_report
from .pth import check_exported
from .ranges import ranged
from .split import (
    advice,
    check_apart,
    check_sides,
    diameter_in_picture,
    median_diameter,
    split,
)
from .state import LAST
from .trainer import Report, Trainer

Say = Callable[[str], None]
SEARCHED = 6  # examples in which automatic masks are made: a minute each, for some models


@dataclass(frozen=True)
class Job:
    """What is fine-tuned, on what, and where it goes."""

    model: Sam
    origin: str  # what the model was loaded from
    pictures: Sequence[LabelledPicture]
    output: Path
    options: TrainingOptions
    validation: Sequence[LabelledPicture] | None = None  # where the user splits
    split_by: str | None = None
    more: dict[str, Any] | None = None  # other settings, for ``finetune.yaml``
    keep: Sequence[LabelledPicture] = ()  # of what the model knew before

    def sides(self) -> tuple[list[Example], list[Example]]:
        """Examples to train on, and for validation. Raises ValueError where they are of no use."""
        o = self.options
        if self.validation is None:
            found = split(self.pictures, o.min_area, o.crop, self.split_by)
        else:
            training = examples_of(self.pictures, o.min_area, o.crop)
            found = training, examples_of(self.validation, o.min_area, o.crop)
        check_sides(*found, self.model.config, o.min_area)
        check_apart(*found)
        return found

    def kept(self) -> tuple[list[Example], list[Example]]:
        """The same of what the model is to keep: every fifth file, or the right of pictures."""
        if not self.keep:
            return [], []
        found = split(self.keep, self.options.min_area, None)
        check_apart(*found)
        return found


def finetune(
    job: Job,
    *,
    resume: bool = False,
    export_pth: bool = False,
    say: Say = lambda line: None,
    report: Report = lambda line: None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Train, then write the best model and what shows how good it is; returns the report.

    The folder of ``job.output`` must be new, or with ``resume`` hold the state of the same
    training. Raises FileExistsError, FileNotFoundError; ValueError before anything is computed
    where the data do not fit; RuntimeError if the loss becomes NaN or infinite.
    """
    start, output = time.monotonic(), job.output
    if job.options.instances:
        job = replace(job, model=with_new_decoder(job.model, job.options.seed))
    LEVELS[job.options.train](job.model, job.options)
    if export_pth:
        check_exported(job.model)
    job = with_range(job, say)
    (training, validation), kept = job.sides(), job.kept()
    prepare(job, resume)
    trainer = Trainer(job.model, training, validation, job.options, output / "state", kept)
    if resume and (output / "state" / LAST).exists():
        trainer.resume()
    write_about(output, described(job), training, validation)
    for line in about(job, training, validation):
        say(line)
    apart = {"validation": validation, "kept": kept[1]}
    before = remembered(output, "before.json", lambda: judged(job.model, apart, "before"))
    trainer.run(report, cancel)
    after = judged(job.model, apart, "after")
    # Searches with the trained model use the thresholds of its report.
    job.model.config = replace(job.model.config, **after["validation"]["thresholds"])
    results = {
        "model": job.origin,
        "options": settings(job.options),
        "best_iteration": trainer.progress.best_iteration,
        "before": before["validation"],
        "after": after["validation"],
        "peak_memory_gb": round(mx.get_peak_memory() / 1e9, 3),
    }
    if kept[1]:
        results["share_of_trained_weights"] = trainer.share
        results["kept"] = {"before": before["kept"], "after": after["kept"]}
    text = write_report(output, results, trainer, validation, time.monotonic() - start)
    write_model(output, job.origin, trainer, text, export_pth)
    return results


def with_range(job: Job, say: Say) -> Job:
    """The job with its 16-bit pictures read by a range that is found where they need one. The
    model's config has it from then on, so that later use reads pictures as training did.
    """
    pictures, found = ranged(job.pictures, job.model.config.value_range)
    if found is None:
        return job
    job.model.config = replace(job.model.config, value_range=found)
    say(
        f"16-bit samples are read from {found[0]:g}, black, to {found[1]:g}, white, here and by "
        "the trained model; --value-range LOW HIGH gives another range"
    )
    held = job.validation and [one.with_range(found) for one in job.validation]
    return replace(job, pictures=pictures, validation=held)


def check_output(output: Path, resume: bool) -> None:
    """Raise FileExistsError where something else is there."""
    if output.exists() and not resume:
        raise FileExistsError(
            f"{output} already exists; --resume continues it, or choose another name"
        )


def prepare(job: Job, resume: bool) -> None:
    """Make the output folder. Raises FileExistsError where something else is there."""
    check_output(job.output, resume)
    (job.output / "state").mkdir(parents=True, exist_ok=True)


def described(job: Job) -> dict[str, Any]:
    """What ``finetune.yaml`` holds, to run it again."""
    return {"model": job.origin, **(job.more or {}), **settings(job.options)}


def about(job: Job, training: Sequence[Example], validation: Sequence[Example]) -> Iterable[str]:
    yield f"{len(training)} parts with objects to train on, {len(validation)} for validation"
    files = len({one.path for one in job.pictures})
    if job.validation is None and files <= 2 and len(job.pictures) <= 2:
        yield (
            f"{len(job.pictures)} pictures in all: what is for validation is beside what is "
            "trained on, so figures say little about other pictures; --validation DATA gives some"
        )
    sizes = median_diameter(training, job.model.config), diameter_in_picture(training)
    if said := advice(*sizes, job.model.config):
        yield said


def remembered(output: Path, name: str, make: Callable[[], Any]) -> Any:
    """A value that is made once, and read when the training is resumed."""
    path = output / "state" / name
    if not path.exists():
        write_whole(path, partial(write_json, values=make(), indent=2))
    return read_json(path)


def judged(model: Sam, sides: dict[str, list[Example]], when: str) -> dict[str, Any]:
    """What ``evaluate`` finds: everything in some examples, and prompts alone in what is kept."""

    def progress(parts: Iterable[Example]) -> Iterable[Example]:
        return tqdm(parts, desc=f"evaluating {when}", leave=False)

    return {
        side: evaluate(
            model,
            examples,
            side == "validation",
            progress=progress,
            most_searched=SEARCHED,
            choose=True,
        )
        for side, examples in sides.items()
        if examples
    }
