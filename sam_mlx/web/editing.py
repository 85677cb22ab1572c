"""From what a client says of an object to its mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..embedding import ImageEmbedding
from ..masks import compress_rle, decode_rle, encode_rle, remove_small_regions
from ..prompts import check_box
from .errors import Refusal
from .model import Model
from .sessions import PROMPT, MaskObject, Picture

STROKE_PIXELS = 1e9  # that all strokes of a change may cover, each of their parts by itself


def record_of(given: dict[str, Any]) -> dict[str, Any]:
    """A prompt as ``SamPredictor.predict`` takes it. Raises Refusal where nothing is said."""
    points, labels, box = given.get("points") or [], given.get("labels"), given.get("box")
    check_prompt(points, labels, box)
    if not points and box is None:
        raise Refusal(400, "nothing is asked: give points with their labels, or a box")
    prompt = {"point_coords": points, "point_labels": labels} if points else {}
    return prompt | ({"box": box} if box is not None else {})


def check_prompt(points: list[Any], labels: list[int] | None, box: list[float] | None) -> None:
    if len(points) != len(labels or []):
        raise Refusal(
            400, f"{len(points)} points have {len(labels or [])} labels; expected one label a point"
        )
    if box is not None:
        try:
            check_box(box)
        except ValueError as error:
            raise Refusal(400, str(error)) from None


def change(
    before: MaskObject, given: dict[str, Any], size: tuple[int, int]
) -> tuple[MaskObject, set[str]]:
    """An object with what is given, and what has to be made anew: its base, its edits."""
    given = {k: v for k, v in given.items() if k not in ("name", "colour") or v}
    if "colour" in given:
        check_colour(given["colour"])
    after = replace(before, **given)
    if given.get("everything") is None and (given.get("points") or given.get("box")):
        after.everything = None
    check_prompt(after.points, after.labels, after.box)
    what = set()
    if not before.mask or any(getattr(after, k) != getattr(before, k) for k in PROMPT):
        what.add("base")
    if after.edits != before.edits:
        what.add("edits")
        if after.edits[: before.painted] != before.edits[: before.painted]:
            after.painted = 0
    if what:
        start = 0 if "base" in what else after.painted
        check_strokes(after.edits[start:], size)
    return after, what


def check_strokes(edits: list[dict[str, Any]], size: tuple[int, int]) -> None:
    """Refuse what would keep the server busy for long."""
    most, work = size[0] * size[1], 0.0
    for edit in edits:
        corners = np.array(edit["path"])
        lengths = np.abs(np.diff(corners, axis=0)).sum(axis=1) if len(corners) > 1 else np.zeros(1)
        work += float(np.minimum((2 * edit["radius"] + lengths + 1) ** 2, most).sum())
    if work > STROKE_PIXELS:
        raise Refusal(400, "the edits are too many, or too large: make fewer or smaller strokes")


def check_colour(colour: str) -> None:
    if colour[0] != "#" or not set(colour[1:]) <= set("0123456789abcdefABCDEF"):
        raise Refusal(400, "colour is none; expected # and six digits, as #ff8800")


def apply(
    model: Model,
    picture: Picture,
    after: MaskObject,
    what: set[str],
    embedding: ImageEmbedding | None,
) -> MaskObject:
    """Give an object the mask that it now has."""
    if "base" not in what:
        after.paint(picture.size)
        return after
    record = None
    if after.everything is not None:
        record = taken(picture, after.everything)
    elif embedding is not None:
        prompt, three = after.prompt, after.asks_for_three
        record = model.mask(embedding, prompt, three, after.choice)
    if record is not None and after.min_mask_region_area > 0:
        record = cleaned(record, after.min_mask_region_area)
    after.set_base(record, picture.size)
    return after


def taken(picture: Picture, name: str) -> dict[str, Any]:
    """A mask of everything, which stays when another search is begun: an undo may ask for it."""
    if name not in picture.taken:
        run = picture.everything
        if run is None:
            raise Refusal(404, "there is no such mask of everything: run it again")
        picture.taken[name] = (run.records or [])[run.index_of(name)]
    return picture.taken[name]


def cleaned(record: dict[str, Any], area: float) -> dict[str, Any]:
    """Without holes and islands that are smaller."""
    mask = decode_rle([record["segmentation"]])[0]
    for mode in ("holes", "islands"):
        mask, _ = remove_small_regions(mask, area, mode)
    return {**record, "segmentation": compress_rle(encode_rle(mask[None]))[0]}
