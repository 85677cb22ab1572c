"""Masks that tiles found, small in memory, and how much they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..masks import compress_rle, decode_rle, encode_rle
from .layout import Rect

AT_ONCE = 512  # boxes compared with all others


@dataclass(frozen=True, eq=False)
class Found:
    """One mask within its box. Positions are in pixels of the search's scale."""

    x: int  # of the box's corner
    y: int
    shape: tuple[int, int]  # height, width of the box
    packed: np.ndarray  # eight pixels a byte
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]  # the prompt, x and y
    tile: Rect  # or the window in which it was found
    is_cut: bool = False  # by an edge of the tile
    scale: int = 1  # pixels of the picture along a pixel
    number: int = 0  # of the prompt, from 1, where there was one
    name: str = ""  # that somebody gave it

    @classmethod
    def of(cls, mask: np.ndarray, corner: tuple[int, int], **more: Any) -> Found:
        """A mask (h, w) that may reach less far than its array, whose corner is x, y.

        Raises ValueError for a mask that is not set anywhere.
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows) == 0:
            raise ValueError("an empty mask")
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        x, y = corner[0] + int(columns[0]), corner[1] + int(rows[0])
        return cls(x, y, part.shape, np.packbits(part), **more)

    @property
    def mask(self) -> np.ndarray:
        h, w = self.shape
        return np.unpackbits(self.packed, count=h * w).reshape(h, w).astype(bool)

    @property
    def box(self) -> Rect:
        h, w = self.shape
        return self.x, self.y, self.x + w, self.y + h

    @property
    def extent(self) -> int:
        return max(self.shape)

    @property
    def area(self) -> int:
        return int(np.bitwise_count(self.packed).sum()) if BITS else int(self.mask.sum())

    @property
    def rank(self) -> tuple[float, float, int, int, int]:
        """The order in which duplicates are preferred: fine ones, then those with high scores."""
        return self.scale, -self.predicted_iou, self.y, self.x, -self.area

    def within(self, rect: Rect) -> np.ndarray:
        """The mask's pixels in a rectangle, whose size they have."""
        x0, y0, x1, y1 = rect
        out = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), bool)
        shared = common(self.box, rect)
        if shared is not None:
            a, b, c, d = shared
            out[b - y0 : d - y0, a - x0 : c - x0] = self.mask[
                b - self.y : d - self.y, a - self.x : c - self.x
            ]
        return out

    def to_json(self) -> dict[str, Any]:
        (rle,) = compress_rle(encode_rle(self.mask[None]))
        return {
            "x": self.x, "y": self.y, "rle": rle, "predicted_iou": self.predicted_iou,
            "stability_score": self.stability_score, "point": list(self.point),
            "tile": list(self.tile), "is_cut": self.is_cut, "scale": self.scale,
            "number": self.number, "name": self.name,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Found:
        x, y, rle = (values[name] for name in ("x", "y", "rle"))
        names = ("predicted_iou", "stability_score", "is_cut", "scale", "number")
        more = {name: values[name] for name in names} | {"name": values.get("name", "")}
        tile, point = tuple(values["tile"]), tuple(values["point"])
        if more["stability_score"] is None:  # NaN, which JSON lacks: there is no score
            more["stability_score"] = float("nan")
        return cls.of(decode_rle([rle])[0], (x, y), point=point, tile=tile, **more)


BITS = hasattr(np, "bitwise_count")  # numpy 2


def common(a: Rect, b: Rect) -> Rect | None:
    """What two rectangles share; None where that is nothing."""
    x0, y0 = max(a[0], b[0]), max(a[1], b[1])
    x1, y1 = min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def union(rects: Sequence[Rect]) -> Rect:
    table = np.array(rects)
    low, high = table[:, :2].min(axis=0).tolist(), table[:, 2:].max(axis=0).tolist()
    return low[0], low[1], high[0], high[1]


def iou(a: Found, b: Found) -> float:
    """IoU of two masks of one scale."""
    both = common_area(a, b)
    return both / (a.area + b.area - both)


def common_area(a: Found, b: Found) -> int:
    """Pixels that two masks of one scale share."""
    shared = common(a.box, b.box)
    return 0 if shared is None else int((a.within(shared) & b.within(shared)).sum())


def iou_within(a: Found, b: Found, rect: Rect) -> float:
    """IoU of the parts of two masks that lie in a rectangle; 0 where neither reaches it."""
    p, q = a.within(rect), b.within(rect)
    either = int((p | q).sum())
    return int((p & q).sum()) / either if either else 0.0


def meeting(a: Sequence[Found], b: Sequence[Found]) -> Iterator[tuple[int, int]]:
    """Indices of pairs whose boxes share pixels."""
    if not a or not b:
        return
    boxes = np.array([found.box for found in b])
    for start in range(0, len(a), AT_ONCE):
        some = np.array([found.box for found in a[start : start + AT_ONCE]])[:, None]
        meet = (some[..., :2] < boxes[:, 2:]).all(-1) & (some[..., 2:] > boxes[:, :2]).all(-1)
        for i, k in np.argwhere(meet).tolist():
            yield start + i, k


def coarser(found: Found, factor: int) -> Found:
    """A mask at a scale that is ``factor`` times as coarse: where half of a pixel is set."""
    left, top = found.x % factor, found.y % factor
    h, w = found.shape
    pad = ((top, -(h + top) % factor), (left, -(w + left) % factor))
    blocks = np.pad(found.mask, pad)
    H, W = (n // factor for n in blocks.shape)
    share = blocks.reshape(H, factor, W, factor).mean(axis=(1, 3))
    mask = share >= 0.5 if (share >= 0.5).any() else share > 0
    corner = found.x // factor, found.y // factor
    fields = ("predicted_iou", "stability_score", "point", "tile")
    made = Found.of(mask, corner, **{name: getattr(found, name) for name in fields})
    return replace(made, scale=found.scale * factor)
