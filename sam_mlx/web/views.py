"""What one sees of a large picture, searched as a picture of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..large import Window
from ..masks import Record, Rle, compress_rle, decode_part, record_of, rle_bbox, run_lengths
from .objects import Size

MASK_SIDE = 256  # of the model's masks


@dataclass(frozen=True)
class View:
    """A window, whose records become those of the picture at the window's scale."""

    window: Window
    size: Size  # of the picture

    @property
    def scale(self) -> int:
        return self.window.scale

    def whole(self, records: list[Record]) -> list[Record]:
        """Those whose masks keep away from edges of the view that are not the picture's, by a
        pixel of the model's masks.
        """
        return [record for record in records if self._is_whole(record)]

    def _is_whole(self, record: Record) -> bool:
        x, y, w, h = record["bbox"]
        height, width = self.window.shape
        near = max(height, width) / MASK_SIDE
        (left, top, right, bottom), (H, W) = self.window.box, self.size
        free = x, y, width - 1 - x - w, height - 1 - y - h
        beyond = left, top, W - right, H - bottom
        return all(a > near or b <= 0 for a, b in zip(free, beyond))

    def place(self, record: Record) -> Record:
        """A record of the view as one of the picture at the view's scale."""
        x, y, w, h = rle_bbox(record["segmentation"])
        part = decode_part(record["segmentation"], (x, y, x + max(w, 1), y + max(h, 1)))
        corner = y + self.window.y // self.scale, x + self.window.x // self.scale
        size = size_at(self.size, self.scale)
        (rle,) = compress_rle([run_lengths(part, corner, size)])
        return record_of(rle, record["predicted_iou"], record["stability_score"])


def size_at(size: Size, scale: int) -> Size:
    """The size of a picture at a scale."""
    height, width = size
    return -(-height // scale), -(-width // scale)


def scale_of(rle: Rle, size: Size) -> int:
    """The scale of a mask, a power of 2, from its size and the picture's."""
    scale = 1
    while size_at(size, scale) != tuple(rle["size"]) and scale < max(size):
        scale *= 2
    return scale
