"""What data hold, before anything is trained: counts, sizes, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..config import SamConfig
from ..masks import decode_rle, rle_area
from ..overlay import draw_overlay
from ..transforms import input_size, resize_image
from .data import LabelledPicture
from .split import advice

WHOLE = 0.9  # of a picture: an object that covers more is odd
FLAT = 16  # gray values; pictures that use fewer are odd
SHEET, TILE = 16, 256  # pictures on a contact sheet, and the pixels of their sides


@dataclass(frozen=True)
class Survey:
    """What was found in labelled pictures."""

    sizes: list[tuple[int, int]]  # height, width of each picture
    areas: list[list[int]]  # of each picture's objects, pixels
    odd: list[str]
    diameters: np.ndarray  # of all objects, pixels of the model's input frame

    def lines(self) -> Iterator[str]:
        counts = [len(areas) for areas in self.areas]
        yield f"{len(self.sizes)} pictures of {spread([h for h, _ in self.sizes])} x " + (
            f"{spread([w for _, w in self.sizes])} pixels"
        )
        yield f"{sum(counts)} objects, {spread(counts)} in a picture"
        if sum(counts):
            yield f"diameters {spread(diameters_of(self.areas))} pixels"
            yield f"          {spread(self.diameters)} at the model's scale"
        yield from self.odd


def survey(pictures: Sequence[LabelledPicture], config: SamConfig, crop: int | None) -> Survey:
    """Read all pictures and their objects. Raises ValueError for those that do not fit together."""
    sizes, areas, diameters, odd = [], [], [], list[str]()
    seen: dict[bytes, str] = {}
    for picture in pictures:
        pixels, objects = picture.read()
        size = pixels.shape[:2]
        found = [rle_area(rle) for rle in objects]
        side = min(crop or max(size), max(size))
        shape = (min(size[0], side), min(size[1], side))
        scale = max(input_size(shape, config)) / max(shape)
        sizes.append(size)
        areas.append(found)
        diameters += [scale * (4 * area / np.pi) ** 0.5 for area in found]
        odd += oddities(picture.name, pixels, found)
        if other := seen.setdefault(
            pixels.tobytes()[:: max(1, pixels.size // 65536)], picture.name
        ):
            odd += [f"{picture.name} looks the same as {other}"] * (other != picture.name)
    at_scale, in_pictures = np.array(diameters), diameters_of(areas)
    if len(at_scale):
        medians = float(np.median(at_scale)), float(np.median(in_pictures))
        odd += filter(None, [advice(*medians, config)])
    return Survey(sizes, areas, odd, at_scale)


def diameters_of(areas: Sequence[Sequence[int]]) -> np.ndarray:
    """Of all objects, pixels of the pictures."""
    return np.sqrt(np.concatenate([np.array(a, float) for a in areas] or [np.zeros(0)]) * 4 / np.pi)


def oddities(name: str, pixels: np.ndarray, areas: list[int]) -> Iterator[str]:
    if not areas:
        yield f"{name} has no objects: it is not used"
    if any(area > WHOLE * pixels.shape[0] * pixels.shape[1] for area in areas):
        yield f"{name} has an object over nearly all of it: is the background labelled?"
    if (count := len(np.unique(pixels))) < FLAT:
        yield f"{name} uses {count} gray values: give --value-range"


def spread(values: Sequence[float] | np.ndarray) -> str:
    """Least, middle and most, or the one value that all have."""
    low, middle, high = (round(float(f(values))) for f in (np.min, np.median, np.max))
    return str(low) if low == high else f"{low} to {high} (median {middle})"


def contact_sheet(pictures: Sequence[LabelledPicture]) -> Image.Image:
    """Some pictures with their objects drawn on them."""
    chosen = [
        pictures[i] for i in sorted(set(np.linspace(0, len(pictures) - 1, SHEET).astype(int)))
    ]
    across = min(4, len(chosen))
    sheet = Image.new("RGB", (across * TILE, -(-len(chosen) // across) * TILE), (30, 30, 30))
    for i, picture in enumerate(chosen):
        pixels, objects = picture.read()
        drawn = draw_overlay(pixels, decode_rle(objects) if objects else [])
        scale = TILE / max(pixels.shape[:2])
        size = tuple(max(1, round(side * scale)) for side in pixels.shape[:2])
        sheet.paste(
            Image.fromarray(resize_image(np.asarray(drawn), (size[0], size[1]))),
            (i % across * TILE, i // across * TILE),
        )
    return sheet
