"""Automatic masks of a picture: a search for them, and the choice that thresholds make."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from ..automatic.options import DEFAULTS, GeneratorOptions, thresholds_of
from ..automatic.selection import choose
from ..config import SamConfig
from ..machine.worker import at_work
from ..masks import Record
from .errors import Refusal
from .objects import plain
from .queue import Job
from .views import View

POINTS_PER_SIDE = cast(int, DEFAULTS.points_per_side)
MAX_POINTS_PER_SIDE = 128
# A search keeps all masks above these; the thresholds of a page only filter them.
MIN_IOU = MIN_STABILITY = 0.5
SEARCHED: dict[str, Any] = {
    "pred_iou_thresh": MIN_IOU,
    "stability_score_thresh": MIN_STABILITY,
    "box_nms_thresh": 1.0,
}


class Run(ABC):
    """One search for the masks of a picture. Their ids say how they were searched for (``kind``),
    in which of the picture's searches, and which they are.

    view: what was searched of a large picture; None: a whole picture.
    """

    def __init__(self, number: int, view: View | None = None):
        self.number = number  # of the picture's searches
        self.view = view
        self.done = 0.0
        self.is_done = False
        self.error: str | None = None
        self.stopped = False
        self.job: Job[None] | None = None

    @abstractmethod
    def show(self) -> list[dict[str, Any]]:
        """The masks, once they are there."""

    @abstractmethod
    def found(self, name: str) -> Record:
        """The record of a mask in what was searched. Raises Refusal, 404, for another run's."""

    def record(self, name: str) -> Record:
        """The record of a mask in the picture. Raises Refusal, 404, for another run's."""
        return self.placed(self.found(name))

    def placed(self, record: Record) -> Record:
        return record if self.view is None else self.view.place(record)

    @property
    def scale(self) -> int:
        """Pixels of the picture along a pixel of the masks."""
        return 1 if self.view is None else self.view.scale

    def parts(self, name: str) -> tuple[str, int]:
        """Kind and index from the id of a mask. Raises Refusal, 404, for another run's."""
        match = ID.fullmatch(name)
        if not match or int(match[2]) != self.number:
            raise no_mask()
        return match[1], int(match[3])

    def show_mask(self, kind: str, i: int, record: Record) -> dict[str, Any]:
        record, s = self.placed(record), self.scale
        x, y, width, height = record["bbox"]
        box = [x * s, y * s, (x + width + 1) * s - 1, (y + height + 1) * s - 1]
        return {
            "id": f"{kind}-{self.number}-{i}", "box": box, "area": record["area"] * s * s,
            "score": record["predicted_iou"], "stability": record["stability_score"],
            "mask": plain(record["segmentation"]), "mask_scale": s,
        }  # fmt: skip


class PointRun(Run):
    """A search with a grid of points."""

    def __init__(self, number: int, points_per_side: int, view: View | None = None):
        super().__init__(number, view)
        self.points_per_side = points_per_side
        self.records: list[Record] = []

    def index_of(self, name: str) -> int:
        kind, index = self.parts(name)
        if kind != str(self.points_per_side) or index >= len(self.records):
            raise no_mask()
        return index

    def found(self, name: str) -> Record:
        return self.records[self.index_of(name)]

    def id_of(self, index: int) -> str:
        return f"{self.points_per_side}-{self.number}-{index}"

    def show(self) -> list[dict[str, Any]]:
        return [self.shown(i, record) for i, record in enumerate(self.records)]

    def shown(self, i: int, record: Record) -> dict[str, Any]:
        return self.show_mask(str(self.points_per_side), i, record)


def no_mask() -> Refusal:
    return Refusal(404, "there is no such automatic mask: search again")


KIND = r"\d{1,6}|(?:(?:100|\d{1,2})\.){3}\d{1,9}"  # points per side, or thresholds
ID = re.compile(rf"({KIND})-(\d{{1,9}})-(\d{{1,6}})", re.ASCII)


def parts_of(name: str) -> tuple[str, int, int]:
    """Kind, run and index from a mask's id. Raises Refusal, 400, for other text."""
    match = ID.fullmatch(name)
    if not match:
        raise Refusal(400, f"automatic is {name[:40]!r}; expected the id of an automatic mask")
    return match[1], int(match[2]), int(match[3])


def defaults(config: SamConfig) -> dict[str, Any]:
    """The initial values and the bounds of a page's controls."""
    return {
        "points_per_side": POINTS_PER_SIDE,
        "max_points_per_side": MAX_POINTS_PER_SIDE,
        **thresholds_of(config),
        "box_nms_thresh": DEFAULTS.box_nms_thresh,
        "min_mask_region_area": DEFAULTS.min_mask_region_area,
        "min_pred_iou_thresh": MIN_IOU,
        "min_stability_score_thresh": MIN_STABILITY,
    }


THRESHOLDS = (
    "pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "min_mask_region_area",
)  # fmt: skip


def refuse_others(given: Iterable[str], names: Sequence[str]) -> None:
    """Raise Refusal, 400, for thresholds of another kind of search."""
    if others := [name for name in given if name not in names]:
        raise Refusal(
            400, f"{', '.join(others)}: this model's masks have the thresholds {', '.join(names)}"
        )


@at_work
def choose_from(run: PointRun, config: SamConfig, given: dict[str, Any]) -> dict[str, Any]:
    """The ids that ``select`` would keep with the thresholds given, and the masks it changes."""
    refuse_others(given, THRESHOLDS)
    options = GeneratorOptions(**{**thresholds_of(config), **given})
    area = options.min_mask_region_area / run.scale**2
    options = replace(options, min_mask_region_area=area)
    for name, least in (("pred_iou_thresh", MIN_IOU), ("stability_score_thresh", MIN_STABILITY)):
        if getattr(options, name) < least:
            raise Refusal(400, f"{name} is below {least}; masks below that were not kept")
    try:
        kept, changed = choose(run.records, options)
    except ImportError as error:
        raise Refusal(400, str(error)) from None
    return {
        "ids": [run.id_of(i) for i in kept],
        "changed": [run.shown(i, record) for i, record in changed.items()],
    }
