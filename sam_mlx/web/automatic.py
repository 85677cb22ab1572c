"""Automatic masks of a picture: a search for them, and the choice that thresholds make."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from ..automatic.options import DEFAULTS, GeneratorOptions, thresholds_of
from ..automatic.selection import choose
from ..config import SamConfig
from ..machine.worker import at_work
from .errors import Refusal
from .objects import plain
from .queue import Job

POINTS_PER_SIDE = cast(int, DEFAULTS.points_per_side)
MAX_POINTS_PER_SIDE = 128
# A search keeps all masks above these; the thresholds of a page only filter them.
MIN_IOU = MIN_STABILITY = 0.5
SEARCHED: dict[str, Any] = {
    "pred_iou_thresh": MIN_IOU,
    "stability_score_thresh": MIN_STABILITY,
    "box_nms_thresh": 1.0,
}


@dataclass
class Run:
    """One search for the masks of a picture."""

    number: int  # of the picture's searches
    points_per_side: int
    done: float = 0.0
    records: list[dict[str, Any]] | None = None
    error: str | None = None
    stopped: bool = False
    job: Job[None] | None = None

    def id_of(self, index: int) -> str:
        return f"{self.points_per_side}-{self.number}-{index}"

    def index_of(self, name: str) -> int:
        """Raises Refusal, 404, for the id of another run's mask."""
        match = re.fullmatch(rf"{self.points_per_side}-{self.number}-(\d{{1,6}})", name)
        if not match or self.records is None or int(match[1]) >= len(self.records):
            raise Refusal(404, "there is no such automatic mask: search again")
        return int(match[1])

    def show(self) -> list[dict[str, Any]]:
        return [self.show_mask(i, record) for i, record in enumerate(self.records or [])]

    def show_mask(self, i: int, record: dict[str, Any]) -> dict[str, Any]:
        x, y, width, height = record["bbox"]
        return {
            "id": self.id_of(i), "box": [x, y, x + width, y + height], "area": record["area"],
            "score": record["predicted_iou"], "stability": record["stability_score"],
            "mask": plain(record["segmentation"]),
        }  # fmt: skip


def parts_of(name: str) -> tuple[int, int, int]:
    """Points per side, run and index from a mask's id. Raises Refusal, 400, for other text."""
    match = re.fullmatch(r"(\d{1,6})-(\d{1,9})-(\d{1,6})", name, re.ASCII)
    if not match:
        raise Refusal(400, f"automatic is {name[:40]!r}; expected the id of an automatic mask")
    return int(match[1]), int(match[2]), int(match[3])


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


@at_work
def choose_from(run: Run, config: SamConfig, given: dict[str, Any]) -> dict[str, Any]:
    """The ids that ``select`` would keep with the thresholds given, and the masks it changes."""
    if run.records is None:
        raise Refusal(409, "the search is still running: wait until its masks are there")
    options = GeneratorOptions(**{**thresholds_of(config), **given})
    for name, least in (("pred_iou_thresh", MIN_IOU), ("stability_score_thresh", MIN_STABILITY)):
        if getattr(options, name) < least:
            raise Refusal(400, f"{name} is below {least}; masks below that were not kept")
    try:
        kept, changed = choose(run.records, options)
    except ImportError as error:
        raise Refusal(400, str(error)) from None
    return {
        "ids": [run.id_of(i) for i in kept],
        "changed": [run.show_mask(i, record) for i, record in changed.items()],
    }
