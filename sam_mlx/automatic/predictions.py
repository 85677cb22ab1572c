"""The model's answers for one image, before any is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

from ..arrays import are_finite, check_size
from ..full_size import MAX_SIDE, Grid
from ..machine.worker import at_work
from ..messages import escaping
from ..tensor_files import TensorFile, load_tagged, save_tagged
from ..transforms import preprocess_shape


@dataclass(frozen=True, repr=False)
class MaskPredictions:
    """The model's answers for one image, before any is judged: N masks, each for one point.

    Answers whose predicted IoU is not above ``keep_iou`` are missing.
    """

    image_size: np.ndarray  # (2,) height, width, pixels
    model_size: np.ndarray  # () the side of the model's input frame, pixels
    keep_iou: np.ndarray  # ()
    crop_boxes: np.ndarray  # (K, 4) x0, y0, x1, y1 in the image, x1 and y1 exclusive
    stretched: np.ndarray  # () bool, whether crops fill the input frame, whatever their shape
    crop: np.ndarray  # (N,) index into crop_boxes
    points: np.ndarray  # (N, 2) x, y in the image, float64
    predicted_iou: np.ndarray  # (N,) float32
    logits: mx.array  # (N, n, n) low-resolution masks of the crop

    def __repr__(self) -> str:
        height, width = self.image_size.tolist()
        (N, n, _), crops = self.logits.shape, len(self.crop_boxes)
        return (
            f"MaskPredictions(image {height} x {width}, {crops} crop{'s' * (crops > 1)}, "
            f"{N} masks of {n} x {n} with a predicted IoU above {self.keep_iou.item():g})"
        )

    @property
    def nbytes(self) -> int:
        """What ``save`` will write, except for a header of a few hundred bytes.

        Nearly all is logits in float32, whose low bits are noise: deflate would save a quarter.
        """
        return sum(getattr(self, f.name).nbytes for f in fields(self))

    def check(self) -> None:
        """Raise ValueError where the arrays do not fit each other, as they may where they were put
        together by hand, and for NaN and infinities in the model's answers.
        """
        check({f.name: getattr(self, f.name) for f in fields(self)})
        check_answers(self.logits, self.predicted_iou)

    def grid(self, crop_box: np.ndarray) -> Grid:
        """What scales the masks of a crop to its pixels."""
        x0, y0, x1, y1 = crop_box.tolist()
        size, side = (y1 - y0, x1 - x0), self.model_size.item()
        frame = (side, side) if self.stretched else preprocess_shape(size, side)
        return Grid.of(self.logits.shape[-1], frame, size, side)

    def __getitem__(self, part: slice) -> MaskPredictions:
        """Some of the answers."""
        return replace(self, **{name: getattr(self, name)[part] for name in EACH})

    @staticmethod
    @at_work
    def join(parts: Sequence[MaskPredictions]) -> MaskPredictions:
        """The answers of parts of one image."""
        columns = {name: [getattr(part, name) for part in parts] for name in EACH}
        logits = mx.concatenate(columns.pop("logits"))
        mx.eval(logits)
        joined = {name: np.concatenate(column) for name, column in columns.items()}
        return replace(parts[0], **joined, logits=logits)

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given |= {"logits": in_numpy(self.logits)}
        arrays = {name: np.asarray(value, order="C") for name, value in given.items()}
        save_tagged(
            path, "MaskPredictions", lambda name, metadata: save_file(arrays, name, metadata)
        )

    @classmethod
    @escaping()
    def load(cls, path: str | Path) -> MaskPredictions:
        """Raises FileNotFoundError, or ValueError when the file holds something else."""
        try:
            arrays, _ = load_tagged(path, "MaskPredictions", "mask predictions", _read)
            fitting: dict[str, Any] = {f.name: arrays[f.name] for f in fields(cls)}
            check(fitting)
            found = cls(**fitting | {"logits": mx.array(arrays["logits"])})
            check_answers(found.logits, found.predicted_iou)
            return found
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold mask predictions: {error}") from error


EACH = ("crop", "points", "predicted_iou", "logits")  # fields with an entry for every answer


@at_work
def in_numpy(x: mx.array) -> np.ndarray:
    """The same values; bfloat16, which numpy lacks, as float32."""
    return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)


def _read(file: TensorFile) -> dict[str, np.ndarray]:
    return {name: file.array(name) for name in file.places}


# The arrays of predictions: kinds of numbers (numpy's letters) and shapes, in which letters agree.
FORMS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "image_size": ("iu", (2,)),
    "model_size": ("iu", ()),
    "keep_iou": ("f", ()),
    "crop_boxes": ("iu", ("K", 4)),
    "stretched": ("b", ()),
    "crop": ("iu", ("N",)),
    "points": ("f", ("N", 2)),
    "predicted_iou": ("f", ("N",)),
    "logits": ("f", ("N", "n", "n")),
}


def check(arrays: Mapping[str, Any]) -> None:
    """Raise ValueError where arrays do not fit each other: they become indices, and the sizes of
    allocations.
    """
    sides: dict[int | str, int] = {}
    for name, (kinds, shape) in FORMS.items():
        array = arrays[name]
        if not isinstance(array, (np.ndarray, mx.array) if name == "logits" else np.ndarray):
            raise ValueError(f"{name} is of type {type(array).__name__}; expected an array")
        fits = kind_of(array) in kinds and array.ndim == len(shape)
        for side, n in zip(shape, array.shape):
            fits = fits and n == (side if isinstance(side, int) else sides.setdefault(side, n))
        if not fits:
            found = f"{array.dtype} {array.shape}"
            raise ValueError(f"{name} is {found}; expected kind {kinds!r} and shape {shape}")
    height, width = check_size(arrays["image_size"].tolist(), "image_size")
    x0, y0, x1, y1 = arrays["crop_boxes"].T
    if not ((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)).all():
        raise ValueError(f"crop_boxes leave the image of {height} x {width} pixels")
    if len(x0) == 0 or (x0.min(), y0.min(), x1.max(), y1.max()) != (0, 0, width, height):
        raise ValueError(f"crop_boxes do not cover the image of {height} x {width} pixels")
    if ((arrays["crop"] < 0) | (arrays["crop"] >= len(x0))).any():
        raise ValueError("crop names crops that are not there")
    finite = np.isfinite(arrays["points"]).all() and not np.isnan(arrays["keep_iou"])
    if not finite or not 1 <= arrays["model_size"] <= MAX_SIDE or arrays["logits"].shape[1] < 1:
        raise ValueError("keep_iou, points, model_size or logits are out of range")


def kind_of(array: np.ndarray | mx.array) -> str:
    """numpy's letter for the kind of numbers; MLX's logits are floats or they do not fit."""
    if isinstance(array, mx.array):
        return "f" if mx.issubdtype(array.dtype, mx.floating) else "-"
    return array.dtype.kind


@at_work
def check_answers(logits: mx.array, predicted_iou: np.ndarray) -> None:
    """Raise ValueError for NaN and infinities in logits (N, n, n) and predicted IoU (N,)."""
    for name, values in (("logits", logits), ("predicted_iou", mx.array(predicted_iou))):
        # A sum is finite if all values are, unless they are huge.
        total = values.astype(mx.float32).sum()
        if not mx.isfinite(total).item() and not are_finite([values]):
            raise ValueError(f"{name} holds NaN or infinite values: predict again")
