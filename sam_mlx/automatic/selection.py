"""Which of the model's answers become records, without the model.

Answers of one image come in parts, crop after crop. Of each crop those stay that pass every
filter of their own and repeat no better one; of all crops together, those that repeat none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from ..machine.streams import on_cpu, spread
from ..masks import (
    box_area,
    compress_rle,
    decode_rle,
    encode_rle,
    nms,
    profile_boxes,
    record_of,
    remove_small_regions,
    rle_area,
    rle_box,
    run_lengths,
    stability_counts,
    stability_ratio,
    to_xywh,
)
from ..sam import Sam
from ..transforms import THIN, Band, preprocess_shape, upscaling
from .crops import near_crop_edge
from .options import GeneratorOptions
from .predictions import MaskPredictions

# Pixels at the image's size held at a time: 32 MB of logits. On x86, memory of larger buffers
# comes fresh from the system each time, at a page fault per 4 KB.
PIXELS_AT_ONCE = 8 << 20
# The same on a CPU: few masks stay near the caches, and together reach less of a large picture.
PIXELS_IN_CACHE = 1 << 20
THRESHOLD = Sam.mask_threshold
ROUNDING = 1e-3  # of logits; more than float32 has of any that are drawn


@dataclass(frozen=True)
class Candidates:
    """Masks that passed the thresholds, all arrays of one length N."""

    logits: mx.array  # (N, n, n) low-resolution masks of the crop
    points: np.ndarray  # (N, 2) x, y in the image
    predicted_iou: np.ndarray  # (N,)
    stability_score: np.ndarray  # (N,)
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, inclusive
    crop_boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, exclusive

    def take(self, index: np.ndarray) -> Candidates:
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self)[1:]}
        logits = self.logits[mx.array(index)]
        mx.eval(logits)  # or it would keep all the others alive
        return Candidates(logits, **arrays)

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Candidates)[1:]
        }
        return Candidates(mx.concatenate([part.logits for part in parts]), **arrays)


def select(parts: Iterable[MaskPredictions], options: GeneratorOptions) -> list[dict[str, Any]]:
    """Records from answers of one image that come in parts, crop after crop."""
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
        # What a smaller crop found is preferred.
        scores = np.float32(1) / box_area(kept.crop_boxes).astype(np.float32)
        kept = kept.take(nms(kept.boxes, scores, options.crop_nms_thresh))
    return records(kept, part, options)


def choose(
    found: Sequence[dict[str, Any]], options: GeneratorOptions
) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """Which of the records ``found`` stricter options keep: their indices, and those that cleaning
    small regions changed, by index.

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
    if options.min_mask_region_area <= 0 or not len(index):
        return index.tolist(), {}
    rles = [found[i]["segmentation"] for i in index]
    before = list(rles)
    threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
    corners = boxes[index]
    order = clean_regions(rles, corners, options.min_mask_region_area, threshold)
    changed = {
        int(index[i]): {
            **found[index[i]],
            "segmentation": rles[i],
            "area": rle_area(rles[i]),
            "bbox": to_xywh(corners[i]).tolist(),
        }
        for i in order
        if rles[i] is not before[i]
    }
    return index[order].tolist(), changed


def best_of(parts: list[Candidates], nms_thresh: float) -> list[Candidates]:
    """One crop's candidates without duplicates, best first; nothing of nothing."""
    if not parts:
        return []
    found = Candidates.join(parts)
    return [found.take(nms(found.boxes, found.predicted_iou, nms_thresh))]


def judge(part: MaskPredictions, index: np.ndarray, options: GeneratorOptions) -> Candidates:
    """Those of the answers ``index``, all of one crop, that pass every filter of their own."""
    crop_box = part.crop_boxes[part.crop[index[0]]]
    index = index[above(part.predicted_iou[index], options.pred_iou_thresh)]
    stability, boxes = measure_all(part, index, crop_box, options.stability_score_offset)

    keep = ~near_crop_edge(boxes, crop_box, part.image_size)
    if options.stability_score_thresh > 0:
        keep &= stability >= options.stability_score_thresh
    index = index[keep]
    logits = part.logits[mx.array(index)]
    mx.eval(logits)
    return Candidates(
        logits,
        part.points[index],
        part.predicted_iou[index],
        stability[keep],
        boxes[keep],
        np.repeat(crop_box[None], len(index), axis=0),
    )


def above(predicted_iou: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of scores above the threshold; as in the original, 0 and less let all pass."""
    if threshold <= 0:
        return np.arange(len(predicted_iou))
    return np.flatnonzero(predicted_iou > np.float32(threshold))


def measure_all(
    part: MaskPredictions, index: np.ndarray, crop_box: np.ndarray, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Stability scores (N,) and boxes (N, 4) in the image of the answers ``index`` of a crop."""
    x0, y0, x1, y1 = crop_box.tolist()
    rows, columns = bands(part, crop_box)
    # Of each a band of rows is alive, and in the end the sums along both sides.
    largest = max(len(rows[0][1]) * (x1 - x0), 4 * (y1 - y0))
    at_once = masks_at_once(largest)
    stability, boxes = [np.zeros(0, np.float32)], [np.zeros((0, 4), int)]
    for i in range(0, len(index), at_once):
        logits = part.logits[mx.array(index[i : i + at_once])]
        score, box = measure(logits, rows, columns, offset)
        stability.append(score)
        boxes.append(box + np.array([x0, y0, x0, y0]))
    return np.concatenate(stability), np.concatenate(boxes)


def masks_at_once(pixels: int) -> int:
    """How many masks, of that many pixels each, are worked on together."""
    most = min(PIXELS_AT_ONCE, PIXELS_IN_CACHE) if on_cpu() else PIXELS_AT_ONCE
    return max(1, most // pixels)


def measure(
    logits: mx.array, rows: list[Band], columns: list[Band], offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Stability scores (N,) and boxes (N, 4) of masks at the crop's size, strip by strip."""
    # A pixel is a mean of logits, up to rounding.
    work = where_they_reach(logits > THRESHOLD - abs(offset) - ROUNDING, rows, columns)

    def measured(row: int, index: np.ndarray, part: slice) -> tuple[mx.array, ...]:
        some = strip(logits[mx.array(index)], rows[row], columns, part)
        is_set = some > THRESHOLD
        counts = stability_counts(some, THRESHOLD, offset)
        return is_set.sum(axis=1), is_set.sum(axis=2), *counts

    strips = spread([partial(measured, *task) for task in work], evaluate=True)
    y, x = edges(rows), edges(columns)
    in_columns, in_rows = (np.zeros((len(logits), ends[-1]), np.int32) for ends in (x, y))
    inner, outer = (np.zeros(len(logits), np.int32) for _ in range(2))
    for (row, index, part), found in zip(work, strips):
        columns_set, rows_set, above, below = map(np.array, found)
        in_columns[index, x[part.start] : x[part.stop]] += columns_set
        in_rows[index, y[row] : y[row + 1]] = rows_set
        inner[index] += above
        outer[index] += below
    with mx.stream(mx.cpu):  # a GPU may round the ratio across the threshold
        scores = stability_ratio(mx.array(inner), mx.array(outer))
    return np.array(scores), profile_boxes(in_columns, in_rows)


def where_they_reach(
    above: mx.array, rows: list[Band], columns: list[Band]
) -> list[tuple[int, np.ndarray, slice]]:
    """Of each band of rows that a mask (N, n, n) is above in: its number, which masks these are,
    and the bands of columns from the first to the last that one of them is above in.
    """
    down, across = (np.array(above.any(axis=axis)) for axis in (2, 1))  # (N, n) each
    in_rows = [down[:, band].any(axis=1) for band, _ in rows]
    in_columns = np.stack([across[:, band].any(axis=1) for band, _ in columns])  # (bands, N)
    work = []
    for row, members in enumerate(in_rows):
        index = np.flatnonzero(members)
        reached = np.flatnonzero(in_columns[:, index].any(axis=1))
        if len(reached):
            work.append((row, index, slice(reached[0], reached[-1] + 1)))
    return work


def bands(part: MaskPredictions, crop_box: np.ndarray) -> tuple[list[Band], list[Band]]:
    """What brings low-resolution masks to the crop's rows and columns."""
    x0, y0, x1, y1 = crop_box.tolist()
    n, side = part.logits.shape[-1], part.model_size.item()
    size = y1 - y0, x1 - x0
    height, width = (side, side) if part.stretched else preprocess_shape(size, side)
    return upscaling(n, side, height, size[0]), upscaling(n, side, width, size[1])


def edges(bands: list[Band]) -> np.ndarray:
    """Where bands begin, in pixels, and at last where they end."""
    return np.cumsum([0, *(len(matrix) for _, matrix in bands)])


def strip(logits: mx.array, rows: Band, columns: list[Band], part: slice) -> mx.array:
    """One band of rows of masks (N, n, n) at full size, of the bands ``part`` of the columns:
    (N, h, w) float32.
    """
    band, matrix = rows
    x = logits[:, band].astype(mx.float32)
    if THIN * edges(columns)[-1] < x.shape[-1]:  # rows first would be many times more
        return matrix @ mx.concatenate([x[..., c] @ m.T for c, m in columns[part]], axis=-1)
    x = matrix @ x
    return mx.concatenate([x[..., c] @ m.T for c, m in columns[part]], axis=-1)


def records(
    kept: Candidates, part: MaskPredictions, options: GeneratorOptions
) -> list[dict[str, Any]]:
    """The records of candidates, all of which stay unless cleaning makes them repeat others."""
    rles, boxes = encode(kept, part)
    order = np.arange(len(rles))
    if options.min_mask_region_area > 0 and len(rles):
        threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
        order = clean_regions(rles, boxes, options.min_mask_region_area, threshold)
        rles = [rles[i] for i in order]
    return [
        record_of(
            rle,
            kept.predicted_iou[i],
            kept.stability_score[i],
            [kept.points[i].tolist()],
            box=boxes[i],
            crop_box=kept.crop_boxes[i],
        )
        | {"segmentation": segmentation}
        for i, rle, segmentation in zip(order, rles, in_mode(rles, options.output_mode))
    ]


def in_mode(rles: list[dict[str, Any]], output_mode: str) -> Sequence[Any]:
    if output_mode == "coco_rle":
        return compress_rle(rles)
    if output_mode == "binary_mask":
        return [decode_rle([rle])[0] for rle in rles]
    return rles


def encode(kept: Candidates, part: MaskPredictions) -> tuple[list[dict[str, Any]], np.ndarray]:
    """RLEs of the masks in the image, and their boxes (N, 4)."""
    H, W = part.image_size.tolist()
    rles: list[dict[str, Any]] = []
    for index in runs_of_equal_rows(kept.crop_boxes):
        x0, y0, *_ = kept.crop_boxes[index[0]].tolist()
        sides = bands(part, kept.crop_boxes[index[0]])
        boxes = kept.boxes[index] - (x0, y0, x0, y0)
        for some in in_memory(boxes):
            logits = kept.logits[mx.array(index[some])]
            for box, mask in zip(boxes[some].tolist(), cut(logits, boxes[some], *sides)):
                rles.append(run_lengths(mask, (box[1] + y0, box[0] + x0), (H, W)))
    return rles, kept.boxes.copy()


def in_memory(boxes: np.ndarray) -> list[np.ndarray]:
    """Indices of boxes, in parts of few pixels."""
    before = np.cumsum((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)) // PIXELS_AT_ONCE
    return np.split(np.arange(len(boxes)), np.flatnonzero(np.diff(before)) + 1)


def cut(
    logits: mx.array, boxes: np.ndarray, rows: list[Band], columns: list[Band]
) -> list[np.ndarray]:
    """Each mask within its box, inclusive, at the crop's size."""
    masks = [np.zeros((y1 - y0 + 1, x1 - x0 + 1), bool) for x0, y0, x1, y1 in boxes.tolist()]
    x, y = edges(columns), edges(rows)
    for row, start, end in zip(rows, y, y[1:]):
        index = np.flatnonzero((boxes[:, 1] < end) & (boxes[:, 3] >= start))
        at_once = masks_at_once((end - start) * x[-1])
        for i in range(0, len(index), at_once):
            some = index[i : i + at_once]
            reached = np.flatnonzero(
                (x[:-1] <= boxes[some, 2].max()) & (x[1:] > boxes[some, 0].min())
            )
            part = slice(reached[0], reached[-1] + 1)
            found = strip(logits[mx.array(some)], row, columns, part) > THRESHOLD
            for k, is_set in zip(some, np.array(found)):
                x0, y0, x1, y1 = boxes[k] - np.tile((x[part.start], start), 2)
                top, bottom = max(y0, 0), min(y1 + 1, end - start)
                masks[k][top - y0 : bottom - y0] = is_set[top:bottom, x0 : x1 + 1]
    return masks


def runs_of_equal_rows(table: np.ndarray) -> list[np.ndarray]:
    """Indices of a table's rows, split where a row differs from the one before.

    Masks of one crop stand together where there is only one suppression; the one between crops
    mixes them, and runs get short.
    """
    if len(table) == 0:
        return []
    starts = np.flatnonzero((np.diff(table, axis=0) != 0).any(axis=1)) + 1
    return np.split(np.arange(len(table)), starts)


def clean_regions(
    rles: list[dict[str, Any]], boxes: np.ndarray, min_area: float, nms_thresh: float
) -> np.ndarray:
    """Clean the masks in place (``masks.remove_small_regions``); returns which to keep, in order.

    A cleaned mask can repeat another: of two the untouched one is preferred
    (``postprocess_small_regions``).
    """
    untouched = np.ones(len(rles), np.float32)
    for i, rle in enumerate(rles):
        mask, filled = remove_small_regions(decode_rle([rle])[0], min_area, "holes")
        mask, dropped = remove_small_regions(mask, min_area, "islands")
        if filled or dropped:
            untouched[i] = 0
            rles[i] = encode_rle(mask[None])[0]
            boxes[i] = rle_box(rles[i])
    return nms(boxes, untouched, nms_thresh)
