"""Pieces of an object, asked about once more in a window that holds it whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ..automatic.options import GeneratorOptions
from ..embedding import ImageEmbedding
from ..large import LargeImage
from ..large.window import Grid
from ..machine.budget import budget
from ..machine.cache import Cache
from ..masks import stability_scores
from ..predictor import SamPredictor
from ..prompts import Prompt, check_prompt
from .found import Found, iou, iou_within, union
from .layout import Rect, Tiles
from .rows import SAME
from .seams import is_cut
from .search import reaches_edge

MAX_POINTS = 8  # of the best pieces, each asked alone
CONTEXT = 1.5  # a window is at least this many times as long as the object


@dataclass
class Asking:
    """Answers for pieces of one object: whole masks that agree with one of them in its tile."""

    picture: LargeImage
    tiles: Tiles
    predictor: SamPredictor
    options: GeneratorOptions
    cache: Cache[ImageEmbedding] = field(
        default_factory=lambda: Cache(budget().embedding_bytes // 4)
    )

    def __call__(self, pieces: list[Found]) -> list[Found]:
        rect = self._window(union([one.box for one in pieces]))
        kept: list[Found] = []
        answers = sorted(self._answers(pieces, rect), key=lambda one: one.rank)
        for one in answers:
            if self._fits(one, pieces, rect) and not any(
                iou(one, other) > self.options.crop_nms_thresh for other in kept
            ):
                kept.append(one)
        return kept or self._joined(pieces)

    def _window(self, box: Rect) -> Rect:
        x0, y0, x1, y1 = box
        side = self.tiles.options.tile
        grid = Grid(self.tiles.size, side, side // 4)
        factor = 1 if CONTEXT * max(x1 - x0, y1 - y0) <= side else 2
        return grid.place((x0 + x1) / 2, (y0 + y1) / 2, factor).box

    def _embedding(self, rect: Rect) -> ImageEmbedding:
        if (found := self.cache.get(rect)) is not None:
            return found
        found = self.predictor.embed(self.picture.pixels(self.tiles.window(rect))[0])
        self.cache.put(rect, found, found.nbytes)
        return found

    def _answers(self, pieces: list[Found], rect: Rect) -> Iterator[Found]:
        """What the model says to the points of the best pieces, and to a box round all."""
        embedding, corner = self._embedding(rect), np.array(rect[:2])
        points = [one.point for one in sorted(pieces, key=lambda one: one.rank)[:MAX_POINTS]]
        prompts = [self._prompt(embedding, point=np.array(point) - corner) for point in points]
        if len(pieces) > 1:
            x0, y0, x1, y1 = union([one.box for one in pieces])
            box = np.array([x0, y0, x1, y1]) - np.tile(corner, 2)
            prompts.append(self._prompt(embedding, box=box))
            points.append(((x0 + x1) / 2, (y0 + y1) / 2))
        low, scores = self.predictor.answers(embedding, prompts)
        for logits, score, point in zip(low, scores, points):
            good = np.flatnonzero(score > self.options.pred_iou_thresh)
            if len(good):
                yield from self._masks(embedding, logits[good], score[good], point, rect)

    def _prompt(
        self,
        embedding: ImageEmbedding,
        point: np.ndarray | None = None,
        box: np.ndarray | None = None,
    ) -> Prompt:
        coords, labels = (None, None) if point is None else ([point], [1])
        size, config = embedding.original_size, self.predictor.model.config
        return check_prompt(coords, labels, box, None, size=size, config=config)

    def _masks(
        self,
        embedding: ImageEmbedding,
        low: np.ndarray,
        scores: np.ndarray,
        point: tuple[float, float],
        rect: Rect,
    ) -> Iterator[Found]:
        """Those of an answer's masks that hardly depend on the threshold."""
        threshold, offset = self.predictor.model.mask_threshold, self.options.stability_score_offset
        full = self.predictor.at_full_size(embedding, low[None], return_logits=True)[0]
        stability = np.array(stability_scores(mx.array(full), threshold, offset))
        for logits, score, stable in zip(full, scores.tolist(), stability.tolist()):
            mask = logits > threshold
            if stable >= self.options.stability_score_thresh and mask.any():
                yield Found.of(
                    mask, rect[:2], predicted_iou=score, stability_score=stable, point=point,
                    tile=rect, scale=self.tiles.scale,
                )  # fmt: skip

    def _fits(self, one: Found, pieces: list[Found], rect: Rect) -> bool:
        """Whether a mask is whole in its window, and is what one of the tiles saw of it."""
        return not reaches_edge(one, rect, self.tiles) and any(
            iou_within(one, piece, piece.tile) >= SAME for piece in pieces
        )

    def _joined(self, pieces: list[Found]) -> list[Found]:
        """The pieces as one mask, if none of their borders shows in it."""
        box = union([one.box for one in pieces])
        mask = np.logical_or.reduce([one.within(box) for one in pieces])
        if is_cut(mask, box[:2], *self.tiles.borders()):
            return []
        best = min(pieces, key=lambda one: one.rank)
        made = Found.of(
            mask, box[:2], predicted_iou=min(one.predicted_iou for one in pieces),
            stability_score=min(one.stability_score for one in pieces), point=best.point,
            tile=box, scale=self.tiles.scale,
        )  # fmt: skip
        return [made]
