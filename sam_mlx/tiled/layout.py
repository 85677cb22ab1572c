"""Where tiles lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..large import LargeImage, Window
from ..large.window import check_window
from ..options import check, option, whole_number

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1, exclusive


@dataclass(frozen=True)
class TileOptions:
    """How a large picture is cut into tiles."""

    tile: int = option(1024, "side of a tile, pixels", whole_number(64, 2048))
    overlap: int = option(256, "pixels that neighbouring tiles share", whole_number(0))

    def __post_init__(self) -> None:
        check(self)
        if not 0 < 2 * self.overlap < self.tile:
            raise ValueError(
                f"overlap is {self.overlap} and tile {self.tile}; expected an overlap above 0 and "
                "under half a tile: objects up to its size are found whole"
            )


@dataclass(frozen=True)
class Tiles:
    """Tiles over a region at one scale. Positions are in pixels of the scale, from the region's
    corner; the last tiles are moved into the region.
    """

    region: Window  # in pixels of the picture
    scale: int
    options: TileOptions

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the region, in pixels of the scale."""
        return -(-self.region.height // self.scale), -(-self.region.width // self.scale)

    @property
    def rows(self) -> list[int]:
        return starts(self.size[0], self.options)

    @property
    def columns(self) -> list[int]:
        return starts(self.size[1], self.options)

    def rect(self, row: int, column: int) -> Rect:
        height, width = self.size
        x, y, side = self.columns[column], self.rows[row], self.options.tile
        return x, y, min(x + side, width), min(y + side, height)

    def inner(self, rect: Rect) -> Rect:
        """The part of a tile up to the middle of what it shares with each of its neighbours."""
        (left, right), (top, bottom) = (
            cores(line, self.options.tile, length)[line.index(start)]
            for line, length, start in zip((self.columns, self.rows), self.size[::-1], rect)
        )
        return left, top, right, bottom

    def window(self, rect: Rect) -> Window:
        """A rectangle of the scale in pixels of the picture."""
        x0, y0, x1, y1 = (n * self.scale for n in rect)
        _, _, right, bottom = self.region.box
        x, y = self.region.x + x0, self.region.y + y0
        width, height = min(x1 - x0, right - x), min(y1 - y0, bottom - y)
        return Window(x, y, width, height, self.scale)

    def borders(self) -> tuple[list[int], list[int]]:
        """Where tiles begin and end within the region: x of the upright lines, y of the others."""
        height, width = self.size
        side = self.options.tile
        xs, ys = (
            sorted({edge for s in line for edge in (s, s + side)})
            for line in (self.columns, self.rows)
        )
        return [x for x in xs if 0 < x < width], [y for y in ys if 0 < y < height]


def starts(length: int, options: TileOptions) -> list[int]:
    """Where tiles begin along one axis."""
    last = length - options.tile
    return [0] if last <= 0 else [*range(0, last, options.tile - options.overlap), last]


def cores(starts: Sequence[int], side: int, length: int) -> list[tuple[int, int]]:
    """From where to where each of several stretches, as long as ``side``, is on its own: they part
    in the middle of what two of them share.
    """
    parted = [(before + side + after) // 2 for before, after in pairwise(starts)]
    return list(pairwise([0, *parted, length]))


def scales_of(region: Window, options: TileOptions) -> list[int]:
    """Scales of the searches, the finest first: the last has one tile."""
    scales = [1]
    while max(region.width, region.height) > options.tile * scales[-1]:
        scales.append(scales[-1] * 4)
    return scales


def region_of(picture: LargeImage, region: Sequence[int] | None) -> Window:
    """The part to search. Raises ValueError where it is not within the picture."""
    height, width = picture.size
    return check_window(region or (0, 0, width, height), picture.size)
