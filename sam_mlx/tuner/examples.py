"""What training sees: pictures, parts of them, or squares, with the objects that count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..masks import Rle, decode_rle, encode_rle, rle_area
from ..messages import printable
from .data import LabelledPicture

EVERYTHING = 0.99  # of a picture

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, exclusive, pixels


@dataclass(frozen=True)
class Example:
    """A picture, a part of one, or a square cut from it.

    A part stays where it is in a picture that is black elsewhere: the model, to whose input the
    longer side is scaled, sees it as large as in the whole picture.
    """

    picture: LabelledPicture
    box: Box  # in the picture
    objects: tuple[Rle, ...]  # of ``size``, each of ``min_area`` pixels or more
    digest: str  # of its pixels
    whole: tuple[int, int] | None = None  # height and width of a part's picture

    @property
    def name(self) -> str:
        x0, y0, x1, y1 = self.box
        return f"{self.picture.name} {x0}-{x1}, {y0}-{y1}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        x0, y0, x1, y1 = self.box
        return self.whole or (y1 - y0, x1 - x0)

    @property
    def window(self) -> Box:
        """The box, in the pixels that the model sees."""
        H, W = self.size
        return self.box if self.whole else (0, 0, W, H)

    def pixels(self, view: int = 0) -> np.ndarray:
        """(H, W, 3) in a view."""
        return seen(shown(self.picture.pixels(), self.box, self.whole is not None), view)

    def masks(self, index: np.ndarray, view: int = 0) -> np.ndarray:
        """Some of the objects, (B, H, W), in a view."""
        chosen = decode_rle([self.objects[i] for i in index])
        return np.stack([seen(mask, view) for mask in chosen])


def shown(pixels: np.ndarray, box: Box, in_place: bool) -> np.ndarray:
    """The box of a picture (H, W, ...), cut out, or with everything around it black."""
    x0, y0, x1, y1 = box
    inside = pixels[y0:y1, x0:x1]
    if not in_place:
        return inside
    black = np.zeros_like(pixels)
    black[y0:y1, x0:x1] = inside
    return black


def seen(array: np.ndarray, view: int) -> np.ndarray:
    """An array (H, W, ...) mirrored and turned: eight views, of which 0 is as it is."""
    mirrored = array[:, ::-1] if view % 2 else array
    return np.ascontiguousarray(np.rot90(mirrored, view // 2))


def examples_of(
    pictures: Iterable[LabelledPicture],
    min_area: int,
    crop: int | None,
    part: tuple[float, float] = (0, 1),
    in_place: bool = False,
) -> list[Example]:
    """The examples of labelled pictures; what holds no object that counts is left out.

    part: the share of each picture's width at which they begin and end; in_place: the rest of it
    is black, where no squares are asked for.
    """
    found = (examples_in(one, min_area, crop, part, in_place and not crop) for one in pictures)
    return [one for examples in found for one in examples]


def examples_in(
    picture: LabelledPicture,
    min_area: int,
    crop: int | None,
    part: tuple[float, float],
    in_place: bool,
) -> Iterator[Example]:
    pixels, objects = picture.read()
    check_picture(picture.name, pixels, objects)
    H, W = pixels.shape[:2]
    left, right = round(part[0] * W), round(part[1] * W)
    whole = (H, W) if in_place else None
    for x, y, x_end, y_end in squares((H, right - left), crop):
        box = x + left, y, x_end + left, y_end
        inside = objects if box == (0, 0, W, H) else cut(objects, box, in_place)
        large = tuple(found for found in inside if rle_area(found) >= min_area)
        if large:
            digest = hashlib.sha256(shown(pixels, box, in_place).tobytes())
            yield Example(picture, box, large, digest.hexdigest(), whole)


def check_picture(name: str, pixels: np.ndarray, objects: list[Rle]) -> None:
    """Raise ValueError for a picture that was normalised, or an object over everything."""
    if pixels.max() <= 1:
        raise ValueError(
            f"{printable(name)} has no gray value above 1: if it was normalised to 0..1, give it "
            "with 0 to 255, or its floats with --value-range 0 1"
        )
    area = pixels.shape[0] * pixels.shape[1]
    if any(rle_area(found) > EVERYTHING * area for found in objects):
        raise ValueError(
            f"{printable(name)} has an object over all of it: is the background labelled? Its "
            "number must be 0"
        )


def squares(size: tuple[int, int], side: int | None) -> Iterator[Box]:
    """Boxes of a side that cover a picture, the last of a row or column moved inside it."""
    H, W = size
    h, w = (H, W) if side is None else (min(side, H), min(side, W))
    for y in sorted({min(y, H - h) for y in range(0, H, h)}):
        for x in sorted({min(x, W - w) for x in range(0, W, w)}):
            yield x, y, x + w, y + h


def cut(objects: list[Rle], box: Box, in_place: bool) -> list[Rle]:
    parts = (shown(decode_rle([found])[0], box, in_place) for found in objects)
    return [encode_rle(part[None])[0] for part in parts if part.any()]
