"""Everything in a picture: searches from coarse to fine, each in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ..automatic.options import GeneratorOptions
from ..automatic.selection import in_mode
from ..large import Window
from ..masks import Record, encode_rle, to_xywh
from ..predictor import SamPredictor
from .asking import Asking
from .duplicates import is_below, touches
from .found import Found, coarser, iou
from .layout import Rect, scales_of
from .rows import SAME, Rows
from .search import Find, Search
from .store import key_of_pieces
from .walk import Walk


@dataclass(kw_only=True)
class Everything(Walk[list[Found]]):
    """A search for everything in a region of a picture; iterate over it for the masks."""

    predictor: SamPredictor
    find: Find
    options: GeneratorOptions

    REMARKS: ClassVar[dict[str, str]] = {"unresolved": "pieces without an answer"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.searcher = Search(self.picture, self.find, self.options)

    @property
    def scales(self) -> list[int]:
        return scales_of(self.region, self.tile_options)

    def __iter__(self) -> Iterator[Found]:
        larger: list[Found] = []
        for scale in reversed(self.scales[1:]):
            larger = list(self._search(scale, larger))
        return self._search(1, larger)

    def _search(self, scale: int, larger: list[Found]) -> Iterator[Found]:
        """The finished masks of one scale and of coarser ones, row by row."""
        layout, side = self.layouts[scale], self.tile_options.tile
        asking = Asking(self.picture, layout, self.predictor, self.options)
        # The next finer search finds what is up to three quarters of its tile: 3 / 16 of this one.
        smallest, largest = 1 if scale == 1 else side // 6, side * 3 // 4
        rows = Rows(partial(self._ask, asking), largest, self.options.crop_nms_thresh, smallest)
        coarse = Coarse(larger, scale)
        for row, next_top in enumerate([*layout.rows[1:], None]):
            found = [
                one
                for column in range(len(layout.columns))
                for one in self.tile(scale, layout.rect(row, column))
            ]
            finished = rows.add(found, next_top)
            yield from finished
            yield from coarse.after(finished, rows.busy(), next_top)
        self.counts["unresolved"] += rows.unresolved

    def _ask(self, asking: Asking, pieces: list[Found]) -> list[Found]:
        self.pause()
        key = key_of_pieces(pieces)
        found = self.store.get(key)
        if found is None:
            found = asking(pieces)
            self.store.put(key, found)
        return found


@dataclass
class Coarse:
    """Masks of coarser searches, which wait for the finer one that may find the same objects."""

    waiting: list[Found]
    scale: int  # of the finer search

    def after(self, finished: list[Found], busy: np.ndarray, next_top: int | None) -> list[Found]:
        """The coarse masks that no fine one repeats, once all round them are finished."""
        self.waiting = [one for one in self.waiting if not self._is_known(one, finished)]
        ready: list[Found] = []
        waiting: list[Found] = []
        for one in self.waiting:
            box = self._box(one)
            is_ready = not (is_below(box, next_top) or touches(box, busy))
            (ready if is_ready else waiting).append(one)
        self.waiting = waiting
        return ready

    def _box(self, one: Found) -> Rect:
        factor = one.scale // self.scale
        x0, y0, x1, y1 = one.box
        return x0 * factor, y0 * factor, x1 * factor, y1 * factor

    def _is_known(self, one: Found, finished: list[Found]) -> bool:
        factor = one.scale // self.scale
        near = [
            other for other in finished
            if 2 * other.extent > factor * one.extent
            and touches(self._box(one), np.array([other.box]))
        ]  # fmt: skip
        return any(iou(one, coarser(other, factor)) >= SAME for other in near)


def record_of_found(one: Found, region: Window, output_mode: str) -> Record:
    """A mask as a record: positions are in pixels of the picture.

    Its segmentation is that of ``window``: x, y, width, height in the picture. With a ``scale``
    above 1, each of the segmentation's pixels is that many along both sides.
    """
    s, (x, y) = one.scale, (region.x, region.y)
    x0, y0, x1, y1 = (n * s for n in one.box)
    box = np.array([x0, y0, x1 - 1, y1 - 1]) + np.tile((x, y), 2)
    crop = np.array(one.tile) * s + np.tile((x, y), 2)
    return {
        "segmentation": in_mode(encode_rle(one.mask[None]), output_mode)[0],
        "area": one.area * s * s,
        "bbox": to_xywh(box).tolist(),
        "predicted_iou": one.predicted_iou,
        "point_coords": [[one.point[0] * s + x, one.point[1] * s + y]],
        "stability_score": one.stability_score,
        "crop_box": to_xywh(crop).tolist(),
        "window": [x0 + x, y0 + y, x1 - x0, y1 - y0],
        "scale": s,
    }
