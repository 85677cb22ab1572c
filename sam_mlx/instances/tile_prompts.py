"""All instances in a picture of any size by "apg": points of the map, asked about in tiles.

The map is the one of ``tiles``, and so are its parts: a seed belongs to the part whose core holds
its middle. A point is asked about in the tile whose inner part holds it. A mask that the tile's
edge cuts is asked for once more, in a window round it (original: micro-sam's tiled segmentation,
which has what the tile shows). ``layers`` makes instances of the masks, as rows of tiles end.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..embedding import ImageEmbedding
from ..large.window import Grid
from ..machine.budget import budget
from ..machine.cache import Cache
from ..predictor import SamPredictor
from ..tiled.found import Found
from ..tiled.layout import Rect, Tiles, cores
from ..tiled.search import reaches_edge
from ..tiled.store import Store, key_of_tile
from .layers import Layers
from .prompting import answers, inner_points
from .tiles import Band, InParts, is_within, moved

Point = tuple[float, float]  # x, y in the region


class Embeddings:
    """Embeddings of pixels. Those of the last ones are kept: a tile has a map, and then prompts."""

    def __init__(self, predictor: SamPredictor):
        self.predictor = predictor
        self.kept: Cache[ImageEmbedding] = Cache(budget().embedding_bytes // 4)

    def __call__(self, pixels: np.ndarray) -> ImageEmbedding:
        key = pixels.shape, hashlib.blake2b(pixels.tobytes()).digest()
        found = self.kept.get(key)
        if found is None:
            found = self.predictor.embed(pixels)
            self.kept.put(key, found, found.nbytes)
        return found


@dataclass(kw_only=True)
class Prompting(InParts):
    """All instances in a region of a picture, by "apg"; iterate over it for their masks."""

    embeddings: Embeddings
    answers: Store[list[Found]] = field(default_factory=Store)  # masks of tiles that are there

    REMARKS: ClassVar[dict[str, str]] = {"too_large": "larger than a window, and cut"}

    @property
    def layout(self) -> Tiles:
        """Where the tiles lie."""
        return self.layouts[1]

    def __iter__(self) -> Iterator[Found]:
        side, (height, width) = self.tile_options.tile, self.layout.size
        across, down = (
            [start for start, _ in cores(line, side, length)]
            for line, length in ((self.layout.columns, width), (self.layout.rows, height))
        )
        layers, row = Layers(self.options), 0
        points: dict[Rect, list[Point]] = defaultdict(list)
        for band, parts, next_top in self.rows_of_parts():
            for rect, core in parts:
                for x, y in self._points(band, rect, core):
                    rows, columns = bisect_right(down, y) - 1, bisect_right(across, x) - 1
                    points[self.layout.rect(rows, columns)].append((x, y))
            # Later seeds are below ``next_top``, and a mask is at most two tiles above its point.
            for next_row in [*down[1:], height][row:]:
                if next_row > next_top:
                    break
                found = self._row(row, points)
                row += 1
                yield from layers.add(found, next_row - 2 * side if row < len(down) else None)

    def _points(self, band: Band, rect: Rect, core: Rect) -> Iterator[Point]:
        """The inner points of the seeds of a part whose middles lie in its core."""
        height, width = self.layout.size
        edges = [a == b for a, b in zip(rect, (0, 0, width, height))]
        maps, _ = band.read(rect)
        points, boxes = inner_points(maps, self.options, edges)
        for (x, y), box in zip(points.tolist(), boxes):
            if is_within(moved(box, rect), core):
                yield x + rect[0], y + rect[1]

    def _row(self, row: int, points: dict[Rect, list[Point]]) -> list[Found]:
        """The masks of a row of tiles."""
        rects = [self.layout.rect(row, column) for column in range(len(self.layout.columns))]
        asked = [rect for rect in rects if rect in points]
        return [one for rect in asked for one in self._masks(rect, points.pop(rect))]

    def _masks(self, rect: Rect, points: list[Point]) -> list[Found]:
        self.pause()
        key = key_of_tile(1, rect)
        found = self.answers.get(key)
        if found is None:
            found = [self._whole(one) for one in self._ask(rect, points)]
            self.answers.put(key, found)
        self.counts["too_large"] += sum(one.is_cut for one in found)
        return found

    def _ask(self, rect: Rect, points: list[Point]) -> list[Found]:
        """The model's masks for points in a tile or window, without empty ones."""
        embedding = self.embeddings(self.picture.pixels(self.layout.window(rect))[0])
        x0, y0, _, _ = rect
        model, inside = self.embeddings.predictor.model, np.array(points) - (x0, y0)
        found = answers(model, embedding, self.options, inside, pause=self.pause)
        masks = zip(found.masks, found.boxes.tolist(), found.predicted_iou, found.stability, points)
        placed = [
            Found.of(
                mask, (x + x0, y + y0), predicted_iou=float(iou), stability_score=float(stability),
                point=point, tile=rect,
            )
            for mask, (x, y, _, _), iou, stability, point in masks if mask.any()
        ]  # fmt: skip
        return [replace(one, is_cut=reaches_edge(one, rect, self.layout)) for one in placed]

    def _whole(self, one: Found) -> Found:
        """A mask that its tile has cut, asked for again round where it lies, at most in twice the
        tile's side.
        """
        side = self.tile_options.tile
        grid = Grid(self.layout.size, side, side // 4)
        for factor in (1, 2):
            if not one.is_cut:
                break
            x0, y0, x1, y1 = one.box
            rect = grid.place((x0 + x1) / 2, (y0 + y1) / 2, factor).box
            x, y = one.point
            if rect[0] <= x < rect[2] and rect[1] <= y < rect[3]:
                one = next(iter(self._ask(rect, [one.point])), one)
        return one
