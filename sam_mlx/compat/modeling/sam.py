"""``segment_anything.modeling.sam``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from ... import full_size, sam, transforms
from ...checkpoints.load import cast
from ...decoding import all_finite, not_finite
from ...modeling.layers import weights_of
from ...registry import IMAGE_EMBEDDING, Features, mask_decoder_of
from ..missing import unknown
from ..tensors import (
    as_size,
    at_work,
    channels_first,
    is_tensor,
    to_mlx,
    to_numpy,
    to_tensor,
    usable_device,
)
from .image_encoder import ImageEncoderViT
from .mask_decoder import MaskDecoder
from .part import Part, mlx_dtype
from .prompt_encoder import Points, PromptEncoder

PARTS: dict[str, type[Part]] = {
    "image_encoder": ImageEncoderViT, "prompt_encoder": PromptEncoder, "mask_decoder": MaskDecoder,
}  # fmt: skip


class Sam(Part):
    """A ``sam_mlx.Sam`` with the names, tensors and layouts of Meta's.

    It computes where MLX does; ``to(device)`` says where tensors are handed over.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"
    package = "segment_anything"
    # Of its mask decoder, and the classes of its parts.
    takes: tuple[str, ...] = (IMAGE_EMBEDDING,)
    encoder: type[ImageEncoderViT] = ImageEncoderViT
    decoder: type[MaskDecoder] = MaskDecoder
    settable = (*Part.settable, "mlx", "mask_threshold", "image_format", "pixel_mean", "pixel_std")

    def __init__(self, model: sam.Sam | None = None, **parts: Any):
        if not isinstance(model, sam.Sam):
            super().__init__()
        elif mask_decoder_of(model.config).takes != self.takes:
            raise NotImplementedError(
                f"the model's mask decoder is {mask_decoder_of(model.config).sizes.type!r}, which "
                f"takes other features than {self.takes}, which clients of {self.package} hand "
                "over: use sam_mlx.SamPredictor, and for SAM-HQ also segment_anything_hq"
            )
        self.mlx: sam.Sam = model  # type: ignore[assignment]
        self.sam = self
        self.image_encoder: ImageEncoderViT = self.encoder.of(self)
        self.prompt_encoder: PromptEncoder = PromptEncoder.of(self)
        self.mask_decoder: MaskDecoder = self.decoder.of(self)
        self._device: Any = "cpu"

    def __setattr__(self, name: str, value: Any) -> None:
        """What a client notes down on the model is its own; what changes nothing is refused."""
        part = PARTS.get(name)
        if (part and isinstance(value, part)) or (not hasattr(type(self), name) and not part):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def device(self) -> Any:
        return usable_device(self._device)

    def take(self, value: Any) -> None:
        """One argument of ``to``."""
        if is_tensor(value):
            self.take(value.device)
            value = value.dtype
        if type(value).__name__ == "dtype":
            self.cast(mlx_dtype(value))
        elif type(value).__name__ == "memory_format":
            pass  # how tensors lie in memory: here they are contiguous
        elif value is not None and not isinstance(value, bool):
            self._device = value

    @at_work
    def cast(self, dtype: mx.Dtype) -> None:
        if dtype != self.mlx.dtype:
            self.mlx.load_weights(list(cast(weights_of(self.mlx), dtype).items()))
            mx.eval(self.mlx.parameters())  # by the thread that made them

    @property
    def pixel_mean(self) -> Any:
        """(3, 1, 1), as ``pixel_std``. Assign to change; ``pixel_mean[:] = ...`` changes a copy."""
        return self._constant(self.mlx.config.pixel_mean)

    @pixel_mean.setter
    def pixel_mean(self, values: Any) -> None:
        self.mlx.config = replace(self.mlx.config, pixel_mean=_three(values))

    @property
    def pixel_std(self) -> Any:
        return self._constant(self.mlx.config.pixel_std)

    @pixel_std.setter
    def pixel_std(self, values: Any) -> None:
        self.mlx.config = replace(self.mlx.config, pixel_std=_three(values))

    def _constant(self, values: Sequence[float]) -> Any:
        return to_tensor(np.array(values, np.float32).reshape(-1, 1, 1), self.device)

    def forward(
        self, batched_input: Sequence[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Any]]:
        """Masks for prompts on several images.

        batched_input: dicts with image, (3, h, w) in the input frame; original_size, (H, W); and
        any of point_coords (B, N, 2) with point_labels (B, N), boxes (B, 4), mask_inputs
        (B, 1, 4G, 4G), all in the input frame.

        Returns dicts with masks, (B, C, H, W) bool; iou_predictions, (B, C); low_res_logits,
        (B, C, 4G, 4G).
        """
        images = mx.concatenate([self.prepare(record["image"][None]) for record in batched_input])
        features = self.image_encoder.encode(images)
        return [
            self._answer(features[i : i + 1], record, multimask_output)
            for i, record in enumerate(batched_input)
        ]

    def _answer(
        self, features: Any, record: dict[str, Any], multimask_output: bool, **settings: bool
    ) -> dict[str, Any]:
        points = None
        if "point_coords" in record:
            points = record["point_coords"], record["point_labels"]
        boxes, masks = record.get("boxes"), record.get("mask_inputs")
        logits, iou = self.predict(features, points, boxes, masks, multimask_output, **settings)
        sizes = record["image"].shape[-2:], record["original_size"]
        return {
            "masks": to_tensor(self.enlarge(logits, *sizes, self.mask_threshold), self.device),
            "iou_predictions": to_tensor(iou, self.device),
            "low_res_logits": to_tensor(logits, self.device),
        }

    def predict(
        self, features: mx.array, points: Points, boxes: Any, masks: Any, multimask_output: bool
    ) -> tuple[mx.array, mx.array]:
        """Logits (B, C, n, n) and IoU (B, C), evaluated, for prompts on features (1, G, G, C)."""
        sparse, dense = self.prompt_encoder.embed(points, boxes, masks)
        pe = self.mlx.prompt_encoder.get_dense_pe()
        named = {IMAGE_EMBEDDING: features.astype(self.mlx.dtype)}
        self.mlx.check_features(named, len(sparse))
        answers = self.mask_decoder.decode(named, pe, sparse, dense, bool(multimask_output))
        return self.told(named, answers)

    def told(
        self, features: Features, answers: tuple[mx.array, mx.array]
    ) -> tuple[mx.array, mx.array]:
        """Answers, after a warning where they hold NaN or infinities, as the original's may."""
        if not all_finite(answers):
            warnings.warn(not_finite(self.mlx, features), stacklevel=3)
        return answers

    def enlarge(
        self,
        logits: mx.array,
        input_size: Sequence[int],
        original_size: Sequence[int],
        threshold: float | None = None,
    ) -> np.ndarray:
        """(B, C, n, n) to (B, C, H, W): float32, or bool with a threshold."""
        sizes = as_size(input_size), as_size(original_size), self.mlx.config.image_size
        return full_size.enlarge(logits, *sizes, threshold)

    @at_work
    def postprocess_masks(
        self, masks: Any, input_size: Sequence[int], original_size: Sequence[int]
    ) -> Any:
        """Low-resolution logits (B, C, n, n) to the picture's size, (B, C, H, W)."""
        return to_tensor(self.enlarge(to_mlx(masks), input_size, original_size), self.device)

    @at_work
    def preprocess(self, x: Any) -> Any:
        """Pixels (3, h, w) or (B, 3, h, w), 0 to 255, normalised and padded to (..., 3, S, S)."""
        images = channels_first(self.prepare(x.reshape(-1, *x.shape[-3:])), self.device)
        return images.reshape(*x.shape[:-2], *images.shape[-2:])

    def prepare(self, images: Any) -> mx.array:
        """(B, 3, h, w) to (B, S, S, 3)."""
        pixels = mx.array(to_numpy(images)).transpose(0, 2, 3, 1)
        return transforms.normalize_and_pad(pixels, self.mlx.config)


def _three(values: Any) -> tuple[float, ...]:
    return tuple(to_numpy(values).reshape(-1).tolist())


__getattr__ = unknown(__name__)
