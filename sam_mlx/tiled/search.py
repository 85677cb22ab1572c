"""One tile as a picture of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..automatic.crops import CROP_EDGE
from ..automatic.options import GeneratorOptions
from ..large import LargeImage
from ..masks import Record, decode_rle
from .found import Found
from .layout import Rect, Tiles

# Records of pixels (h, w, 3), as uncompressed RLE.
Find = Callable[[np.ndarray, GeneratorOptions], list[Record]]


@dataclass(frozen=True)
class Search:
    """Finds everything in tiles of a picture."""

    picture: LargeImage
    find: Find
    options: GeneratorOptions

    def tile(self, tiles: Tiles, rect: Rect) -> list[Found]:
        """The masks of a tile. Pixels without a value are not asked about, nor a tile of them."""
        pixels, valid = self.picture.pixels(tiles.window(rect))
        options = replace(self.options, crop_n_layers=0, output_mode="uncompressed_rle")
        if not valid.all():
            grid = options.grids[0]
            column, row = (grid * valid.shape[::-1]).astype(int).T
            if not valid[row, column].any():
                return []
            options = options.with_one("point_grids", [grid[valid[row, column]]])
        found = [placed(record, rect, tiles) for record in self.find(pixels, options)]
        return [one for one in found if has_values(one, rect, valid)]


def placed(record: Record, rect: Rect, tiles: Tiles) -> Found:
    """A record of a tile, in the region."""
    x0, y0, _, _ = rect
    x, y = record["point_coords"][0]
    one = Found.of(
        decode_rle([record["segmentation"]])[0],
        (x0, y0),
        predicted_iou=record["predicted_iou"],
        stability_score=record["stability_score"],
        point=(x + x0, y + y0),
        tile=rect,
        scale=tiles.scale,
    )
    return replace(one, is_cut=reaches_edge(one, rect, tiles))


def reaches_edge(one: Found, rect: Rect, tiles: Tiles) -> bool:
    """Whether a mask was probably cut by an edge of its tile that is not one of the region.

    Meta's rule would take the edge of a tile for the region's where they are near each other.
    """
    height, width = tiles.size
    return any(
        edge != border and abs(side - edge) <= CROP_EDGE
        for side, edge, border in zip(one.box, rect, (0, 0, width, height))
    )


def has_values(one: Found, rect: Rect, valid: np.ndarray) -> bool:
    """Whether at least half of a mask's pixels have a value."""
    if valid.all():
        return True
    mask = one.within(rect)
    return 2 * int((mask & valid).sum()) >= int(mask.sum())
