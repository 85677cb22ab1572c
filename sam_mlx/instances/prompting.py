"""Instances from prompts that the maps give: micro-sam's "apg", automatic prompt generation.

Original: ``AutomaticPromptGenerator`` and ``util.apply_nms`` of micro-sam. Each seed gives one
point, the farthest from its edge. The model's masks for these points are freed of repetitions, the
best first, and painted, the largest first, each where nothing is yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from typing import Any

import mlx.core as mx
import numpy as np

from ..decoding import decode_prompts
from ..embedding import ImageEmbedding
from ..full_size import Grid
from ..machine.worker import at_work
from ..prompts import check_prompts
from ..sam import Sam
from ..strips import cut, measure
from .maps import InstanceMaps, Instances, Score, described, needed
from .options import InstanceOptions
from .otsu import thresholds
from .watershed import numbered

STABILITY_OFFSET = 1.0
BOX_MARGIN = 0.01  # of a box's sides, by which it is larger as a prompt


@dataclass(frozen=True)
class Found:
    """Masks for N prompts, each within its box."""

    masks: list[np.ndarray]  # (h, w) bool
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1, inclusive
    predicted_iou: np.ndarray  # (N,)
    stability: np.ndarray  # (N,)

    @staticmethod
    def join(parts: list[Found]) -> Found:
        """All of several parts, in order."""
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Found)[1:]
        }
        return Found(list(chain.from_iterable(part.masks for part in parts)), **arrays)

    @property
    def areas(self) -> np.ndarray:
        """Pixels of each mask, (N,)."""
        return np.array([np.count_nonzero(mask) for mask in self.masks], int)


def prompted(
    model: Sam,
    maps: InstanceMaps,
    options: InstanceOptions,
    report: Callable[[int, int], None],
    pause: Callable[[], None],
) -> Instances:
    """Instances from the masks of points. report: called with the prompts done and all.

    A record has the scores and the point of the prompt that its mask was made for.
    """
    points, _ = inner_points(maps, options)
    found = answers(model, maps.embedding, options, points, report, pause)
    kept = without_repetitions(found, options)
    labels, source = painted(found, kept, maps.foreground.shape, options)

    def score(label: int, box: tuple[slice, slice], mask: np.ndarray) -> Score:
        i = source[label - 1]
        return float(found.predicted_iou[i]), float(found.stability[i]), points[i].tolist()

    return described(labels, options.output_mode, score)


def inner_points(
    maps: InstanceMaps, options: InstanceOptions, edges: Sequence[bool] = (True,) * 4
) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """The pixel of each seed that is farthest from its edge, and from the picture's: x, y, (N, 2);
    and the seeds' boxes.

    edges: which of left, top, right and bottom of the maps are the picture's. The original takes
    the distances in tiles of 512, which can move points in larger pictures.
    """
    ndimage, segmentation = needed()
    is_seed = maps.center_distances < options.center_distance_threshold
    is_seed &= maps.boundary_distances < options.boundary_distance_threshold
    is_seed &= maps.foreground >= options.foreground_threshold
    seeds, _ = ndimage.label(is_seed)
    free = ~segmentation.find_boundaries(seeds, mode="outer")
    for is_edge, line in zip(edges, (free[:, 0], free[0], free[:, -1], free[-1])):
        line[:] &= not is_edge
    distances = ndimage.distance_transform_edt(free)
    points, boxes = [], ndimage.find_objects(seeds)
    for i, box in enumerate(boxes, 1):
        inner = np.where(seeds[box] == i, distances[box], 0)
        y, x = np.unravel_index(inner.argmax(), inner.shape)
        points.append((x + box[1].start, y + box[0].start))
    return np.array(points, float).reshape(-1, 2), boxes


def answers(
    model: Sam,
    embedding: ImageEmbedding,
    options: InstanceOptions,
    points: np.ndarray,
    report: Callable[[int, int], None] = lambda done, total: None,
    pause: Callable[[], None] = lambda: None,
) -> Found:
    """The model's masks for points (N, 2), one each."""
    asking = partial(ask, model, embedding, options, report, pause)
    found = asking(points=points[:, None])
    if options.refine_with_box_prompts and len(points):
        found = asking(boxes=larger(found, embedding.original_size))
    return found


def ask(
    model: Sam,
    embedding: ImageEmbedding,
    options: InstanceOptions,
    report: Callable[[int, int], None],
    pause: Callable[[], None],
    points: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> Found:
    """The model's masks for points (N, 1, 2) or boxes (N, 4)."""
    labels = None if points is None else np.ones(points.shape[:2], int)
    size, config = embedding.original_size, model.config
    prompts = check_prompts(points, labels, boxes, None, size=size, config=config)
    parts = [Found([], np.zeros((0, 4), int), np.zeros(0), np.zeros(0))]
    for i in range(0, len(prompts), options.batch_size):
        pause()
        some = prompts[i : i + options.batch_size]
        parts.append(_masks(model, embedding, options, *_decoded(model, embedding, options, some)))
        report(min(i + options.batch_size, len(prompts)), len(prompts))
    return Found.join(parts)


@at_work
def _decoded(
    model: Sam, embedding: ImageEmbedding, options: InstanceOptions, prompts: list[Any]
) -> tuple[mx.array, np.ndarray]:
    """Logits (N, n, n) and predicted IoU (N,): of several masks the one with the highest."""
    features = embedding.named_features
    logits, iou = decode_prompts(model, features, prompts, options.multimasking)
    scores = np.array(iou.astype(mx.float32))
    best = scores.argmax(axis=1)
    logits = mx.take_along_axis(logits, mx.array(best)[:, None, None, None], axis=1)[:, 0]
    mx.eval(logits)
    return logits, scores.max(axis=1)


def _masks(
    model: Sam,
    embedding: ImageEmbedding,
    options: InstanceOptions,
    logits: mx.array,
    predicted_iou: np.ndarray,
) -> Found:
    threshold = options.mask_threshold
    if isinstance(threshold, str):  # "auto"
        logits, threshold = above_their_own(logits), 0.0
    sizes = embedding.input_size, embedding.original_size
    grid = Grid.of(logits.shape[-1], *sizes, model.config.image_size)
    index = np.arange(len(predicted_iou))
    stability, boxes = measure(logits, index, grid, threshold, STABILITY_OFFSET)
    masks = list(cut(logits, index, boxes, grid, threshold))
    return Found(masks, boxes, predicted_iou, stability)


@at_work
def above_their_own(logits: mx.array) -> mx.array:
    """Logits (N, n, n) less the threshold that each finds for itself."""
    logits = logits.astype(mx.float32)
    moved = logits - mx.array(thresholds(np.array(logits)))[:, None, None]
    mx.eval(moved)
    return moved


def larger(found: Found, size: tuple[int, int]) -> np.ndarray:
    """The boxes of masks with a margin, as prompts (N, 4), within the picture.

    The original keeps x within the picture's height.
    """
    height, width = size
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    margin = np.concatenate([-sides, sides], axis=1) * BOX_MARGIN
    return np.clip(found.boxes + margin, 0, [width, height, width, height])


def without_repetitions(found: Found, options: InstanceOptions) -> list[int]:
    """Indices of the masks that stay, best first: large enough, and no repetition of a better."""
    areas = found.areas
    large = areas > options.smallest if options.smallest > 0 else np.ones(len(areas), bool)
    order = np.argsort(-found.predicted_iou * found.stability, kind="stable")
    left = [int(i) for i in order if large[i]]
    kept = []
    while left:
        best, *rest = left
        kept.append(best)
        near = overlapping(found.boxes[best], found.boxes[rest])
        left = [
            i
            for i, is_near in zip(rest, near)
            if not is_near or overlap(found, areas, best, i, options) <= options.nms_threshold
        ]
    return kept


def overlapping(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether boxes (N, 4) share more than a row or a column with a box: (N,)."""
    low = np.maximum(box[:2], boxes[:, :2])
    return (np.minimum(box[2:], boxes[:, 2:]) > low).all(axis=1)


def overlap(found: Found, areas: np.ndarray, i: int, j: int, options: InstanceOptions) -> float:
    """The intersection of two masks whose boxes overlap, of their union or the smaller one."""
    low = np.maximum(found.boxes[i, :2], found.boxes[j, :2])
    high = np.minimum(found.boxes[i, 2:], found.boxes[j, 2:]) + 1
    a, b = (part(found, k, low, high) for k in (i, j))
    common = np.count_nonzero(a & b)
    if options.intersection_over_min:
        return common / max(min(areas[i], areas[j]), 1)
    return common / max(areas[i] + areas[j] - common, 1)


def part(found: Found, i: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A mask from ``low`` to ``high``, both x, y in the picture and within its box."""
    (x0, y0), (x1, y1) = low - found.boxes[i, :2], high - found.boxes[i, :2]
    return found.masks[i][y0:y1, x0:x1]


def connected(canvas: np.ndarray) -> np.ndarray:
    """The connected parts of equal values above 0, numbered; corners do not connect."""
    from skimage.measure import label

    parts: np.ndarray = label(canvas, connectivity=1)
    return parts


def painted(
    found: Found, kept: list[int], shape: tuple[int, ...], options: InstanceOptions
) -> tuple[np.ndarray, list[int]]:
    """Labels (H, W) of what is left of each mask when larger ones go first, each connected part an
    instance of its own; and the index of the mask that each is of.
    """
    areas = found.areas
    canvas = np.zeros(shape, np.int32)
    order = sorted(kept, key=lambda i: -areas[i])
    for number, i in enumerate(order, 1):
        x0, y0, x1, y1 = found.boxes[i].tolist()
        under = canvas[y0 : y1 + 1, x0 : x1 + 1]
        under[found.masks[i] & (under == 0)] = number
    labels = numbered(connected(canvas), options.smallest)
    present, first = np.unique(labels, return_index=True)
    numbers = canvas.ravel()[first[present > 0]]
    return labels, [order[number - 1] for number in numbers]
