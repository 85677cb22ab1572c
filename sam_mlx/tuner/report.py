"""What a training writes for people: tables, the curve, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import write_whole
from ..overlay import draw_overlay
from ..transforms import resize_image
from .examples import Example

MEANINGS = {
    "iou_click": "IoU of one click, mask chosen by score",
    "iou_best": "IoU of one click, best of three masks",
    "iou_box": "IoU of a box",
    "iou_3_clicks": "IoU after 3 clicks",
    "iou_8_clicks": "IoU after 8 clicks",
    "clicks_to_0.8": "clicks to IoU 0.8 (at most 8)",
    "clicks_to_0.9": "clicks to IoU 0.9 (at most 8)",
    "predicted_iou": "predicted IoU of one click",
    "score_error": "error of the predicted IoU",
    "AP50": "automatic masks: AP50",
    "mSA": "automatic masks: mean segmentation accuracy",
    "instances_AP50": "instances: AP50",
    "instances_mSA": "instances: mean segmentation accuracy",
}
COSTS = {"seconds": "seconds", "peak_memory_gb": "peak memory of MLX, GB"}
ORDER = list(MEANINGS)
TILE = 384  # pixels of the sides of pictures in examples.png


def table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of what ``evaluate`` found for several models, by their names."""
    first = next(iter(columns.values()))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    # A model may lack a decoder that another has.
    for name in sorted({n for found in columns.values() for n in found["means"]}, key=ORDER.index):
        cells = [cell(found, name) for found in columns.values()]
        lines.append(f"| {MEANINGS[name]} | {' | '.join(cells)} |")
    for name, meaning in COSTS.items():
        if all(name in found for found in columns.values()):
            cells = [f"{found[name]:.2f}" for found in columns.values()]
            lines.append(f"| {meaning} | {' | '.join(cells)} |")
    note = f"{first['objects']} objects in {first['pictures']} pictures or squares of them"
    if 0 < first["searched"] < first["pictures"]:
        note += f", automatic masks in {first['searched']}"
    return "\n".join([*lines, "", f"{note}; in brackets 95 % of resampled pictures."])


def cell(found: Mapping[str, Any], name: str) -> str:
    if name not in found["means"]:
        return ""
    value = f"{found['means'][name]:.3f}"
    if name not in found["intervals"]:
        return value
    low, high = found["intervals"][name]
    return f"{value} ({low:.3f} to {high:.3f})"


def thresholds_said(results: Mapping[str, Any]) -> str:
    """The thresholds with which a training's automatic masks were judged."""
    pairs = {name: results[name].get("thresholds") for name in ("before", "after")}
    said = [
        f"{name} {' and '.join(f'{value:g}' for value in pair.values())}"
        for name, pair in pairs.items()
        if pair  # evaluations of earlier versions have none
    ]
    return (
        "Automatic masks are found with the thresholds of predicted IoU and stability that do best "
        f"on these pictures: {', '.join(said)}. config.json has the latter, which every search "
        "with this model uses unless it is given others."
    )


def calibration_table(found: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| predicted IoU | actual IoU | objects |", "|---|---|---|"]
    lines += [f"| {e['predicted']:.3f} | {e['actual']:.3f} | {e['objects']} |" for e in found]
    return "\n".join(lines)


def curve(lines: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the log; returns False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    trained = [line for line in lines if "train_loss" in line]
    judged = [line for line in lines if "val_iou" in line]
    left.plot([x["iteration"] for x in trained], [x["train_loss"] for x in trained])
    left.set(xlabel="step", ylabel="loss of training")
    for name, label in (("click", "one click"), ("best", "best of three"), ("box", "box")):
        values = [x[f"val_iou_{name}"] for x in judged]
        right.plot([x["iteration"] for x in judged], values, marker=".", label=label)
    right.set(xlabel="step", ylabel="IoU, validation")
    right.legend()
    write_whole(path, lambda name: figure.savefig(name, dpi=120))
    return True


def sheet(rows: Sequence[tuple[Example, Sequence[np.ndarray]]], path: Path) -> None:
    """A row for each example: its pixels with masks (N, H, W) of several kinds, side by side."""
    height = len(rows) * TILE
    whole = Image.new("RGB", (TILE * max(len(kinds) for _, kinds in rows), height), (30, 30, 30))
    for i, (example, kinds) in enumerate(rows):
        x0, y0, x1, y1 = example.window
        scale = TILE / max(y1 - y0, x1 - x0)
        h, w = (max(1, round(side * scale)) for side in (y1 - y0, x1 - x0))
        pixels = example.pixels()[y0:y1, x0:x1]
        for j, masks in enumerate(kinds):
            drawn = np.asarray(draw_overlay(pixels, masks[:, y0:y1, x0:x1]))
            whole.paste(Image.fromarray(resize_image(drawn, (h, w))), (j * TILE, i * TILE))
    write_whole(path, whole.save)
