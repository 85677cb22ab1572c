"""``segment_anything.utils.transforms``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...transforms import preprocess_shape
from ..missing import unknown
from ..tensors import as_size, import_torch


class ResizeLongestSide:
    """Pictures, points and boxes to the input frame, whose longest side is ``target_length``."""

    def __init__(self, target_length: int):
        self.target_length = target_length

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Antialiased bilinear resize of (H, W, C) or (H, W) uint8."""
        H, W = image.shape[:2]
        height, width = self.get_preprocess_shape(H, W, self.target_length)
        picture = Image.fromarray(image)
        return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Points (..., 2) as x, y to float64. original_size: height, width."""
        return self._scaled(np.array(coords, float), original_size)

    def apply_boxes(self, boxes: np.ndarray, original_size: Sequence[int]) -> np.ndarray:
        """Boxes as x0, y0, x1, y1 to (B, 4) float64."""
        return self.apply_coords(np.reshape(boxes, (-1, 2, 2)), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Any) -> Any:
        """Float tensors (B, C, H, W), interpolated by PyTorch.

        As in the original, the target is that of the first two axes, taken for height and width:
        give it one picture as (H, W, ...) or use ``apply_image``.
        """
        torch = import_torch()
        size = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        interpolate = torch.nn.functional.interpolate
        return interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Any, original_size: Sequence[int]) -> Any:
        """Points (..., 2) to a new float32 tensor on the same device."""
        return self._scaled(coords.clone().to(import_torch().float32), original_size)

    def apply_boxes_torch(self, boxes: Any, original_size: Sequence[int]) -> Any:
        """Boxes to (B, 4) float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def _scaled(self, coords: Any, original_size: Sequence[int]) -> Any:
        old_h, old_w = as_size(original_size)
        new_h, new_w = self.get_preprocess_shape(old_h, old_w, self.target_length)
        coords[..., 0] *= new_w / old_w
        coords[..., 1] *= new_h / old_h
        return coords

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Height and width in the input frame; a side that would vanish keeps one pixel."""
        return preprocess_shape((oldh, oldw), long_side_length)


__getattr__ = unknown(__name__)
