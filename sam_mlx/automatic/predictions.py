"""The model's answers for one image, before any is judged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors.numpy import load_file, save_file

from ..files import load_tagged, save_tagged


@dataclass(frozen=True)
class MaskPredictions:
    """The model's answers for one image, before any is judged: N masks, each of one point.

    Answers whose predicted IoU is not above ``keep_iou`` are missing.
    """

    image_size: np.ndarray  # (2,) height, width, pixels
    model_size: np.ndarray  # () the side of the model's input frame, pixels
    keep_iou: np.ndarray  # ()
    crop_boxes: np.ndarray  # (K, 4) x0, y0, x1, y1 in the image, x1 and y1 exclusive
    stretched: np.ndarray  # () bool, whether crops fill the input frame, whatever their form
    crop: np.ndarray  # (N,) index into crop_boxes
    points: np.ndarray  # (N, 2) x, y in the image, float64
    predicted_iou: np.ndarray  # (N,) float32
    logits: mx.array  # (N, n, n) low-resolution masks of the crop

    @property
    def nbytes(self) -> int:
        """What ``save`` will write, but for a header of some hundred bytes.

        Nearly all is logits in float32, whose low bits are noise: deflate saves a quarter of it.
        """
        return sum(getattr(self, f.name).nbytes for f in fields(self))

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        save_tagged(
            path, "MaskPredictions", lambda name, metadata: save_file(arrays, name, metadata)
        )

    @classmethod
    def load(cls, path: str | Path) -> MaskPredictions:
        """Raises FileNotFoundError, or ValueError when the file holds something else."""
        try:
            arrays, _ = load_tagged(path, "MaskPredictions", "mask predictions", load_file)
            fitting: dict[str, Any] = {f.name: arrays[f.name] for f in fields(cls)}
            return cls(**fitting | {"logits": mx.array(arrays["logits"])})
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold mask predictions: {error}") from error
