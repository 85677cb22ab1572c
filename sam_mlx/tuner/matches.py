"""Automatic masks beside the objects of an example, and how many of these they find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.arange(0.5, 1, 0.05)  # IoU at which an object counts as found


@dataclass(frozen=True)
class Matches:
    """Automatic masks of an example, best score first, beside its objects."""

    hits: np.ndarray  # (thresholds, N): which masks find an object that none before them found
    scores: np.ndarray  # (N,)
    truths: int  # objects


@dataclass(frozen=True)
class Found:
    """Masks of an example beside its objects, in any order."""

    scores: np.ndarray  # (N,)
    ious: np.ndarray  # (N, truths)

    def matches(self, index: np.ndarray | slice = slice(None)) -> Matches:
        """Of all masks, or those at these indices."""
        scores, ious = self.scores[index], self.ious[index]
        order = np.argsort(-scores, kind="stable")
        return Matches(hits_of(ious[order]), scores[order], ious.shape[1])


def ious_with(masks: Iterable[np.ndarray], truths: np.ndarray) -> np.ndarray:
    """IoU of masks (H, W) with each of the truths (M, H, W), bool, none of them empty: (N, M)."""
    pixels = [np.flatnonzero(truth) for truth in truths]
    areas, every = np.array([len(one) for one in pixels], int), np.concatenate([[], *pixels])
    starts, every = np.cumsum([0, *areas[:-1]]), every.astype(int)
    rows = []
    for mask in masks:
        overlap = np.add.reduceat(mask.ravel()[every].astype(int), starts)
        rows.append(overlap / (areas + mask.sum() - overlap))
    return np.array(rows).reshape(-1, len(truths))


def hits_of(ious: np.ndarray) -> np.ndarray:
    """For each threshold, which masks, best score first, find an object that none before them has
    found, (thresholds, N), from their IoU with the objects (N, M).
    """
    hits = np.zeros((len(THRESHOLDS), len(ious)), bool)
    free = np.ones((len(THRESHOLDS), ious.shape[1]), bool)
    for i, row in enumerate(ious):
        iou = np.where(free, row, 0)
        best = iou.argmax(axis=1)
        rows = np.flatnonzero(iou[np.arange(len(iou)), best] >= THRESHOLDS)
        hits[rows, i], free[rows, best[rows]] = True, False
    return hits


def average_precision(found: Sequence[Matches]) -> float:
    """COCO's at IoU 0.5, with 101 recalls, over the masks of all examples."""
    order = np.argsort(-np.concatenate([each.scores for each in found]), kind="stable")
    ranked = np.concatenate([each.hits[0] for each in found])[order]
    if not len(ranked):
        return 0.0
    true = np.cumsum(ranked)
    recall = true / sum(each.truths for each in found)
    precision = np.maximum.accumulate((true / np.arange(1, len(ranked) + 1))[::-1])[::-1]
    place = np.searchsorted(recall, np.linspace(0, 1, 101))
    reached = np.append(precision, 0)  # 0 for recalls that are not reached
    return float(reached[place].mean())


def segmentation_accuracy(found: Matches) -> float:
    """The mean over thresholds of TP / (TP + FP + FN), micro-sam's and DSB 2018's measure."""
    true, masks = found.hits.sum(axis=1), found.hits.shape[1]
    return float((true / np.maximum(1, masks + found.truths - true)).mean())
