"""The choice among the model's answers: which of them become records. The model is not asked.

Answers of one image come in parts, crop after crop. In each crop, masks stay that pass the filters
for a single mask and do not repeat a better one; then the same between crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx
import numpy as np

from ..machine.worker import at_work, checkpoint
from ..masks import (
    Record,
    Rle,
    box_area,
    clean_rle,
    compress_rle,
    decode_rle,
    nms,
    record_of,
    rle_box,
    run_lengths,
    with_mask,
)
from ..sam import Sam
from ..strips import cut, measure
from .crops import near_crop_edge
from .options import GeneratorOptions
from .predictions import MaskPredictions

THRESHOLD = Sam.mask_threshold
Pause = Callable[[], None]


@dataclass(frozen=True)
class Candidates:
    """Masks that passed the thresholds, all arrays of the same length N."""

    logits: mx.array  # (N, n, n) low-resolution masks of the crop
    points: np.ndarray  # (N, 2) x, y in the image
    predicted_iou: np.ndarray  # (N,)
    stability_score: np.ndarray  # (N,)
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, inclusive
    crop_boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, exclusive

    def take(self, index: np.ndarray) -> Candidates:
        """Those at these indices, or where a bool array (N,) is set."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self)[1:]}
        return Candidates(some_of(self.logits, index), **arrays)

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        """All of several parts, in order."""
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Candidates)[1:]
        }
        return Candidates(all_of([part.logits for part in parts]), **arrays)


@at_work
def some_of(logits: mx.array, index: np.ndarray) -> mx.array:
    """Evaluated, or the result would keep all the others alive."""
    some = logits[mx.array(index)]
    mx.eval(some)
    return some


@at_work
def all_of(logits: list[mx.array]) -> mx.array:
    """Logits (N, n, n) of all parts."""
    return mx.concatenate(logits)


def select(
    parts: Iterable[MaskPredictions], options: GeneratorOptions, pause: Pause = checkpoint
) -> list[Record]:
    """Records from answers of one image that come in parts, crop after crop.

    pause: called between the steps of the work; an exception from it ends the work.
    """
    finished: list[Candidates] = []
    found: list[Candidates] = []
    crop = 0
    for part in parts:
        for k in np.unique(part.crop):
            if k != crop:
                finished += best_of(found, options.box_nms_thresh)
                crop, found = k, []
            found.append(judge(part, np.flatnonzero(part.crop == k), options))
    finished += best_of(found, options.box_nms_thresh)
    if not finished:
        return []
    kept = Candidates.join(finished)
    if len(part.crop_boxes) > 1:
        # Masks from smaller crops are preferred.
        scores = np.float32(1) / box_area(kept.crop_boxes).astype(np.float32)
        kept = kept.take(nms(kept.boxes, scores, options.crop_nms_thresh))
    return records(kept, part, options, pause)


def choose(
    found: Sequence[Record], options: GeneratorOptions
) -> tuple[list[int], dict[int, Record]]:
    """The indices of the records ``found`` that stricter options keep, and the records, by index,
    that cleaning of small regions changed.

    found: what ``select`` gives, as RLE, of one crop, with ``box_nms_thresh=1`` and lower
    thresholds; the masks and their order are then those that ``select`` gives with the options.
    """
    scores, stability = (
        np.array([r[name] for r in found], np.float32)
        for name in ("predicted_iou", "stability_score")
    )
    boxes = np.array([r["bbox"] for r in found], int).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    index = above(scores, options.pred_iou_thresh)
    if options.stability_score_thresh > 0:
        index = index[stability[index] >= np.float32(options.stability_score_thresh)]
    index = index[nms(boxes[index], scores[index], options.box_nms_thresh)]
    rles = [found[i]["segmentation"] for i in index]
    before = list(rles)
    order = clean(rles, boxes[index], options)
    changed = {
        int(index[i]): with_mask(found[index[i]], rles[i])
        for i in order
        if rles[i] is not before[i]
    }
    return index[order].tolist(), changed


def best_of(parts: list[Candidates], nms_thresh: float) -> list[Candidates]:
    """The candidates of one crop without duplicates, best first; none if there are no parts."""
    if not parts:
        return []
    found = Candidates.join(parts)
    return [found.take(nms(found.boxes, found.predicted_iou, nms_thresh))]


def judge(part: MaskPredictions, index: np.ndarray, options: GeneratorOptions) -> Candidates:
    """Those of the answers ``index``, all of one crop, that pass the filters for a single mask."""
    crop_box = part.crop_boxes[part.crop[index[0]]]
    index = index[above(part.predicted_iou[index], options.pred_iou_thresh)]
    grid, offset = part.grid(crop_box), options.stability_score_offset
    stability, boxes = measure(part.logits, index, grid, THRESHOLD, offset)
    boxes = boxes + crop_box[[0, 1, 0, 1]]

    keep = ~near_crop_edge(boxes, crop_box, part.image_size)
    if options.stability_score_thresh > 0:
        keep &= stability >= options.stability_score_thresh
    index = index[keep]
    return Candidates(
        some_of(part.logits, index),
        part.points[index],
        part.predicted_iou[index],
        stability[keep],
        boxes[keep],
        np.repeat(crop_box[None], len(index), axis=0),
    )


def above(predicted_iou: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of scores above the threshold; as in the original, 0 or less lets all pass."""
    if threshold <= 0:
        return np.arange(len(predicted_iou))
    return np.flatnonzero(predicted_iou > np.float32(threshold))


def records(
    kept: Candidates, part: MaskPredictions, options: GeneratorOptions, pause: Pause
) -> list[Record]:
    """The records of all candidates except those that repeat others once cleaned."""
    rles, boxes = encode(kept, part, pause)
    order = clean(rles, boxes, options, pause)
    rles = [rles[i] for i in order]
    found = [
        record_of(
            rle,
            kept.predicted_iou[i],
            kept.stability_score[i],
            [kept.points[i].tolist()],
            box=boxes[i],
            crop_box=kept.crop_boxes[i],
        )
        for i, rle in zip(order, rles)
    ]
    for record, segmentation in zip(found, in_mode(rles, options.output_mode)):
        record["segmentation"] = segmentation
    return found


def in_mode(rles: list[Rle], output_mode: str) -> Sequence[Any]:
    """Masks of run lengths in the form of ``output_mode``."""
    if output_mode == "coco_rle":
        return compress_rle(rles)
    if output_mode == "binary_mask":
        return [decode_rle([rle])[0] for rle in rles]
    return rles


def encode(kept: Candidates, part: MaskPredictions, pause: Pause) -> tuple[list[Rle], np.ndarray]:
    """RLEs of the masks in the image, and their boxes (N, 4)."""
    H, W = part.image_size.tolist()
    rles: list[Rle] = []
    for index in runs_of_equal_rows(kept.crop_boxes):
        crop_box = kept.crop_boxes[index[0]]
        boxes = kept.boxes[index] - crop_box[[0, 1, 0, 1]]
        masks = cut(kept.logits, index, boxes, part.grid(crop_box), THRESHOLD)
        corners = kept.boxes[index, 1::-1].tolist()  # y, x
        for mask, (y, x) in zip(masks, corners):
            rles.append(run_lengths(mask, (y, x), (H, W)))
            pause()
    return rles, kept.boxes.copy()


def runs_of_equal_rows(table: np.ndarray) -> list[np.ndarray]:
    """Indices of a table's rows, split where a row differs from the one before.

    Masks of one crop stay together as long as there is only one suppression; the one between crops
    mixes them, and runs become short.
    """
    if len(table) == 0:
        return []
    starts = np.flatnonzero((np.diff(table, axis=0) != 0).any(axis=1)) + 1
    return np.split(np.arange(len(table)), starts)


def clean(
    rles: list[Rle], boxes: np.ndarray, options: GeneratorOptions, pause: Pause = checkpoint
) -> np.ndarray:
    """``clean_regions`` where the options ask for it; otherwise all stay as they are."""
    if options.min_mask_region_area <= 0 or not rles:
        return np.arange(len(rles))
    threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
    return clean_regions(rles, boxes, options.min_mask_region_area, threshold, pause)


def clean_regions(
    rles: list[Rle],
    boxes: np.ndarray,
    min_area: float,
    nms_thresh: float,
    pause: Pause = checkpoint,
) -> np.ndarray:
    """Clean masks (``masks.clean_rle``), with their boxes (N, 4), in place; returns the indices of
    those to keep, in order.

    A cleaned mask can repeat another: the untouched one of the two is preferred
    (``postprocess_small_regions``).
    """
    untouched = np.ones(len(rles), np.float32)
    for i, rle in enumerate(rles):
        rles[i] = clean_rle(rle, min_area)
        if rles[i] is not rle:
            untouched[i], boxes[i] = 0, rle_box(rles[i])
        pause()
    return nms(boxes, untouched, nms_thresh)
