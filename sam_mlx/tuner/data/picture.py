"""A labelled picture, and label images as objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...image_files import look
from ...masks import Rle
from ...messages import printable
from ...samples import Range

MAX_TEXT = 1 << 30  # bytes of a file of annotations


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and its objects, read when they are asked for."""

    name: str  # tells it from the others of its data
    path: Path  # of its file
    pixels: Callable[..., np.ndarray]  # (H, W, 3), uint8; takes a ``value_range``, too
    objects: Callable[[], list[Rle]]  # of the picture's size; they may overlap
    page: int = 0  # of a stack

    def with_range(self, value_range: Range) -> LabelledPicture:
        """The picture, its samples read by another range."""
        return replace(self, pixels=partial(self.pixels, value_range=value_range))

    def read(self) -> tuple[np.ndarray, list[Rle]]:
        """Pixels (H, W, 3) and the objects. Raises ValueError where their sizes differ."""
        pixels, objects = self.pixels(), self.objects()
        for found in objects:
            if tuple(found["size"]) != pixels.shape[:2]:
                raise ValueError(
                    f"{printable(self.name)} has {pixels.shape[:2]} rows and columns, its labels "
                    f"{tuple(found['size'])}: they do not belong together"
                )
        return pixels, objects


def objects_of_labels(labels: np.ndarray) -> list[Rle]:
    """The objects in a label image (H, W): one for each number above 0, in their order."""
    H, W = labels.shape
    flat = labels.T.reshape(-1)  # column by column, as RLEs are
    place = np.flatnonzero(flat)
    place = place[np.argsort(flat[place], kind="stable")]
    _, first = np.unique(flat[place], return_index=True)
    return [runs_of(pixels, (H, W)) for pixels in np.split(place, first[1:]) if len(pixels)]


def runs_of(pixels: np.ndarray, size: tuple[int, int]) -> Rle:
    """The RLE of set pixels, which are given in order, column by column."""
    H, W = size
    begins = pixels[np.diff(pixels, prepend=-2) > 1]
    ends = pixels[np.diff(pixels, append=H * W + 1) > 1] + 1
    edges = np.stack([begins, ends], axis=1).reshape(-1)
    counts = np.diff(edges, prepend=0, append=H * W)
    return {"size": [H, W], "counts": counts[: len(counts) - (counts[-1] == 0)].tolist()}


def check_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """A label image (H, W) of whole numbers from 0. Raises ValueError for any other array."""
    name = printable(name)
    if labels.ndim == 3 and labels.shape[-1] in (3, 4):
        raise ValueError(
            f"{name} is in colour; expected one number for each pixel: 0 background, then an "
            "object each"
        )
    if labels.ndim != 2:
        raise ValueError(f"{name} has shape {labels.shape}; expected (H, W)")
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
            raise ValueError(
                f"{name} holds fractions; expected whole numbers, one for each object: is it a "
                "picture, or a map of probabilities?"
            )
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biu":
        raise ValueError(f"{name} has samples of type {labels.dtype}; expected whole numbers")
    if labels.size and labels.min() < 0:
        raise ValueError(f"{name} holds {labels.min()}; expected numbers from 0, the background")
    return labels


def size_of(picture: Path) -> tuple[int, int]:
    """Height and width of a picture's file, without its pixels."""
    with picture.open("rb") as file:
        return look(file)[1]
