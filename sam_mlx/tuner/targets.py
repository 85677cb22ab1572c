"""Objects as what masks are compared with, and the matrices between sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx
import numpy as np

from .. import mask_inputs
from ..config import SamConfig
from ..masks import Rle, decode_rle
from ..modeling.layers import interpolate_rows
from ..transforms import input_size


@dataclass(frozen=True)
class Frame:
    """The sizes of a picture in training: masks are compared at its own size, or that of the
    model's input frame where that is smaller.
    """

    config: SamConfig
    original: tuple[int, int]  # height, width of the picture, pixels

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width in the input frame."""
        return input_size(self.original, self.config)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which masks are compared."""
        small = max(self.original) <= self.config.image_size
        return self.original if small else self.inner

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2), x and y in pixels of ``size``, to the model's input frame."""
        (h, w), (H, W) = self.inner, self.size
        return np.asarray(points, np.float32) * np.array([w / W, h / H], np.float32)

    def enlarge(self, logits: mx.array) -> mx.array:
        """Logits, or other maps, (..., n, n) at ``size``: (..., H, W)."""
        n, S = logits.shape[-1], self.config.image_size
        rows, columns = (enlarging(n, S, *sides) for sides in zip(self.inner, self.size))
        return rows @ logits @ columns.T


@lru_cache(maxsize=64)
def enlarging(n: int, frame: int, inner: int, outer: int) -> mx.array:
    """A matrix (outer, n) that makes rows of a picture of n rows of the input frame, as
    ``full_size`` has it.
    """
    square = interpolate_rows(np.eye(n), frame)
    return mx.array(interpolate_rows(square[:inner], outer), mx.float32)


def shares(masks: np.ndarray, frame: Frame) -> np.ndarray:
    """The share of each cell of the logits that is set in masks (B, H, W): (B, n, n), float32.

    masks have any size that stands for the whole picture. A truth that is only set or not in each
    cell would have an IoU of 0.92 with itself.
    """
    return mask_inputs.shares(masks, frame.inner, frame.config)


def masks_of(objects: Sequence[Rle], frame: Frame) -> np.ndarray:
    """Objects as bool masks (B, H, W) at the frame's size."""
    return resized(decode_rle(objects), frame)


def resized(masks: np.ndarray, frame: Frame) -> np.ndarray:
    """Masks (B, H, W) of the picture at the frame's size: set where most of a pixel is."""
    if frame.size == frame.original:
        return masks
    rows, columns = (
        mask_inputs.overlaps(m, side, side / m) for side, m in zip(frame.original, frame.size)
    )
    return np.asarray(rows @ masks.astype(np.float32) @ columns.T > 0.5)
