"""Work on the tiles of a region, one after another: what they gave is kept, and not made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from ..large import LargeImage, Window
from .layout import Rect, TileOptions, Tiles
from .store import Store, key_of_tile

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Report = Callable[[int, int], None]  # the tiles done, and all tiles


class Searcher(Protocol[T_co]):
    """What works on a tile: ``search.Search`` finds masks, an instance decoder makes maps."""

    def tile(self, tiles: Tiles, rect: Rect) -> T_co: ...


@dataclass(kw_only=True)
class Walk(Generic[T]):
    """The tiles of a region of a picture, at each of some scales."""

    picture: LargeImage
    region: Window
    tile_options: TileOptions
    store: Store[T] = field(default_factory=Store)  # of what is done already
    report: Report = lambda done, total: None
    pause: Callable[[], None] = lambda: None
    counts: dict[str, int] = field(default_factory=dict)  # by what ``REMARKS`` names
    searcher: Searcher[T] = field(init=False)

    REMARKS: ClassVar[dict[str, str]] = {}  # what is counted, in words

    def __post_init__(self) -> None:
        self.layouts = {s: Tiles(self.region, s, self.tile_options) for s in self.scales}
        self.counts |= dict.fromkeys(self.REMARKS, 0)
        self._done = 0

    @property
    def scales(self) -> list[int]:
        """The finest first."""
        return [1]

    @property
    def tiles(self) -> list[tuple[int, Rect]]:
        """Every tile with its scale, in the order in which they are worked on."""
        return [
            (scale, layout.rect(row, column))
            for scale, layout in reversed(self.layouts.items())
            for row in range(len(layout.rows))
            for column in range(len(layout.columns))
        ]

    def tile(self, scale: int, rect: Rect) -> T:
        """What a tile gave, from the store or made now."""
        self.pause()
        key = key_of_tile(scale, rect)
        found = self.store.get(key)
        if found is None:
            found = self.searcher.tile(self.layouts[scale], rect)
            self.store.put(key, found)
        self._done += 1
        self.report(self._done, len(self.tiles))
        return found

    def has_values(self) -> bool:
        """Whether a pixel of the region has a value; tiles are read until one has."""
        windows = (self.layouts[scale].window(rect) for scale, rect in self.tiles if scale == 1)
        return any(self.picture.pixels(window)[1].any() for window in windows)

    def borders(self, scale: int) -> tuple[list[int], list[int]]:
        """Where seams could be: x of upright lines, y of level ones, in pixels of the scale."""
        return self.layouts[scale].borders()
