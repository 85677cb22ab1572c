"""A whole fine-tuning: data, split, training, the model and a report, in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import yaml
from tqdm import tqdm

from ..checkpoints.files.writing import write_pth
from ..checkpoints.layouts import to_torch
from ..files import read_json, temporary_folder, whole_folder, write_json, write_whole
from ..machine.worker import Cancel
from ..modeling.image_encoder import ImageEncoderViT
from ..modeling.layers import as_float32, weights_of
from ..options import settings
from ..predictor import SamPredictor
from ..sam import Sam
from .data import LabelledPicture
from .evaluation import evaluate
from .examples import Example, examples_of
from .levels import DECODER, LEVELS, LoRA
from .options import TrainingOptions
from .report import curve, sheet, table
from .split import check_apart, described, split
from .state import LAST, LOG, Log
from .trainer import Report, Trainer
from .validation import MAX_OBJECTS, clicks

DRAWN = 5  # examples in examples.png
Say = Callable[[str], None]


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

    def sides(self) -> tuple[list[Example], list[Example]]:
        """Examples to train on, and for validation."""
        o = self.options
        if self.validation is None:
            found = split(self.pictures, o.min_area, o.crop, self.split_by)
        else:
            training = examples_of(self.pictures, o.min_area, o.crop)
            found = training, examples_of(self.validation, o.min_area, o.crop)
        if not all(found):
            raise ValueError(
                f"{len(found[0])} parts with objects are to train on and {len(found[1])} for "
                "validation; both need objects of --min-area pixels or more"
            )
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
    output = job.output
    LEVELS[job.options.train](job.model, job.options)
    if export_pth:
        check_exported(job.model)
    training, validation = job.sides()
    prepare(job, resume)
    before = remembered(output, "before.json", lambda: judged(job.model, validation, "before"))
    masks_before = drawn(job.model, fullest(validation))
    trainer = Trainer(job.model, training, validation, job.options, output / "state")
    if resume and (output / "state" / LAST).exists():
        trainer.resume()
    write_about(job, training, validation)
    say(f"{len(training)} parts with objects to train on, {len(validation)} for validation")
    trainer.run(report, cancel)
    after = judged(job.model, validation, "after")
    results = {
        "model": job.origin,
        "options": settings(job.options),
        "best_iteration": trainer.progress.best_iteration,
        "before": before,
        "after": after,
        "peak_memory_gb": round(mx.get_peak_memory() / 1e9, 3),
    }
    write_model(job, trainer, export_pth)
    write_report(job, results, masks_before, validation)
    return results


def prepare(job: Job, resume: bool) -> None:
    """Make the output folder. Raises FileExistsError where something else is there."""
    if job.output.exists() and not resume:
        raise FileExistsError(
            f"{job.output} already exists; --resume continues it, or choose another name"
        )
    (job.output / "state").mkdir(parents=True, exist_ok=True)


def remembered(output: Path, name: str, make: Callable[[], Any]) -> Any:
    """A value that is made once, and read when the training is resumed."""
    path = output / "state" / name
    if not path.exists():
        write_whole(path, partial(write_json, values=make(), indent=2))
    return read_json(path)


def judged(model: Sam, examples: Sequence[Example], when: str) -> dict[str, Any]:
    def progress(parts: Iterable[Example]) -> Iterable[Example]:
        return tqdm(parts, desc=f"evaluating {when}", total=len(examples), leave=False)

    return evaluate(model, examples, progress=progress)


def fullest(examples: Sequence[Example]) -> Sequence[Example]:
    """The examples with the most objects, which are drawn."""
    return sorted(examples, key=lambda e: -len(e.objects))[:DRAWN]


def drawn(model: Sam, examples: Sequence[Example]) -> list[np.ndarray]:
    """Each example's masks for one click on each of up to MAX_OBJECTS objects."""
    predictor, found = SamPredictor(model), []
    for example in examples:
        truths = example.masks(np.arange(min(len(example.objects), MAX_OBJECTS)))
        predictor.set_image(example.pixels())
        masks, scores, _ = predictor.predict_batch(clicks(truths).points, np.ones((len(truths), 1)))
        found.append(masks[np.arange(len(masks)), scores.argmax(axis=1)])
    return found


def write_about(job: Job, training: Sequence[Example], validation: Sequence[Example]) -> None:
    """``finetune.yaml``, to run it again, and ``split.json``."""
    values = {"model": job.origin, **(job.more or {}), **settings(job.options)}
    text = yaml.safe_dump(values, sort_keys=False)
    write_whole(job.output / "finetune.yaml", lambda name: Path(name).write_text(text))
    write_whole(
        job.output / "split.json",
        partial(write_json, values=described(training, validation), indent=2),
    )


def write_model(job: Job, trainer: Trainer, export_pth: bool) -> None:
    """The model's folder's files, and with LoRA peft's two beside them."""
    output = job.output
    with temporary_folder(output) as folder:
        job.model.save_pretrained(folder / "model")
        for file in (folder / "model").iterdir():
            file.replace(output / file.name)
    if isinstance(trainer.level, LoRA):
        write_adapter(job, trainer.level)
    if export_pth:
        export(job.model, output / "model.pth")


def write_adapter(job: Job, level: LoRA) -> None:
    """peft's two files, in ``adapter``: LoRA, and the decoder's weights whole."""
    options = job.options
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": job.origin,
        "r": options.lora_rank,
        "lora_alpha": options.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": ["qkv"],
        "modules_to_save": ["prompt_encoder", "mask_decoder"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    whole = to_torch(weights_of(job.model), job.model)
    tensors = level.adapter() | {
        f"base_model.model.{name}": w for name, w in whole.items() if name.startswith(DECODER)
    }
    with whole_folder(job.output / "adapter") as folder:
        write_json(folder / "adapter_config.json", config, indent=2)
        mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors, {"format": "pt"})


def check_exported(model: Sam) -> None:
    """Raise ValueError for encoders whose weights no longer have their original's layout."""
    if not isinstance(model.image_encoder, ImageEncoderViT):
        raise ValueError(
            "--export-pth writes ViT models: MobileSAM's layout has batch norms, which are folded "
            "into the weights here"
        )


def export(model: Sam, path: Path) -> None:
    """A ``.pth`` with Meta's names."""
    weights = to_torch(weights_of(model), model)
    write_pth(path, {name: as_float32(weight) for name, weight in weights.items()})


def write_report(
    job: Job, results: dict[str, Any], before: list[np.ndarray], validation: Sequence[Example]
) -> None:
    output = job.output
    write_whole(output / "report.json", partial(write_json, values=results, indent=2))
    columns = {"before": results["before"], "after": results["after"]}
    lines = [
        f"# {output.name}", "", f"{job.origin}, trained further: {job.options.train}, best after "
        f"{results['best_iteration']} steps.", "", table(columns), "",
    ]  # fmt: skip
    write_whole(output / "report.md", lambda name: Path(name).write_text("\n".join(lines)))
    curve(Log(output / "state" / LOG, job.options.iters).lines(), output / "curve.png")
    examples = fullest(validation)
    after = drawn(job.model, examples)
    rows = [
        (example, [old, new, example.masks(np.arange(len(example.objects)))])
        for example, old, new in zip(examples, before, after)
    ]
    sheet(rows, output / "examples.png")
