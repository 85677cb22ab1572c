"""How well a model answers one click and a box, on examples that are not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..masks import mask_boxes
from ..modeling.instance_decoder import MAPS
from ..modeling.prompt_encoder import EMPTY, FOREGROUND
from ..sam import Sam
from .examples import Example
from .instances import loss_of
from .prompts import Prompts, box_of
from .step import answer
from .targets import Frame, masks_of

MAX_OBJECTS = 16  # of an example


def validate(
    model: Sam,
    examples: Sequence[Example],
    features_of: Callable[[Example], mx.array],
    instances: bool = False,
) -> dict[str, float]:
    """Mean IoU over all objects: of one click, the mask that the model's score chooses and the best
    of three; of a box; and ``iou``, the mean of the first and the last, which is to rise.

    instances: also the mean Dice of the instance decoder's maps, which counts as a third.
    """
    found = [score(model, example, features_of(example)) for example in examples]
    means = {name: float(np.mean(np.concatenate([f[name] for f in found]))) for name in found[0]}
    judged = [means["iou_click"], means["iou_box"]]
    if instances:
        means["dice_maps"] = float(np.mean([maps_dice(model, e, features_of(e)) for e in examples]))
        judged.append(means["dice_maps"])
    return {"iou": sum(judged) / len(judged), **means}


def maps_dice(model: Sam, example: Example, features: mx.array) -> float:
    masks = example.masks(np.arange(len(example.objects)))
    loss = loss_of(model, features, masks, Frame(model.config, example.size))
    return 1 - float(np.array(loss)) / MAPS


def score(model: Sam, example: Example, features: mx.array) -> dict[str, np.ndarray]:
    """The IoU of each object that is asked about."""
    frame = Frame(model.config, example.size)
    return first_answers(asking(model, features, frame), truths_of(example, frame)).ious


Ask = Callable[..., tuple[mx.array, np.ndarray, np.ndarray]]


def asking(model: Sam, features: mx.array, frame: Frame) -> Ask:
    """A function from prompts, a slice of the outputs, and logits of earlier masks or None, to
    these outputs' logits (B, M, n, n), masks (B, M, H, W) and predicted IoU (B, M).
    """
    image_pe = model.prompt_encoder.get_dense_pe()

    def ask(
        prompts: Prompts, outputs: slice, masks: mx.array | None = None
    ) -> tuple[mx.array, np.ndarray, np.ndarray]:
        logits, predicted = answer(model, features, image_pe, prompts, frame, masks)
        found = np.array(frame.enlarge(logits[:, outputs]) > Sam.mask_threshold)
        return logits[:, outputs], found, np.array(predicted[:, outputs])

    return ask


@dataclass(frozen=True)
class FirstAnswers:
    """Answers to one click on each of B objects, of which the score chooses one, and to a box."""

    logits: mx.array  # (B, 1, n, n), of the chosen ones
    masks: np.ndarray  # (B, H, W)
    predicted: np.ndarray  # (B,), their predicted IoU
    ious: dict[str, np.ndarray]  # (B,) each: of the chosen one, the best of three, the box


def first_answers(ask: Ask, truths: np.ndarray) -> FirstAnswers:
    logits, masks, predicted = ask(clicks(truths), slice(1, None))
    each, best = np.arange(len(truths)), predicted.argmax(axis=1)
    three = iou_of(masks, truths[:, None])
    box = iou_of(ask(boxes(truths), slice(0, 1))[1][:, 0], truths)
    chosen = mx.take_along_axis(logits, mx.array(best)[:, None, None, None], axis=1)
    ious = {"iou_click": three[each, best], "iou_best": three.max(axis=1), "iou_box": box}
    return FirstAnswers(chosen, masks[each, best], predicted[each, best], ious)


def truths_of(example: Example, frame: Frame) -> np.ndarray:
    """Up to MAX_OBJECTS of an example's objects, the same each time, (B, H, W)."""
    rng = np.random.default_rng(int(example.digest[:16], 16))
    index = np.sort(rng.permutation(len(example.objects))[:MAX_OBJECTS])
    masks = masks_of([example.objects[i] for i in index], frame)
    return masks[masks.any(axis=(1, 2))]


def iou_of(masks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """IoU over the last two axes."""
    overlap, union = (
        (f(masks, truths)).sum(axis=(-2, -1)) for f in (np.logical_and, np.logical_or)
    )
    return np.asarray(overlap / np.maximum(union, 1), np.float64)


def clicks(truths: np.ndarray) -> Prompts:
    """A point well inside each of the truths (B, H, W)."""
    points = np.stack([inner_pixel(truth) for truth in truths])
    return Prompts(
        points[:, None], np.full((len(truths), 1), FOREGROUND), np.full((len(truths), 4), np.nan)
    )


def boxes(truths: np.ndarray) -> Prompts:
    found = np.asarray(mask_boxes(truths), float)
    return Prompts(np.zeros((len(truths), 1, 2)), np.full((len(truths), 1), EMPTY), found)


def inner_pixel(mask: np.ndarray) -> np.ndarray:
    """x and y of the set pixel that is farthest from unset ones along its row and its column."""
    x0, y0, x1, y1 = box_of(mask).astype(int)
    part = mask[y0 : y1 + 1, x0 : x1 + 1]
    inside = np.minimum(to_edge(part), to_edge(part.T).T)
    y, x = np.unravel_index(int(inside.argmax()), part.shape)
    return np.array([x + x0, y + y0], float)


def to_edge(mask: np.ndarray) -> np.ndarray:
    """How far each set pixel is from the nearest unset one of its row, (H, W); unset ones 0."""
    place = np.arange(mask.shape[1])
    before = np.maximum.accumulate(np.where(mask, -1, place), axis=1)
    after = np.minimum.accumulate(np.where(mask, mask.shape[1], place)[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(place - before, after - place)
