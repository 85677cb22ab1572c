"""Everything in a picture: shown, and chosen from."""

from __future__ import annotations

from typing import Any

from ..automatic.options import GeneratorOptions
from ..automatic.selection import choose
from ..machine.worker import at_work
from .errors import Refusal
from .model import LEAST
from .sessions import Everything, plain

# nano is less sure of its masks than the released models.
START = {"pred_iou_thresh": 0.85, "stability_score_thresh": 0.9}


def show(run: Everything) -> list[dict[str, Any]]:
    return [show_mask(run, i, record) for i, record in enumerate(run.records or [])]


def show_mask(run: Everything, i: int, record: dict[str, Any]) -> dict[str, Any]:
    x, y, width, height = record["bbox"]
    return {
        "id": run.id_of(i), "box": [x, y, x + width, y + height], "area": record["area"],
        "score": record["predicted_iou"], "stability": record["stability_score"],
        "mask": plain(record["segmentation"]),
    }  # fmt: skip


@at_work
def choose_from(run: Everything, given: dict[str, Any]) -> dict[str, Any]:
    """The ids that ``select`` would keep with the thresholds given, and the masks it changes."""
    if run.records is None:
        raise Refusal(409, "everything is still searched for: wait until masks are there")
    options = GeneratorOptions(**{**START, **given})
    for name in ("pred_iou_thresh", "stability_score_thresh"):
        if getattr(options, name) < LEAST[name]:
            raise Refusal(400, f"{name} is below {LEAST[name]}, and no such masks were kept")
    try:
        kept, changed = choose(run.records, options)
    except ImportError as error:
        raise Refusal(400, str(error)) from None
    return {
        "ids": [run.id_of(i) for i in kept],
        "changed": [show_mask(run, i, record) for i, record in changed.items()],
    }
