"""All instances in a picture of any size (original: micro-sam's tiled segmentation).

The decoder makes maps of each tile. Of them the inner part stays, up to the middle of what the tile
shares with its neighbours, so that the parts make one map of the whole picture, without seams where
both neighbours see the same. The map is then flooded in square parts of two tiles a side, which
overlap by half a tile. An instance is taken from the part whose core holds its middle; cores meet
in the middle of what two parts share. So one that is not larger than half a tile lies whole in its
part, and is taken once. Rows of the map go as soon as no part needs them: memory does not grow with
the picture's height.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import mlx.core as mx
import numpy as np

from ..embedding import ImageEmbedding
from ..large import LargeImage
from ..tiled.found import Found
from ..tiled.layout import Rect, Tiles, cores
from ..tiled.store import FolderStore
from ..tiled.walk import Walk
from .maps import InstanceMaps, needed
from .options import InstanceOptions
from .watershed import flood, score

LEVELS = np.float32(65535)  # maps are kept in 16 bits: in steps of 1.5e-5
NOTHING = np.array([0, 1, 1], np.float32)  # foreground and distances outside all instances

Predict = Callable[[np.ndarray], np.ndarray]  # maps (3, h, w), 0 to 1, of pixels (h, w, 3)


@dataclass(frozen=True)
class TileMaps:
    """Makes maps of the inner parts of tiles, (3, h, w) uint16."""

    picture: LargeImage
    predict: Predict

    def tile(self, tiles: Tiles, rect: Rect) -> np.ndarray:
        """Where pixels have no value there is nothing; a tile of them is not looked at."""
        pixels, valid = self.picture.pixels(tiles.window(rect))
        maps = np.broadcast_to(NOTHING[:, None, None], (3, *valid.shape))
        if valid.any():
            maps = np.where(valid, self.predict(pixels), maps)
        left, top, right, bottom = tiles.inner(rect)
        x, y, _, _ = rect
        inner = maps[:, top - y : bottom - y, left - x : right - x]
        return np.round(inner * LEVELS).astype(np.uint16)


class MapStore(FolderStore[np.ndarray]):
    """Maps (3, H, W) of tiles as files, 16 bits a value."""

    ending = ".npz"

    def read(self, path: Path) -> np.ndarray:
        """The maps of a file. Raises ValueError for a damaged one."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                maps: np.ndarray = arrays["maps"]
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{path}: {error}") from error
        if maps.ndim != 3 or len(maps) != 3 or maps.dtype != np.uint16:
            raise ValueError(f"{path} holds no maps")
        return maps

    def write(self, name: str, found: np.ndarray) -> None:
        """Write maps, compressed."""
        with open(name, "wb") as file:
            np.savez_compressed(file, maps=found)


@dataclass
class Row:
    """The map of a row of tiles, and where instances are that have been taken already."""

    top: int
    maps: np.ndarray  # (3, h, W) uint16
    taken: np.ndarray = field(init=False)  # (h, W)

    def __post_init__(self) -> None:
        self.taken = np.zeros(self.maps.shape[1:], bool)

    @property
    def bottom(self) -> int:
        """The picture's row below the last of these."""
        return self.top + self.maps.shape[1]


@dataclass
class Band:
    """The rows of the map that are needed now."""

    rows: list[Row] = field(default_factory=list)
    bottom: int = 0

    def add(self, maps: np.ndarray) -> None:
        """Put maps below those that are there."""
        self.rows.append(Row(self.bottom, maps))
        self.bottom = self.rows[-1].bottom

    def drop_above(self, y: int) -> None:
        """Forget rows of tiles that end above the picture's row y."""
        self.rows = [row for row in self.rows if row.bottom > y]

    def across(self, rect: Rect) -> Iterator[tuple[Row, slice, slice]]:
        """The rows that a rectangle crosses: from where to where in the row, and in it."""
        _, y0, _, y1 = rect
        for row in self.rows:
            top, bottom = max(y0, row.top), min(y1, row.bottom)
            if top < bottom:
                yield row, slice(top - row.top, bottom - row.top), slice(top - y0, bottom - y0)

    def read(self, rect: Rect) -> tuple[InstanceMaps, np.ndarray]:
        """The maps of a rectangle, and whether its pixels are still free (h, w)."""
        x0, y0, x1, y1 = rect
        parts = [(row.maps[:, a, x0:x1], row.taken[a, x0:x1]) for row, a, _ in self.across(rect)]
        maps = np.concatenate([part for part, _ in parts], axis=1).astype(np.float32) / LEVELS
        size = y1 - y0, x1 - x0
        unknown = ImageEmbedding(mx.zeros((1, 1, 1, 1)), size, size, "")
        foreground, centre, boundary = maps
        free = ~np.concatenate([taken for _, taken in parts])
        return InstanceMaps(foreground, centre, boundary, unknown), free

    def take(self, one: Found) -> None:
        """Mark the pixels of an instance as taken."""
        x0, _, x1, _ = one.box
        for row, in_row, in_mask in self.across(one.box):
            row.taken[in_row, x0:x1] |= one.mask[in_mask]


@dataclass(kw_only=True)
class InParts(Walk[np.ndarray]):
    """A search of the map of a region, in parts that overlap."""

    predict: Predict
    options: InstanceOptions

    def __post_init__(self) -> None:
        super().__post_init__()
        self.searcher = TileMaps(self.picture, self.predict)

    @property
    def side(self) -> int:
        """Of the parts."""
        return 2 * self.tile_options.tile

    def rows_of_parts(self) -> Iterator[tuple[Band, list[tuple[Rect, Rect]], int]]:
        """From above, each row of parts: the map, every part with its core, and where the next row
        begins, or the region ends.
        """
        height, width = self.layouts[1].size
        tops, lefts = self._starts(height), self._starts(width)
        band, rows = Band(), self._rows()
        columns = list(zip(lefts, cores(lefts, self.side, width)))
        for i, (top, down) in enumerate(zip(tops, cores(tops, self.side, height))):
            band.drop_above(top)
            bottom = min(top + self.side, height)
            while band.bottom < bottom:
                band.add(next(rows))
            parts = [
                ((left, top, min(left + self.side, width), bottom),
                 (across[0], down[0], across[1], down[1]))
                for left, across in columns
            ]  # fmt: skip
            yield band, parts, tops[i + 1] if i + 1 < len(tops) else height

    def _starts(self, length: int) -> list[int]:
        """Where parts begin along one axis."""
        last = length - self.side
        return [0] if last <= 0 else [*range(0, last, self.side * 3 // 4), last]

    def _rows(self) -> Iterator[np.ndarray]:
        """The maps of each row of tiles."""
        layout = self.layouts[1]
        for row in range(len(layout.rows)):
            rects = [layout.rect(row, column) for column in range(len(layout.columns))]
            yield np.concatenate([self.tile(1, rect) for rect in rects], axis=2)


@dataclass(kw_only=True)
class Flooding(InParts):
    """All instances in a region of a picture, by "ais"; iterate over it for their masks."""

    REMARKS: ClassVar[dict[str, str]] = {"too_large": "larger than half a tile, and cut"}

    def __iter__(self) -> Iterator[Found]:
        for band, parts, _ in self.rows_of_parts():
            for rect, core in parts:
                yield from self._part(band, rect, core)

    def _part(self, band: Band, rect: Rect, core: Rect) -> Iterator[Found]:
        """The instances of a part whose middles lie in its core."""
        self.pause()
        ndimage, _ = needed()
        maps, free = band.read(rect)
        if maps.foreground.max() <= self.options.foreground_threshold:
            return
        labels = flood(maps, self.options, free)
        for label, box in enumerate(ndimage.find_objects(labels), 1):
            bounds = moved(box, rect)
            if not is_within(bounds, core):
                continue
            mask = labels[box] == label
            iou, stability, point = score(maps, label, box, mask)
            one = Found.of(
                mask, bounds[:2], predicted_iou=iou, stability_score=stability, tile=rect,
                point=(point[0] + rect[0], point[1] + rect[1]),
            )  # fmt: skip
            band.take(one)
            self.counts["too_large"] += self._is_cut(bounds, rect)
            yield one

    def _is_cut(self, bounds: Rect, rect: Rect) -> bool:
        """Whether an instance reaches an edge of its part that is not one of the region."""
        height, width = self.layouts[1].size
        sides = zip(bounds, rect, (0, 0, width, height))
        return any(side == edge != border for side, edge, border in sides)

    def borders(self, scale: int) -> tuple[list[int], list[int]]:
        """Where parts of the map meet, and where parts that are flooded begin and end."""
        layout = self.layouts[scale]
        lines = []
        for starts, length in zip((layout.columns, layout.rows), layout.size[::-1]):
            parts = self._starts(length)
            edges = {end for _, end in cores(starts, self.tile_options.tile, length)}
            edges |= {edge for start in parts for edge in (start, start + self.side)}
            lines.append(sorted(edge for edge in edges if 0 < edge < length))
        return lines[0], lines[1]


def moved(box: tuple[slice, slice], rect: Rect) -> Rect:
    """A box within a rectangle, of rows and columns, as one of the region."""
    x, y, _, _ = rect
    rows, columns = box
    return columns.start + x, rows.start + y, columns.stop + x, rows.stop + y


def is_within(bounds: Rect, core: Rect) -> bool:
    """Whether the middle of a box lies in a core."""
    x0, y0, x1, y1 = bounds
    left, top, right, bottom = (2 * edge for edge in core)
    return left <= x0 + x1 < right and top <= y0 + y1 < bottom
