"""What a training leaves in its folder: the model in several forms, and what shows how good it is.

Files are made beside and renamed, so that a resumed training replaces those of an earlier end.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import yaml

from ..checkpoints.card import NAME, Origin
from ..checkpoints.layouts import to_torch
from ..checkpoints.save import WEIGHTS, write_card, write_checkpoint
from ..files import sha256, temporary_folder, write_json, write_whole
from ..modeling.layers import weights_of
from ..predictor import SamPredictor
from .examples import Example
from .levels import DECODER, LoRA
from .pth import export
from .report import calibration_table, curve, sheet, table, thresholds_said
from .split import described
from .state import FIRST, LOG, Log
from .trainer import Trainer
from .validation import MAX_OBJECTS, clicks

DRAWN = 5  # examples in examples.png


def write_about(
    output: Path,
    settings: dict[str, Any],
    training: Sequence[Example],
    validation: Sequence[Example],
) -> None:
    """``finetune.yaml``, to run it again, and ``split.json``."""
    text = yaml.safe_dump(settings, sort_keys=False)
    write_whole(output / "finetune.yaml", lambda name: Path(name).write_text(text))
    sides = described(training, validation)
    write_whole(output / "split.json", partial(write_json, values=sides, indent=2))


def write_model(output: Path, origin: str, trainer: Trainer, report: str, export_pth: bool) -> None:
    """The model's folder's files, and with LoRA peft's two in a folder beside them."""
    model = trainer.model
    with temporary_folder(output) as folder:
        write_checkpoint(folder, model, model.config)
        write_card(folder, output.name, model, model.config, origin_of(origin))
        digest = f"{WEIGHTS}: SHA-256 {sha256(folder / WEIGHTS)}"
        with (folder / "README.md").open("a", encoding="utf-8") as file:
            file.write(f"\n## Fine-tuning\n\n{report}\n{digest}\n")
        replace_files(folder, output)
    if isinstance(trainer.level, LoRA):
        with temporary_folder(output) as folder:
            write_adapter(folder, origin, trainer.level)
            replace_files(folder, output / "adapter")
    if export_pth:
        export(model, output / "model.pth")


def replace_files(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        file.replace(target / file.name)


def origin_of(name: str) -> Origin:
    """The repository that a model was loaded from, if it was one."""
    is_repository = re.fullmatch(f"{NAME}/{NAME}", name) and not Path(name).exists()
    return Origin(base_model=name if is_repository else None)


def write_adapter(folder: Path, origin: str, level: LoRA) -> None:
    """peft's two files: LoRA, and the decoder's weights whole."""
    options = level.options
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": origin,
        "r": options.lora_rank,
        "lora_alpha": options.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": ["qkv"],
        "modules_to_save": ["prompt_encoder", "mask_decoder"],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    whole = to_torch(weights_of(level.model), level.model)
    tensors = level.adapter() | {
        f"base_model.model.{name}": w for name, w in whole.items() if name.startswith(DECODER)
    }
    write_json(folder / "adapter_config.json", config, indent=2)
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), tensors, {"format": "pt"})


def write_report(
    output: Path,
    results: dict[str, Any],
    trainer: Trainer,
    validation: Sequence[Example],
    seconds: float,
) -> str:
    """The report in Markdown, which is returned, and JSON; the curve; the worst examples."""
    write_whole(output / "report.json", partial(write_json, values=results, indent=2))
    text = report_of(results, trainer, seconds)
    whole = f"# {output.name}\n\n{text}"
    write_whole(output / "report.md", lambda name: Path(name).write_text(whole))
    curve(Log(output / "state" / LOG, trainer.options.iters).lines(), output / "curve.png")
    examples = worst(results["after"], validation)
    after, trained = masks_of(trainer, examples), trainer.level.parameters
    trainer.use(FIRST)
    before = masks_of(trainer, examples)
    trainer.level.put(trained)
    rows = [
        (example, [old, new, example.masks(np.arange(len(example.objects)))])
        for example, old, new in zip(examples, before, after)
    ]
    sheet(rows, output / "examples.png")
    return text


def report_of(results: dict[str, Any], trainer: Trainer, seconds: float) -> str:
    machine = f"{platform.platform(terse=True)}, MLX {version('mlx')}"
    parts = [
        f"{results['model']}, trained further: {trainer.options.train}, best after "
        f"{results['best_iteration']} of at most {trainer.options.iters} steps. "
        f"{seconds / 60:.1f} minutes with both evaluations; peak memory "
        f"{results['peak_memory_gb']:.2f} GB; {machine}.",
        table({"before": results["before"], "after": results["after"]}),
        thresholds_said(results),
        *used_in_squares(trainer.options.crop),
        "How far the predicted IoU can be believed, after training:",
        calibration_table(results["after"]["calibration"]),
    ]
    if kept := results.get("kept"):
        share = results["share_of_trained_weights"]
        parts += [
            "What the model knew before, on pictures that were not trained on. Its weights are "
            f"{share} x the trained ones, and the rest those before:",
            table(kept),
        ]
    return "\n\n".join(parts) + "\n"


def used_in_squares(side: int | None) -> list[str]:
    """What use of a model that was trained on squares needs."""
    if side is None:
        return []
    return [
        f"It was trained and judged on squares of {side} pixels, and sees other pictures at "
        f"another scale: `sam-mlx auto --tile {side}` and `sam-mlx evaluate --crop {side}` show it "
        "windows of that size."
    ]


def worst(found: dict[str, Any], examples: Sequence[Example]) -> list[Example]:
    """The examples that the trained model answers worst."""
    order = np.argsort([each["iou_click"] for each in found["each"]], kind="stable")
    return [examples[i] for i in order[:DRAWN]]


def masks_of(trainer: Trainer, examples: Sequence[Example]) -> list[np.ndarray]:
    """Each example's masks for one click on each of up to MAX_OBJECTS objects."""
    predictor, found = SamPredictor(trainer.model), []
    for example in examples:
        truths = example.masks(np.arange(min(len(example.objects), MAX_OBJECTS)))
        predictor.set_image(example.pixels())
        masks, scores, _ = predictor.predict_batch(clicks(truths).points, np.ones((len(truths), 1)))
        found.append(masks[np.arange(len(masks)), scores.argmax(axis=1)])
    return found
