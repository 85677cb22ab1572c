"""Masks from elsewhere as prompts: logits as an earlier answer of the model would have them."""

from __future__ import annotations

import numpy as np

from .config import SamConfig
from .masks import Array, check_mask
from .transforms import input_size

EDGE = 1e-3  # shares are kept this far from 0 and 1: logits of 6.9 (micro_sam's choice)


def mask_input(mask: Array, config: SamConfig) -> np.ndarray:
    """The ``mask_input`` of ``SamPredictor.predict`` for a mask (H, W) of the picture: logits
    (1, n, n), float32, of the share of each cell that is set.

    Raises ValueError for an array that is not a mask.
    """
    found = check_mask(mask)
    part = shares(found[None], input_size(found.shape, config), config).clip(EDGE, 1 - EDGE)
    return np.log(part / (1 - part))


def shares(masks: np.ndarray, inner: tuple[int, int], config: SamConfig) -> np.ndarray:
    """The share of each cell of the logits that is set in masks (B, H, W): (B, n, n), float32.

    masks have any size that stands for the whole picture. inner: the picture's height and width in
    the model's input frame.
    """
    n, S = config.mask_size, config.image_size
    rows, columns = (
        overlaps(n, side, S / n * side / length) for side, length in zip(masks.shape[1:], inner)
    )
    return np.asarray(rows @ masks.astype(np.float32) @ columns.T, np.float32)


def overlaps(n: int, side: int, cell: float) -> np.ndarray:
    """(n, side): the share of each of n cells, ``cell`` pixels long, that each pixel covers."""
    begins = np.arange(n)[:, None] * cell
    pixels = np.arange(side)
    common = np.minimum(begins + cell, pixels + 1) - np.maximum(begins, pixels)
    return np.maximum(common, 0).astype(np.float32) / np.float32(cell)
