"""YOLO's text files: an outline a line, for segmentation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..masks import outlines
from .base import Format, Result


class Yolo(Format):
    """A class's number, from 0, then x, y, x, y, ... as shares of the picture's sides.

    A line holds one ring. The rings of a mask are joined by bridges, which are crossed twice and so
    change nothing: filled by the even-odd rule, the line is the mask.
    """

    name = "yolo"
    help = "a text file for each picture, as YOLO has it for segmentation"
    pattern = "{}.txt"

    def write(self, result: Result, path: str) -> None:
        height, width = result.image.shape[:2]
        lines = []
        for record, mask in zip(result.records, result.masks):
            rings = [ring for region in outlines(mask) for ring in region]
            if rings:
                shares = (joined(rings) / (width, height)).reshape(-1)
                number = record.get("category_id", 1) - 1
                lines.append(" ".join([str(number), *(f"{share:.6g}" for share in shares)]))
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One ring (N, 2) that goes round all of them, from the first corner of the first and back."""
    start = rings[0][:1]
    parts = [rings[0]]
    for ring in rings[1:]:
        parts += [start, ring, ring[:1]]
    return np.concatenate(parts)
