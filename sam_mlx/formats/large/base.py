"""What a format of large pictures is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...files import parse_json, to_json
from ...large import LargeImage, Window
from ...large.readers import needed
from ...tiled.found import Found
from ..base import Needs


class Spool:
    """Masks in a file, a line each: written as they are found, read as often as needed."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def write(cls, path: Path, found: Iterable[Found]) -> Spool:
        with path.open("w") as file:
            for one in found:
                file.write(to_json(one.to_json()) + "\n")
        return cls(path)

    def __iter__(self) -> Iterator[Found]:
        with self.path.open() as file:
            for line in file:
                yield Found.from_json(parse_json(line))

    def at(self, offsets: Iterable[int]) -> Iterator[Found]:
        """The masks at some of the ``offsets``."""
        with self.path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield Found.from_json(parse_json(file.readline().decode()))

    def offsets(self) -> Iterator[int]:
        """Where each mask begins, in bytes."""
        at = 0
        with self.path.open("rb") as file:
            for line in file:
                yield at
                at += len(line)


@dataclass(frozen=True)
class LargeResult:
    """What one large picture gave: masks in pixels of a region."""

    picture: LargeImage
    region: Window
    masks: Spool

    def numbered(self) -> Iterator[tuple[int, Found]]:
        """The masks with their numbers: those of their prompts, or from 1 on."""
        for i, one in enumerate(self.masks, 1):
            yield one.number or i, one

    def box(self, one: Found) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of a mask in pixels of the picture, exclusive."""
        _, _, right, bottom = self.region.box
        x0, y0, x1, y1 = (n * one.scale for n in one.box)
        x, y = self.region.x, self.region.y
        return x0 + x, y0 + y, min(x1 + x, right), min(y1 + y, bottom)

    def area(self, one: Found) -> int:
        """In pixels of the picture."""
        return one.area * one.scale**2

    def pixels(self, one: Found) -> np.ndarray:
        """The mask (h, w) of its ``box``."""
        x0, y0, x1, y1 = self.box(one)
        mask = one.mask
        if one.scale > 1:
            mask = mask.repeat(one.scale, axis=0).repeat(one.scale, axis=1)
        return mask[: y1 - y0, : x1 - x0]


class LargeFormat(ABC):
    """A form of results. Each has one object, in ``LARGE_FORMATS``."""

    name: str  # in the shell, after --format
    help: str
    ending: str  # of its files

    needs: Needs | None = None

    def check(self) -> None:
        """Raise ImportError where a package is missing that ``write`` needs."""
        if self.needs is not None:
            needed(*self.needs)

    @abstractmethod
    def write(self, result: LargeResult, path: str) -> None:
        """Make a file of that name."""
