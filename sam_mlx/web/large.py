"""Pictures larger than memory in the page: drawn in tiles, asked about in windows.

The page says at which scale it looks at such a picture: how many of its pixels, along both sides,
are one. A prompt is answered in a window of that scale, and the mask is one of the level: RLE of
the picture at that scale. So an object takes as much memory as it has pixels on the screen.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import to_json
from ..large import LargeImage, Window, open_large
from ..large.picture import shrink
from ..large.readers import is_slide, is_zarr, may_be_large, reader_of
from ..large.window import Grid
from ..masks import (
    Record,
    Rle,
    clean_rle,
    compress_rle,
    decode_part,
    decode_rle,
    encode_rle,
    record_of,
    rle_area,
    rle_bbox,
    run_lengths,
    with_mask,
)
from ..samples import Range
from .errors import Refusal
from .model import Encoded, Model, cleaned
from .objects import MaskObject, asks_for_three
from .store import STUB, THUMBNAIL, Content, compressed
from .strokes import MAX_PART
from .views import View, size_at

TILE = 512  # side of a tile, pixels
OVERVIEW = 2048  # the longer side of the overview, at most
MAX_VIEW = 1 << 25  # pixels that are searched at once
MIN_SIDE = 4096  # the longer side from which a raster's pyramid is used

Prompt = dict[str, Any]


def is_large(path: Path, max_pixels: int) -> bool:
    """Whether a file is drawn in tiles: a slide, zarr, or a raster of more than ``max_pixels``, or
    with a pyramid and a side of ``MIN_SIDE``.
    """
    if is_slide(path) or is_zarr(path):
        return True
    if not may_be_large(path):
        return False
    try:
        height, width = (sizes := reader_of(path).sizes)[0]
    except (ImportError, ValueError, OSError):
        return False  # an ordinary picture, or an error that says so
    return height * width > max_pixels or (len(sizes) > 1 and max(height, width) >= MIN_SIDE)


class LargeContent(Content):
    """A picture that is read in windows. It stays where it is."""

    def __init__(self, path: Path, value_range: Range | None):
        try:
            self.picture: LargeImage = open_large(path).read_by(value_range)
            digest = self.picture.digest()
        except (ImportError, ValueError, OSError) as error:
            raise Refusal(415, str(error)) from None
        chosen = value_range if self.picture.is_chosen else None  # 8 bits are taken as they are
        super().__init__(f"{digest} {chosen}", path, self.picture.size, 0, chosen)
        self.digest = digest
        self.tiles = {"side": TILE, "levels": self.levels}
        self._reading = threading.Lock()  # readers are not for several threads
        self._first = threading.Lock()  # the overview is made once

    @property
    def levels(self) -> int:
        """How often the picture is halved to become its overview, which is level ``levels``."""
        return ((max(self.size) - 1) // OVERVIEW).bit_length()

    def read(self) -> bytes:
        """What stands for the picture in a session file, which does not hold it."""
        return STUB + to_json({"digest": self.digest, "name": self.path.name}).encode()

    def pixels(self) -> np.ndarray:
        raise Refusal(400, f"{self.path.name} is too large to be read whole")

    def shown(self) -> tuple[bytes, str]:
        return compressed(Image.fromarray(self.overview), png=False), "image/jpeg"

    def thumbnail(self) -> bytes:
        if self._thumbnail is None:
            picture = Image.fromarray(self.overview)
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            self._thumbnail = compressed(picture, png=False)
        return self._thumbnail

    @property
    def overview(self) -> np.ndarray:
        with self._first:
            return self._overview

    @cached_property
    def _overview(self) -> np.ndarray:
        height, width = self.size
        return self.part(Window(0, 0, width, height, 1 << self.levels))

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A tile as JPEG; each of its pixels is 2^level pixels of the picture along both sides."""
        height, width = self.size
        side = TILE << level
        x, y = column * side, row * side
        if level >= self.levels or x >= width or y >= height:
            raise Refusal(404, "the picture has no such tile")
        window = Window(x, y, min(side, width - x), min(side, height - y), 1 << level)
        return compressed(Image.fromarray(self.part(window)), png=False)

    def part(self, window: Window) -> np.ndarray:
        """Pixels (h, w, 3) of a window. Raises Refusal where the file is damaged, or gone."""
        try:
            with self._reading:
                return self.picture.pixels(window)[0]
        except (ValueError, OSError) as error:
            raise Refusal(415, str(error)) from None

    def check_unchanged(self) -> None:
        try:
            same = self.path.is_dir() or self.picture.digest() == self.digest
        except OSError:
            same = False
        if not same:
            raise Refusal(404, f"{self.path.name} has changed, or is gone: start the server again")

    def window(self, prompt: Prompt, scale: int, side: int) -> Window:
        """Where a prompt is answered: ``side`` pixels, each ``scale`` pixels of the picture; of a
        prompt that is large beside it, a multiple of that.
        """
        corners = [np.reshape(prompt[name], (-1, 2)) for name in ("point_coords", "box")
                   if name in prompt]  # fmt: skip
        points = np.concatenate(corners).astype(float)
        factor = 1 << min(scale.bit_length() - 1, self.levels)
        grid = Grid(self.size, side, side // 2, max_side=side)
        (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return grid.around(x0, y0, x1, y1, factor)

    def view(self, window: Sequence[int], scale: int) -> View:
        """What one sees of the picture, of whose pixels ``scale`` x ``scale`` are one. Raises
        Refusal, 400, for a window, x, y, width, height, that is not in the picture, or too large.
        """
        factor = 1 << min(scale.bit_length() - 1, self.levels)
        x, y, right, bottom = window[0], window[1], window[0] + window[2], window[1] + window[3]
        x, y = (max(n, 0) // factor * factor for n in (x, y))
        height, width = self.size
        found = Window(x, y, min(right, width) - x, min(bottom, height) - y, factor)
        if min(found.width, found.height) <= 0:
            raise Refusal(400, f"window is {list(window)}, beside the picture")
        if math.prod(found.shape) > MAX_VIEW:
            raise Refusal(400, f"the window has more than {MAX_VIEW} pixels at scale {factor}")
        return View(found, self.size)


# Answers. These run where the model does.


def answer(
    model: Model, content: LargeContent, prompt: Prompt, three: bool, scale: int
) -> dict[str, Any]:
    """Low-resolution masks of a prompt, and the window that they cover."""
    window = content.window(prompt, scale, model.config.image_size)
    masks = model.answer(encoded(model, content, window), inside(prompt, window), three)
    for mask in masks:
        mask["area"] *= window.scale**2
    return {"masks": masks, "window": [window.x, window.y, window.width, window.height]}


def mask(model: Model, content: LargeContent, found: MaskObject) -> tuple[Record, int]:
    """The record of an object's exact mask at the scale of its window, and that scale."""
    window = content.window(found.prompt, found.scale, model.config.image_size)
    prompt = inside(found.prompt, window)
    three = asks_for_three(found.prompt, found.multimask)
    record = model.mask(encoded(model, content, window), prompt, three, found.choice)
    area = found.min_mask_region_area / window.scale**2
    record = cleaned(record, area) if area > 0 else record
    pixels = decode_rle([record["segmentation"]])[0]
    corner = window.y // window.scale, window.x // window.scale
    rle = run_lengths(pixels, corner, size_at(content.size, window.scale))
    scores = record["predicted_iou"], record["stability_score"]
    return record_of(compress_rle([rle])[0], *scores), window.scale


def given(found: MaskObject) -> tuple[Record | None, int]:
    """The record of an object that the model is not asked about, if it has a mask; its scale."""
    if found.start is None:
        return None, found.scale
    return clean(record_of(found.start, 0.0, 0.0), found.min_mask_region_area, 1), 1


def clean(record: Record, area: float, scale: int) -> Record:
    """A record of the picture at a scale, without regions of fewer than ``area`` pixels of the
    picture. Only the part round the mask is decoded, with a margin so wide that what surrounds the
    mask is not a small region.
    """
    area /= scale**2
    rle = record["segmentation"]
    if area <= 0 or rle_area(rle) == 0:
        return record
    (x, y, w, h), (height, width) = rle_bbox(rle), rle["size"]
    margin = math.ceil(area**0.5) + 1
    x0, y0, x1, y1 = x - margin, y - margin, x + w + margin, y + h + margin
    box = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if (box[2] - box[0]) * (box[3] - box[1]) > MAX_PART:
        raise Refusal(400, "the mask is too large for removing small regions")
    part = compress_rle(encode_rle(decode_part(rle, box)[None]))[0]
    mask = decode_rle([clean_rle(part, area)])[0]
    (whole,) = compress_rle([run_lengths(mask, (box[1], box[0]), (height, width))])
    return with_mask(record, whole)


def encoded(model: Model, content: LargeContent, window: Window) -> Encoded:
    """A window's embedding: kept, or made now."""
    key = key_of(content, window)
    if key not in model.embeddings:
        content.check_unchanged()
        model.encode(key, content.part(window))
    return model.encoded(key)


def key_of(content: LargeContent, window: Window) -> str:
    """The key of a window's embedding."""
    return f"{content.key} {window.box} {window.scale}"


def inside(prompt: Prompt, window: Window) -> Prompt:
    """A prompt of the picture as one of a window."""
    found = dict(prompt)
    if "start" in prompt:
        found["start"] = mask_inside(prompt["start"], window)
    for name in ("point_coords", "box"):
        if name in prompt:
            points = window.inside(np.reshape(prompt[name], (-1, 2)))
            found[name] = points.reshape(np.shape(prompt[name])).tolist()
    return found


def mask_inside(rle: Rle, window: Window) -> Rle:
    """The part of a mask of the picture in a window: a pixel is set where half of it is."""
    if window.width * window.height > MAX_PART:
        raise Refusal(400, "the given mask cannot be refined from so far: zoom in")
    part = decode_part(rle, window.box)
    mask = shrink(part.astype(np.uint8) * 255, window.shape, (0, 0), window.scale) > 127
    return compress_rle(encode_rle(mask[None]))[0]
