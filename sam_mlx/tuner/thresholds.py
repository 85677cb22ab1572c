"""Thresholds of automatic masks that suit a model, chosen on examples.

Each example is searched once, with low thresholds; pairs of higher ones choose among what was found
there (``automatic.selection.choose``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from ..automatic.options import DEFAULTS, OF_MODEL, thresholds_of
from ..automatic.selection import above, choose
from ..config import SamConfig
from ..masks import Record
from .matches import Found, Matches, segmentation_accuracy

# Pairs are tried from the strictest, as the first of equals is taken. The page keeps no masks below
# the last.
PREDICTED_IOU = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
STABILITY = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
# Of the search; repeated masks are left out by the choice.
LOW: dict[str, Any] = {
    **dict(zip(OF_MODEL, (PREDICTED_IOU[-1], STABILITY[-1]))),
    "box_nms_thresh": 1.0,
    "output_mode": "uncompressed_rle",
}
Thresholds = dict[str, float]


@dataclass(frozen=True)
class Candidates:
    """All that a search found in an example; to choose thresholds, with low ones."""

    records: Sequence[Record]
    found: Found  # the same masks beside the objects
    kept: dict[float, np.ndarray] = field(default_factory=dict)  # indices, by stability

    def matches(self, pair: Thresholds) -> Matches:
        """As of a search with this pair of thresholds."""
        least, stability = (pair[name] for name in OF_MODEL)
        if stability not in self.kept:
            options = replace(
                DEFAULTS, pred_iou_thresh=PREDICTED_IOU[-1], stability_score_thresh=stability
            )
            self.kept[stability] = np.array(choose(self.records, options)[0], int)
        # A mask gives way to a better one alone, so worse ones can be left out afterwards.
        index = self.kept[stability]
        return self.found.matches(index[above(self.found.scores[index], least)])


def best_thresholds(examples: Sequence[Candidates], config: SamConfig) -> Thresholds:
    """The pair with the best mean segmentation accuracy; the model's own where none is better."""

    def accuracy(pair: Thresholds) -> float:
        return float(np.mean([segmentation_accuracy(one.matches(pair)) for one in examples]))

    return max(pairs(config), key=accuracy)


def pairs(config: SamConfig) -> Iterator[Thresholds]:
    own = thresholds_of(config)
    if all(own[name] >= LOW[name] for name in OF_MODEL):  # else the search has left masks out
        yield own
    for pair in product(PREDICTED_IOU, STABILITY):
        yield dict(zip(OF_MODEL, pair))
