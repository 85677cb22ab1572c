"""From a client's changes of an object to its mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..masks import Record, record_of
from .automatic import no_mask
from .errors import Refusal
from .large import LargeContent, clean, given, mask
from .model import Encoded, Model, cleaned
from .objects import PROMPT, MaskObject, Size, check_start, prompt_of
from .sessions import Picture
from .views import scale_of, size_at

MAX_STROKE_PIXELS = 1e9  # covered by the strokes of one change, each segment counted separately


def change(before: MaskObject, given: dict[str, Any], size: Size) -> tuple[MaskObject, set[str]]:
    """An object with the given changes, and the stale parts of its mask: "base", "edits"."""
    given = {k: v for k, v in given.items() if k != "name" or v}
    after = replace(before, **given)
    if given.get("automatic") is None and any(given.get(k) for k in ("points", "box", "start")):
        after.automatic = None
    prompt_of(after.points, after.labels, after.box)
    if after.start is not before.start:
        check_start(after.start, size)
    stale = set()
    if not before.mask or any(getattr(after, k) != getattr(before, k) for k in PROMPT):
        stale.add("base")
    if after.edits != before.edits:
        stale.add("edits")
        if after.edits[: before.painted] != before.edits[: before.painted]:
            after.painted = 0
    if stale:
        start = 0 if "base" in stale else after.painted
        check_strokes(after.edits[start:], size)
    return after, stale


def check_strokes(edits: list[dict[str, Any]], size: Size) -> None:
    """Refuse strokes that would keep the server busy for long."""
    whole, work = size[0] * size[1], 0.0
    for edit in edits:
        corners = np.array(edit["path"])
        lengths = np.abs(np.diff(corners, axis=0)).sum(axis=1) if len(corners) > 1 else np.zeros(1)
        work += float(np.minimum((2 * edit["radius"] + lengths + 1) ** 2, whole).sum())
    if work > MAX_STROKE_PIXELS:
        raise Refusal(400, "the edits are too many, or too large: make fewer or smaller strokes")


def apply(
    model: Model,
    picture: Picture,
    after: MaskObject,
    stale: set[str],
    encoded: Encoded | None,
) -> MaskObject:
    """Give an object the mask that it has after ``change``."""
    if isinstance(picture.content, LargeContent):
        return apply_to_large(model, picture, picture.content, after, stale)
    if "base" not in stale:
        after.paint(picture.size)
        return after
    record: Record | None = None
    if after.automatic is not None:
        record = taken(picture, after.automatic)
    elif encoded is not None:
        record = model.mask(encoded, after.prompt, after.asks_for_three, after.choice)
    elif after.start is not None:
        record = record_of(after.start, 0.0, 0.0)
    if record is not None and after.min_mask_region_area > 0:
        record = cleaned(record, after.min_mask_region_area)
    after.set_base(record, picture.size)
    return after


def apply_to_large(
    model: Model, picture: Picture, content: LargeContent, after: MaskObject, stale: set[str]
) -> MaskObject:
    """``apply`` for a picture that is asked about in windows."""
    if "base" in stale:
        record: Record | None
        if after.automatic is not None:
            record = taken(picture, after.automatic)
            after.mask_scale = scale_of(record["segmentation"], content.size)
            record = clean(record, after.min_mask_region_area, after.mask_scale)
        elif after.prompt:
            record, after.mask_scale = mask(model, content, after)
        else:
            record, after.mask_scale = given(after)
        after.set_base(record, size_at(content.size, after.mask_scale))
    else:
        after.paint(size_at(content.size, after.mask_scale))
    return after


def taken(picture: Picture, name: str) -> Record:
    """The record of an automatic mask, kept because an undo may need it after another search."""
    if name not in picture.taken:
        run = picture.automatic
        if run is None or not run.is_done:
            raise no_mask()
        picture.taken[name] = run.record(name)
    return picture.taken[name]
