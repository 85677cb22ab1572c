"""The state of a training on disk: written whole, and enough to go on with the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..files import parse_json, to_json, write_whole
from ..tensor_files import load_tagged, save_tagged

KIND = "TrainingState"
FIRST, LAST, BEST = "first.safetensors", "last.safetensors", "best.safetensors"
LOG = "log.jsonl"
Arrays = dict[str, mx.array]


@dataclass
class Progress:
    """What a training knows beside its arrays. All that is drawn follows from seed and step."""

    iteration: int = 0
    best: float = -1.0  # IoU
    best_iteration: int = 0
    without_gain: int = 0  # validations
    losses: list[float] = field(default_factory=list)  # since the last report


def save_state(
    path: Path, arrays: Mapping[str, mx.array], progress: Progress, made_from: str
) -> None:
    """made_from: the digest of data, model and options, without which a state is of no use."""

    def write(name: str, metadata: dict[str, str]) -> None:
        with open(name, "wb") as file:
            mx.save_safetensors(file, dict(arrays), metadata)

    texts = {"progress": to_json(asdict(progress)), "made_from": made_from}
    save_tagged(path, KIND, write, texts)


def load_state(path: Path, made_from: str) -> tuple[Arrays, Progress]:
    """Raises FileNotFoundError, or ValueError for the state of other data, options or models."""
    arrays, texts = load_tagged(
        path,
        KIND,
        "state of a training",
        lambda file: {name: file.tensor(name) for name in file.places},
    )
    if texts.get("made_from") != made_from:
        raise ValueError(
            f"{path.parent} is of a training with other data, options or another model: use the "
            "same ones, or another output folder"
        )
    return arrays, Progress(**parse_json(texts["progress"]))


class Log:
    """``log.jsonl``: a line for each report. Lines after the saved state are written again."""

    def __init__(self, path: Path, iteration: int):
        self.path = path
        kept = [line for line in self.lines() if line["iteration"] <= iteration]
        text = "".join(to_json(line) + "\n" for line in kept)
        write_whole(path, lambda name: Path(name).write_text(text))

    def lines(self) -> list[dict[str, Any]]:
        """Whole lines: the last may have been cut off."""
        text = self.path.read_text() if self.path.exists() else ""
        return [parse_json(line) for line in text.splitlines(keepends=True) if line[-1:] == "\n"]

    def write(self, **values: Any) -> None:
        with self.path.open("a") as file:
            file.write(to_json(values) + "\n")
