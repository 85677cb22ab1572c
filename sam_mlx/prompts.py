"""Prompts in pixels of the picture: checked, scaled to the input frame, and put together.

The label -1 has two meanings. Here, as in Meta's ``predict``, it is NOT_A_POINT, which has a
learned embedding. In exported files, as in Meta's ONNX export, it is an empty slot
(``export.graphs``). In the model itself, empty slots are labelled EMPTY, -2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike

from . import transforms
from .arrays import to_finite, to_numbers, to_numpy, to_rows
from .config import SamConfig
from .machine.streams import enter
from .modeling.prompt_encoder import BACKGROUND, EMPTY, FOREGROUND, NOT_A_POINT
from .options import check_flag

MAX_POINTS = 1024  # of one prompt; may be increased
Column = ArrayLike | Sequence[ArrayLike | None] | None  # one part of B prompts
# Point coordinates (B, N, 2) and labels (B, N), boxes (B, 4), masks (B, 1, n, n): what
# ``Sam.predict_masks`` takes.
Stacked = tuple[tuple[mx.array, mx.array] | None, mx.array | None, mx.array | None]


@dataclass(frozen=True)
class Prompt:
    """One prompt in the model's input frame; any of its parts may be missing."""

    points: tuple[np.ndarray, np.ndarray] | None  # (N, 2) x, y; (N,) labels
    box: np.ndarray | None  # (4,) x0, y0, x1, y1
    mask: np.ndarray | None  # (1, n, n) logits

    @property
    def kind(self) -> tuple[int, bool, bool]:
        """Which parts it has, and their lengths. Prompts of one kind can be stacked, with at most
        as many empty slots as points.
        """
        length = 0 if self.points is None else len(self.points[1]).bit_length()
        return length, self.box is not None, self.mask is not None


def is_ambiguous(
    point_coords: ArrayLike | None = None,
    point_labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
    mask_input: ArrayLike | None = None,
) -> bool:
    """Whether ``SamPredictor.predict`` should be asked for three masks: for a single point and
    nothing else, which may mean a part, an object or several. The original's advice is to choose
    among them by score.
    """
    alone = box is None and mask_input is None
    return alone and point_labels is not None and to_numpy(point_labels, "point_labels").size == 1


def check_prompt(
    coords: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask: ArrayLike | None,
    *,
    size: tuple[int, int],
    config: SamConfig,
) -> Prompt:
    """One prompt on a picture of ``size``; ValueError says what is wrong."""
    enter()  # its parts may be MLX arrays
    points, frame = None, transforms.input_size(size, config)
    if (coords is None) != (labels is None):
        raise ValueError("point_coords and point_labels go together: one of them is None")
    if coords is not None:
        coords, labels = check_points(coords, labels)
        points = transforms.scale_coords(coords, size, frame), labels
    if box is not None:
        corners = check_box(box).reshape(2, 2)
        box = transforms.scale_coords(corners, size, frame).reshape(4)
    if mask is not None:
        mask = check_mask(mask, config.mask_size)
    return Prompt(points, box, mask)


def check_prompts(
    point_coords: Column,
    point_labels: Column,
    boxes: Column,
    mask_inputs: Column,
    *,
    size: tuple[int, int],
    config: SamConfig,
) -> list[Prompt]:
    """B prompts: each part has B entries or is None; an entry of None means a prompt without that
    part.
    """
    each = each_prompt(point_coords, point_labels, boxes, mask_inputs)
    return [check_prompt(*prompt, size=size, config=config) for prompt in each]


def each_prompt(
    point_coords: Column, point_labels: Column, boxes: Column, mask_inputs: Column
) -> list[tuple[Any, ...]]:
    """The arguments of ``check_prompt`` for B prompts, from those of ``check_prompts``."""
    if (point_coords is None) != (point_labels is None):
        raise ValueError("point_coords and point_labels go together: one of them is None")
    parts: dict[str, Any] = {
        "point_coords": point_coords,
        "point_labels": point_labels,
        "boxes": boxes,
        "mask_inputs": mask_inputs,
    }
    enter()  # they may be MLX arrays
    parts = {name: part if part is None else to_rows(part, name) for name, part in parts.items()}
    sizes = {name: len(part) for name, part in parts.items() if part is not None}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"prompts differ in number: {sizes}; each needs one entry a prompt")
    B = next(iter(sizes.values()), 1)
    return list(zip(*([None] * B if part is None else part for part in parts.values())))


def check_points(coords: ArrayLike, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Point prompts as (N, 2) float64 and (N,) int32; ValueError says what is wrong."""
    coords, labels = to_numbers(coords, "point_coords"), to_numbers(labels, "point_labels")
    if coords.ndim != 2 or coords.shape[1] != 2 or len(coords) == 0:
        raise ValueError(
            f"point_coords has shape {coords.shape}; expected (N, 2), N >= 1: x, y in pixels of "
            "the original image"
        )
    if len(coords) > MAX_POINTS:
        raise ValueError(
            f"point_coords has {len(coords)} points; a prompt takes up to {MAX_POINTS}, for time "
            "and memory grow with their square. sam_mlx.prompts.MAX_POINTS is the limit"
        )
    if labels.shape != coords.shape[:1]:
        raise ValueError(
            f"point_labels has shape {labels.shape}; expected {coords.shape[:1]}, one a point"
        )
    labels = to_finite(labels, "point_labels")
    if not np.isin(labels, (NOT_A_POINT, BACKGROUND, FOREGROUND)).all():
        held = ", ".join(f"{label:g}" for label in np.unique(labels)[:9])
        raise ValueError(
            f"point_labels holds {held}; expected 1 (foreground), "
            "0 (background) or -1 (not a point)"
        )
    return to_finite(coords, "point_coords"), labels.astype(np.int32)


def check_box(box: ArrayLike) -> np.ndarray:
    """A box prompt, (4,) or (1, 4), as (4,) float64; ValueError says what is wrong."""
    box = to_numbers(box, "box")
    if box.ndim == 2 and box.shape[1] == 4 and len(box) != 1:
        raise ValueError(f"box has shape {box.shape}; predict_batch(boxes=...) takes several")
    if box.shape not in ((4,), (1, 4)):
        raise ValueError(f"box has shape {box.shape}; expected (4,): x0, y0, x1, y1 in pixels")
    box = to_finite(box, "box").reshape(4)
    if box[2] < box[0] or box[3] < box[1]:
        raise ValueError(f"box is {box.tolist()}; expected x0 <= x1 and y0 <= y1")
    return box


def check_mask(mask: ArrayLike, size: int) -> np.ndarray:
    """A mask prompt as (1, size, size) float32; ValueError says what is wrong."""
    mask = to_numbers(mask, "mask_input")
    if mask.shape != (1, size, size):
        raise ValueError(
            f"mask_input has shape {mask.shape}; expected {(1, size, size)}: one of the "
            "low-resolution logits that predict returns, as logits[i : i + 1]"
        )
    return to_finite(mask, "mask_input").astype(np.float32)


def check_flags(
    multimask_output: Any, return_logits: Any, hq_token_only: Any
) -> tuple[Any, bool, bool]:
    """The flags of ``SamPredictor.predict``. Raises ValueError for what is not one."""
    return (
        check_flag(multimask_output, "multimask_output"),
        bool(check_flag(return_logits, "return_logits")),
        bool(check_flag(hq_token_only, "hq_token_only")),
    )


def stack(prompts: Sequence[Prompt]) -> Stacked:
    """Prompts of one kind as arrays, shorter point lists filled up with empty slots."""
    points = [p.points for p in prompts if p.points is not None]
    boxes = [p.box for p in prompts if p.box is not None]
    masks = [p.mask for p in prompts if p.mask is not None]
    return (
        stack_points(points) if points else None,
        mx.array(np.stack(boxes).astype(np.float32)) if boxes else None,
        mx.array(np.stack(masks)) if masks else None,
    )


def stack_points(points: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[mx.array, mx.array]:
    """Prompts of different lengths as coords (B, N, 2) and labels (B, N), filled up with EMPTY."""
    longest = max(len(labels) for _, labels in points)
    coords = np.zeros((len(points), longest, 2), np.float32)
    labels = np.full((len(points), longest), EMPTY, np.int32)
    for i, (xy, label) in enumerate(points):
        coords[i, : len(label)], labels[i, : len(label)] = xy, label
    return mx.array(coords), mx.array(labels)
