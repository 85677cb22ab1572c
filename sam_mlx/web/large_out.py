"""A large picture's objects as files, and as lines of Python.

The formats are those of ``sam-mlx auto --tile``: outlines, label rasters and run lengths at the
picture's size, written a few masks or rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..formats.large import LARGE_FORMATS, LargeFormat, LargeResult, Spool
from ..large import Window
from ..masks import Rle, compress_rle, decode_part, encode_rle, rle_area, rle_bbox
from ..tiled.found import Found, union
from ..tiled.layout import Rect
from .errors import Refusal
from .large import LargeContent, mask_inside
from .objects import MaskObject
from .strokes import touched
from .views import size_at


def write(folder: Path, content: LargeContent, objects: list[MaskObject], name: str) -> Path:
    """The file of objects in a format. Raises Refusal where it cannot be written."""
    if name not in LARGE_FORMATS:
        names = ", ".join(LARGE_FORMATS)
        raise Refusal(404, f"a large picture has no format {name}; it has {names}")
    height, width = content.size
    masks = Spool.write(folder / "masks.jsonl", found_of(objects))
    result = LargeResult(content.picture, Window(0, 0, width, height), masks)
    format: LargeFormat = LARGE_FORMATS[name]
    path = folder / f"objects{format.ending}"
    try:
        format.write(result, str(path))
    except ImportError as error:
        raise Refusal(400, str(error)) from None
    finally:
        masks.path.unlink()
    return path


def found_of(objects: list[MaskObject]) -> Iterator[Found]:
    """Objects that are not empty, each with its number in the list."""
    for number, one in enumerate(objects, 1):
        if rle_area(one.mask) == 0:
            continue
        x0, y0, x1, y1 = box = box_of(one.mask)
        yield Found.of(
            decode_part(one.mask, box), (x0, y0), predicted_iou=one.score,
            stability_score=one.stability, point=((x0 + x1) / 2, (y0 + y1) / 2), tile=box,
            scale=one.mask_scale, number=number, name=one.name,
        )  # fmt: skip


def python(model: str, content: LargeContent, found: MaskObject, side: int) -> str:
    """Lines that, run beside the picture, give the object's mask as ``mask``.

    model: the arguments of ``from_pretrained``. side: of windows, in their pixels.
    """
    box: Rect | None = None
    lines: list[str] = []
    if found.prompt:
        window = content.window(found.prompt, found.scale, side)
        box, lines = level_box(window), of_prompt(model, content, found, window)
    elif found.base is not None and rle_area(found.base):
        box = box_of(found.base)
        lines = [given_mask(part_of(found.base, box))]
    if found.edits or not lines:
        box, painted = of_strokes(content, found, box)
        lines += painted
    s, (x, y, _, _) = found.mask_scale, box or (0, 0, 1, 1)
    last = (
        f"# The mask begins at x {x * s}, y {y * s} of the picture; a pixel is {s} x {s} of its "
        "pixels."
    )
    return "\n".join([*imports(lines), *lines, last]) + "\n"


def imports(lines: list[str]) -> list[str]:
    """The lines that import what lines use."""
    used = "\n".join(lines)
    tools = [name for name in ("brush", "decode_rle", "remove_small_regions") if f"{name}(" in used]
    return [
        *["import numpy as np"] * ("np." in used),
        *["from sam_mlx import SamPredictor"] * ("SamPredictor" in used),
        *["from sam_mlx.large import Window, open_large"] * ("open_large(" in used),
        *["from sam_mlx.mask_inputs import mask_input"] * ("mask_input(" in used),
        *[f"from sam_mlx.masks import {', '.join(tools)}"] * bool(tools),
        "",
    ]


def box_of(rle: Rle) -> Rect:
    x, y, w, h = rle_bbox(rle)
    return x, y, x + w, y + h


def part_of(rle: Rle, box: Rect) -> Rle:
    return compress_rle(encode_rle(decode_part(rle, box)[None]))[0]


def given_mask(rle: Rle) -> str:
    return f"mask = decode_rle([{rle!r}])[0]"


def of_prompt(model: str, content: LargeContent, found: MaskObject, window: Window) -> list[str]:
    value_range = content.value_range
    opened = repr(content.path.name) + (f", value_range={value_range}" if value_range else "")
    arguments = [f"{name}={value!r}" for name, value in found.prompt.items() if name != "start"]
    start: list[str] = []
    if found.start is not None:
        start = [given_mask(mask_inside(found.start, window))]
        arguments.append("mask_input=mask_input(mask, predictor.model.config)")
    arguments += [f"multimask_output={found.asks_for_three}", "window=window"]
    chosen = "scores.argmax()" if found.choice is None else str(found.choice)
    lines = [
        f"predictor = SamPredictor.from_pretrained({model})",
        f"predictor.set_image(open_large({opened}))",
        f"window = {window!r}",
        *start,
        f"masks, scores, _ = predictor.windows.predict({', '.join(arguments)})",
        f"mask = masks[{chosen if found.asks_for_three else '0'}]",
    ]
    if (area := found.min_mask_region_area / window.scale**2) > 0:
        clean = 'mask, _ = remove_small_regions(mask, {!r}, "{}")'
        lines += [clean.format(area, mode) for mode in ("holes", "islands")]
    return lines


def of_strokes(
    content: LargeContent, found: MaskObject, box: Rect | None
) -> tuple[Rect, list[str]]:
    """Lines that paint on the mask of a box, and the box of what they give."""
    s = found.mask_scale
    x0, y0, x1, y1 = touched(None, found.edits, size_at(content.size, s), s)
    if box is None:
        return (x0, y0, x1, y1), [
            f"mask = np.zeros(({y1 - y0}, {x1 - x0}), bool)",
            *(stroke(edit, s, x0, y0) for edit in found.edits),
        ]
    x0, y0, x1, y1 = union([box, (x0, y0, x1, y1)])
    a, b, c, d = box
    place = f"{b - y0} : {d - y0}, {a - x0} : {c - x0}"
    return (x0, y0, x1, y1), [
        f"whole = np.zeros(({y1 - y0}, {x1 - x0}), bool)",
        f"whole[{place}] = mask",
        "mask = whole",
        *(stroke(edit, s, x0, y0) for edit in found.edits),
    ]


def stroke(edit: dict[str, Any], scale: int, x: int, y: int) -> str:
    path = (np.array(edit["path"], float) / scale - (x, y)).tolist()
    erase = ", erase=True" if edit["erase"] else ""
    return f"mask = brush(mask, {path!r}, {edit['radius'] / scale!r}{erase})"


def level_box(window: Window) -> Rect:
    """A window's box in pixels of its scale."""
    (h, w), s = window.shape, window.scale
    return window.x // s, window.y // s, window.x // s + w, window.y // s + h
