"""How well a model does on labelled pictures: prompts, corrective clicks, automatic masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np

from ..automatic.generator import SamAutomaticMaskGenerator
from ..automatic.options import thresholds_of
from ..embedding import ImageEmbedding
from ..instances.segmenter import InstanceSegmenter, has_decoder
from ..masks import Record, decode_rle
from ..predictor import SamPredictor
from ..sam import Sam
from .examples import Example
from .matches import Found, Matches, average_precision, ious_with, segmentation_accuracy
from .prompts import Prompts
from .targets import Frame
from .thresholds import LOW, Candidates, Thresholds, best_thresholds
from .validation import asking, clicks, first_answers, inner_pixel, iou_of, truths_of

CLICKS = 8  # in all, of which the first is well inside the object
GOALS = (0.8, 0.9)  # IoU, for the number of clicks to it
Search = SamAutomaticMaskGenerator | InstanceSegmenter
RESAMPLES = 1000  # of pictures, for intervals
POINTS_PER_SIDE = 32  # of automatic masks, as ``SamAutomaticMaskGenerator`` has it


@dataclass(frozen=True)
class Scores:
    """What one example gives: an array with a value for each object, by measure."""

    prompts: dict[str, np.ndarray]
    searches: dict[str, Matches]  # by what the names of their measures begin with
    candidates: Candidates | None = None  # for automatic masks, where their thresholds are chosen

    def with_thresholds(self, thresholds: Thresholds) -> Scores:
        if self.candidates is None:
            return self
        searches = self.searches | {"": self.candidates.matches(thresholds)}
        return replace(self, searches=searches, candidates=None)


def evaluate(
    model: Sam,
    examples: Sequence[Example],
    automatic: bool = True,
    points_per_side: int = POINTS_PER_SIDE,
    progress: Callable[[Iterable[Example]], Iterable[Example]] = iter,
    most_searched: int | None = None,
    choose: bool = False,
) -> dict[str, Any]:
    """Means over all objects of the examples, and 95 % intervals by drawing pictures again.

    Of prompts (up to 16 objects of an example): ``iou_click``, the mask that the score chooses of
    three for one click, ``iou_best``, the best of them; ``iou_box``; ``iou_3_clicks`` and
    ``iou_8_clicks``, each click where the mask before is wrong; ``clicks_to_0.8``, ``_0.9``, at
    most 8; ``predicted_iou`` of the chosen masks, ``score_error``, how far it is off. Of automatic
    masks: ``AP50`` (COCO's average precision at IoU 0.5) and ``mSA`` (mean over IoU 0.5 to 0.95 of
    TP / (TP + FP + FN)); the same of instances where the model has a decoder for them.

    Everything is searched for in as many of the examples as ``most_searched`` says, at most.
    Automatic masks are with the model's own thresholds or, with ``choose``, with the pair that has
    the best mSA on these examples; ``thresholds`` says which. ``calibration`` puts objects together
    by their predicted IoU, ``each`` has one click's IoU by example.
    """
    predictor = SamPredictor(model)
    searches = searches_of(model, points_per_side, choose) if automatic else {}
    count = min(len(examples), len(examples) if most_searched is None else most_searched)
    chosen = set(np.linspace(0, len(examples) - 1, count).round().astype(int).tolist())
    found = [
        scores(predictor, searches if i in chosen else {}, example, choose)
        for i, example in enumerate(progress(examples))
    ]
    thresholds = thresholds_of(model.config)
    if candidates := [one.candidates for one in found if one.candidates]:
        thresholds = best_thresholds(candidates, model.config)
        found = [one.with_thresholds(thresholds) for one in found]
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(found), size=len(found)) for _ in range(RESAMPLES)]
    means = summary(found)
    again = [summary([found[i] for i in index]) for index in drawn] if len(found) > 1 else []
    intervals = {
        name: np.percentile(values, (2.5, 97.5)).round(4).tolist()
        for name in means
        if (values := [one[name] for one in again if name in one])
    }
    return {
        "pictures": len(examples),
        "searched": len(chosen) if automatic else 0,
        "objects": sum(len(one.prompts["iou_click"]) for one in found),
        "means": {name: round(value, 4) for name, value in means.items()},
        "intervals": intervals,
        "thresholds": thresholds,
        "calibration": calibration(found),
        "each": [
            {"name": example.name, "iou_click": round(float(one.prompts["iou_click"].mean()), 4)}
            for example, one in zip(examples, found)
        ],
    }


def searches_of(model: Sam, points_per_side: int, choose: bool) -> dict[str, Search]:
    """Ways to find everything: automatic masks, and instances where there is a decoder."""
    options = LOW if choose else {}
    searches: dict[str, Search] = {
        "": SamAutomaticMaskGenerator(model, points_per_side=points_per_side, **options)
    }
    if has_decoder(model):
        searches["instances_"] = InstanceSegmenter(model)
    return searches


def scores(
    predictor: SamPredictor, searches: dict[str, Search], example: Example, choose: bool
) -> Scores:
    embedding = predictor.embed(example.pixels())
    frame = Frame(predictor.model.config, example.size)
    found = prompted(predictor.model, embedding.features, truths_of(example, frame), frame)
    masks = {kind: searched(each, embedding, example) for kind, each in searches.items()}
    matches = {kind: each.found.matches() for kind, each in masks.items()}
    return Scores(found, matches, masks.get("") if choose else None)


def searched(search: Search, embedding: ImageEmbedding, example: Example) -> Candidates:
    """What a search finds in an example; of a part of a picture, not what lies beside it."""
    records = within(search, example).generate(embedding)
    if example.whole:
        x0, y0, x1, y1 = example.window
        masks = map(mask_of, records)
        inside = [2 * mask[y0:y1, x0:x1].sum() > mask.sum() for mask in masks]
        records = [record for record, is_inside in zip(records, inside) if is_inside]
    scores = np.array([record["predicted_iou"] for record in records])
    ious = ious_with(map(mask_of, records), decode_rle(list(example.objects)))
    return Candidates(records, Found(scores, ious))


def mask_of(record: Record) -> np.ndarray:
    mask = record["segmentation"]
    return decode_rle([mask])[0] if isinstance(mask, dict) else mask


def within(search: Search, example: Example) -> Search:
    """The search with those of its points that are in an example's part of a picture."""
    if example.whole is None or not isinstance(search, SamAutomaticMaskGenerator):
        return search
    (grid,), (H, W), (x0, y0, x1, y1) = search.point_grids, example.size, example.window
    inside = ((grid * (W, H) >= (x0, y0)) & (grid * (W, H) < (x1, y1))).all(axis=1)
    if not inside.any():
        return search
    limited = copy(search)
    limited.point_grids = [grid[inside]]
    return limited


def prompted(
    model: Sam, features: mx.array, truths: np.ndarray, frame: Frame
) -> dict[str, np.ndarray]:
    """Measures of prompts, a value for each of the truths (B, H, W)."""
    ask = asking(model, features, frame)
    first = first_answers(ask, truths)
    chosen = first.ious["iou_click"]
    prompts, mask, low = clicks(truths), first.masks, first.logits
    history = [chosen]
    for _ in range(CLICKS - 1):
        prompts = corrected(prompts, mask, truths)
        low, masks, _ = ask(prompts, slice(0, 1), low)
        mask = masks[:, 0]
        history.append(iou_of(mask, truths))
    return {
        **first.ious,
        "iou_3_clicks": history[2],
        "iou_8_clicks": history[-1],
        **{f"clicks_to_{goal}": needed(np.array(history), goal) for goal in GOALS},
        "predicted_iou": first.predicted,
        "score_error": np.abs(first.predicted - chosen),
    }


def corrected(prompts: Prompts, masks: np.ndarray, truths: np.ndarray) -> Prompts:
    """One more click each, well inside what is wrong."""
    wrong = masks ^ truths
    wrong = np.where(wrong.any(axis=(1, 2), keepdims=True), wrong, truths)
    points = np.stack([inner_pixel(mask) for mask in wrong])
    x, y = points.astype(int).T
    return prompts.with_points(points, truths[np.arange(len(truths)), y, x].astype(int))


def needed(history: np.ndarray, goal: float) -> np.ndarray:
    """How many clicks each object takes to an IoU, (clicks, B); CLICKS where it is not reached."""
    reached = history >= goal
    return np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, len(history)).astype(float)


def summary(found: Sequence[Scores]) -> dict[str, float]:
    """Means over the objects of all examples."""
    names = found[0].prompts
    means = {name: float(np.concatenate([f.prompts[name] for f in found]).mean()) for name in names}
    for kind in dict.fromkeys(kind for f in found for kind in f.searches):
        matches = [f.searches[kind] for f in found if kind in f.searches]
        means[f"{kind}AP50"] = average_precision(matches)
        means[f"{kind}mSA"] = float(np.mean([segmentation_accuracy(each) for each in matches]))
    return means


def calibration(found: Sequence[Scores]) -> list[dict[str, Any]]:
    """Objects by the predicted IoU of the mask for a click, in steps of a tenth: how many they are,
    the means of the predicted and of the actual IoU.
    """
    predicted, actual = (
        np.concatenate([one.prompts[name] for one in found])
        for name in ("predicted_iou", "iou_click")
    )
    step = np.clip(predicted * 10, 0, 9).astype(int)
    return [
        {"objects": int(inside.sum()), "predicted": round(float(predicted[inside].mean()), 4),
         "actual": round(float(actual[inside].mean()), 4)}
        for inside in (step == i for i in range(10))
        if inside.any()
    ]  # fmt: skip
