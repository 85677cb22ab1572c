"""Windows of a large picture, and which of them a prompt is asked in."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

CONTEXT = 4  # a window is at least this many times as long as its prompt
MAX_SIDE = 4096  # of a window's pixels; larger windows are read at a coarser scale


@dataclass(frozen=True, order=True)
class Window:
    """A part of a picture. Its pixels (h, w) are ``scale`` x ``scale`` pixels of the picture each;
    those of the last row and column may reach beyond it.
    """

    x: int  # of the upper left corner, pixels of the picture
    y: int
    width: int  # pixels of the picture
    height: int
    scale: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is read, in pixels of the window."""
        return -(-self.height // self.scale), -(-self.width // self.scale)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels of the picture, x1 and y1 exclusive."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the picture, x and y in pixels, as points of the window."""
        return (np.asarray(points, float) - (self.x, self.y)) / self.scale

    def outside(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the window as points of the picture."""
        return np.asarray(points, float) * self.scale + (self.x, self.y)


def check_window(window: Window | Sequence[int], size: tuple[int, int], scale: int = 1) -> Window:
    """A window, or x, y, width, height. Raises ValueError unless it lies within ``size``."""
    if not isinstance(window, Window):
        try:
            x, y, w, h = map(operator.index, window)
        except (TypeError, ValueError):
            raise ValueError(
                f"window is {window!r}; expected x, y, width, height in whole pixels"
            ) from None
        window = Window(x, y, w, h, scale)
    x0, y0, x1, y1 = window.box
    height, width = size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height) or window.scale < 1:
        raise ValueError(
            f"the region {x0} {y0} {window.width} {window.height} (x, y, width, height) is not "
            f"within the picture, which is {width} x {height} pixels"
        )
    return window


@dataclass(frozen=True)
class Grid:
    """Where windows may lie: their shortest side is ``side``, longer ones are 2, 4, ... times as
    long, and their corners are multiples of ``step`` x the same factor. So prompts that are near
    each other share a window, and its embedding.
    """

    size: tuple[int, int]  # height, width of the picture
    side: int
    step: int
    max_side: int = field(default_factory=lambda: MAX_SIDE)  # of a window's pixels

    def around(self, x0: float, y0: float, x1: float, y1: float, factor: int = 1) -> Window:
        """The window for a prompt that spans these pixels: ``CONTEXT`` times as long, its middle
        near the prompt's, moved into the picture; the whole picture where it is not longer.

        factor: a power of 2; the window is at least this many times the shortest side.
        """
        height, width = self.size
        x0, x1 = (min(max(x, 0), width) for x in (x0, x1))
        y0, y1 = (min(max(y, 0), height) for y in (y0, y1))
        longest = max(x1 - x0, y1 - y0)
        while self.side * factor < min(CONTEXT * longest, max(width, height)):
            factor *= 2
        return self.place((x0 + x1) / 2, (y0 + y1) / 2, factor)

    def place(self, x: float, y: float, factor: int = 1) -> Window:
        """The window of ``factor`` x the shortest side whose middle is nearest to x, y."""
        side, step = self.side * factor, self.step * factor
        scale = 1
        while side > self.max_side * scale:
            scale *= 2
        height, width = self.size
        left, right = along(x, side, step, width, scale)
        top, bottom = along(y, side, step, height, scale)
        return Window(left, top, right - left, bottom - top, scale)

    def all(self) -> list[Window]:
        """Every window of the shortest side, row by row: one of them serves any small prompt."""
        height, width = self.size
        rows, columns = (
            sorted(
                {along(middle, self.side, self.step, length) for middle in middles(length, self)}
            )
            for length in (height, width)
        )
        return [Window(x, y, x1 - x, y1 - y) for y, y1 in rows for x, x1 in columns]


def along(middle: float, side: int, step: int, length: int, scale: int = 1) -> tuple[int, int]:
    """Where a window begins and ends along one axis of the picture."""
    if side >= length:
        return 0, length
    last = math.ceil((length - side) / scale) * scale
    start = min(max(round((middle - side / 2) / step) * step, 0), last)
    return start, min(start + side, length)


def middles(length: int, grid: Grid) -> list[float]:
    """The middles of all windows along one axis."""
    steps = math.ceil(max(length - grid.side, 0) / grid.step)
    return [i * grid.step + grid.side / 2 for i in range(steps + 1)]
