"""Boxes of masks, and the suppression of boxes that repeat others."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike

from ..arrays import to_numbers
from ..machine.budget import budget
from ..machine.worker import where_held
from ..messages import short
from ..options import NUMBER
from .arrays import Array, check_masks
from .rle import Rle, rle_counts, rle_size


def mask_boxes(masks: Array) -> Array:
    """Boxes (N, 4) of masks (N, H, W); zeros for an empty mask (``batched_mask_to_box``)."""
    found: Any = check_masks(masks)
    return where_held(_boxes, found)(found)


def _boxes(masks: Any) -> Any:
    return profile_boxes(masks.any(axis=1), masks.any(axis=2))


def profile_boxes(columns: Any, rows: Any) -> Any:
    """Boxes (N, 4), int32, of masks that are set in these columns (N, W) and rows (N, H).

    columns, rows: bool, or counts of set pixels; in numpy or MLX, as the result is.
    """
    xp: Any = mx if isinstance(columns, mx.array) else np
    if len(columns) == 0:
        return xp.zeros((0, 4), dtype=xp.int32)
    (x0, x1), (y0, y1) = _ends(xp, columns > 0), _ends(xp, rows > 0)
    return xp.stack([x0, y0, x1, y1], axis=1)


def _ends(xp: Any, is_set: Any) -> tuple[Any, Any]:
    """The first and the last set entry of each row (N, L), in numpy or MLX; 0 where none is."""
    first, rest = (xp.argmax(line, axis=1).astype(xp.int32) for line in (is_set, is_set[:, ::-1]))
    return first, xp.where(is_set.any(axis=1), is_set.shape[1] - 1 - rest, 0)


def rle_box(rle: Rle) -> list[int]:
    """The box of one RLE, compressed or not, as ``mask_boxes`` gives it: nothing is decoded."""
    return _outermost(rle) or [0, 0, 0, 0]


def rle_bbox(rle: Rle) -> list[int]:
    """COCO's box of an RLE: x, y, and how many columns and rows it spans (``toBbox``)."""
    if (box := _outermost(rle)) is None:
        return [0, 0, 0, 0]
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def _outermost(rle: Rle) -> list[int] | None:
    """The outermost set pixels, x0, y0, x1, y1; None where no pixel is set."""
    height, _ = rle_size(rle)
    ends = np.cumsum(rle_counts(rle))
    first, last = ends[:-1:2], ends[1::2] - 1  # of each run of set pixels, column by column
    first, last = first[first <= last], last[first <= last]
    if len(first) == 0:
        return None
    x0, x1 = int(first[0]) // height, int(last[-1]) // height
    if (first // height != last // height).any():  # one that goes on in the next column
        return [x0, 0, x1, height - 1]
    return [x0, int((first % height).min()), x1, int((last % height).max())]


def _check_boxes(boxes: ArrayLike, axes: int | None = None) -> np.ndarray:
    """Boxes (..., 4), of so many axes. Raises ValueError for anything else."""
    found = to_numbers(boxes, "boxes")
    if found.shape[-1:] != (4,) or axes not in (None, found.ndim):
        raise ValueError(f"boxes has shape {found.shape}; expected (N, 4): x0, y0, x1, y1")
    return found


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4)."""
    boxes = _check_boxes(boxes, 2)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) from x0, y0, x1, y1 to x, y, width, height (``box_xyxy_to_xywh``)."""
    boxes = _check_boxes(boxes)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (N, M), float32, of boxes (N, 4) and (M, 4); NaN for two without area."""
    a, b = _check_boxes(a, 2), _check_boxes(b, 2)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return shared / (box_area(a)[:, None] + box_area(b)[None] - shared)


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes (N, 4) to keep, best score first; equal to ``torchvision.ops.nms``.

    A box goes when a kept one with a higher score, or an equal one and listed earlier, overlaps
    it by an IoU above ``threshold``. A box without area overlaps nothing, itself included.
    """
    if np.shape(boxes) != (len(scores), 4):
        raise ValueError(
            f"boxes have shape {np.shape(boxes)}; expected {(len(scores), 4)}, one a score"
        )
    if not NUMBER.fits(threshold):
        raise ValueError(f"threshold is {short(threshold)}; expected {NUMBER.words}")
    order = np.argsort(-to_numbers(scores, "scores").astype(np.float32), kind="stable")
    # In numpy: other devices do not round divisions as torchvision on a CPU does.
    boxes = to_numbers(boxes, "boxes").astype(np.float32)[order]
    kept = np.zeros(0, int)
    at_once = budget().boxes
    for start in range(0, len(boxes), at_once):
        block = np.arange(start, min(start + at_once, len(boxes)))
        free = np.ones(len(block), bool)
        for i in range(0, len(kept), at_once):
            overlaps = box_iou(boxes[kept[i : i + at_once]], boxes[block]) > float(threshold)
            free &= ~overlaps.any(axis=0)
        block = block[free]
        overlaps = np.triu(box_iou(boxes[block], boxes[block]) > float(threshold), k=1)
        keep = _greedy(overlaps)
        kept = np.concatenate([kept, block[keep]])
    return order[kept]


def _greedy(overlaps: np.ndarray) -> np.ndarray:
    """Whether each of N is kept, where one is dropped if a kept one before it overlaps it.

    Repeats "dropped by what is kept so far" until it holds: each round settles at least one more
    link of every chain of overlaps, and chains are short.
    """
    keep: np.ndarray = np.ones(len(overlaps), bool)
    while True:
        settled: np.ndarray = ~overlaps[keep].any(axis=0)
        if (settled == keep).all():
            return keep
        keep = settled
