"""``segment_anything.predictor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from .. import images
from .missing import unknown
from .modeling.sam import Sam
from .tensors import at_work, channels_first, channels_last, mlx_to_numpy, to_numpy, to_tensor
from .utils.transforms import ResizeLongestSide


class SamPredictor:
    """Embeds a picture once, then predicts masks for prompts on it.

    All state is in attributes that clients may assign: model, transform, features, original_size,
    input_size, is_image_set.
    """

    model: Sam
    transform: ResizeLongestSide
    is_image_set = False
    original_size: Sequence[int]  # height, width of the picture
    input_size: Sequence[int]  # the same in the input frame
    _features: Any = None  # an array (1, G, G, C), until a client asks for the tensor

    def __init__(self, sam_model: Sam):
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_encoder.img_size)
        self.reset_image()

    @property
    def features(self) -> Any:
        """The current picture's embedding, (1, C, G, G), or None."""
        if isinstance(self._features, mx.array):
            self._features = at_work(channels_first)(self._features, self.device)
        return self._features

    @features.setter
    def features(self, features: Any) -> None:
        self._features = features

    @property
    def device(self) -> Any:
        return self.model.device

    def reset_image(self) -> None:
        """Forget the picture; as in the original, its sizes stay."""
        self.is_image_set = False
        self.features = None
        self.orig_h = self.orig_w = self.input_h = self.input_w = None

    @at_work
    def set_image(self, image: np.ndarray, image_format: str = "RGB") -> None:
        """Embed a picture, (H, W, 3) uint8, or whatever ``sam_mlx`` reads."""
        image = images.load_image(image, image_format)
        pixels = mx.array(self.transform.apply_image(image))[None]
        self._embed(pixels.transpose(0, 3, 1, 2), image.shape[:2])

    @at_work
    def set_torch_image(self, transformed_image: Any, original_image_size: Sequence[int]) -> None:
        """Embed a tensor (1, 3, h, w) in the input frame."""
        shape, side = tuple(transformed_image.shape), self.model.image_encoder.img_size
        if len(shape) != 4 or shape[1] != 3 or max(shape[2:]) != side:
            raise AssertionError(
                f"transformed_image has shape {shape}; expected (1, 3, h, w), the longer {side}"
            )
        self._embed(transformed_image, original_image_size)

    def _embed(self, pixels: Any, original_size: Sequence[int]) -> None:
        features = self.model.image_encoder.encode(self.model.prepare(pixels))
        self.reset_image()
        self.original_size = original_size
        self.input_size = tuple(pixels.shape[-2:])
        self.features = features
        self.is_image_set = True

    def get_image_embedding(self) -> Any:
        """The current picture's embedding, (1, C, G, G)."""
        self._check()
        return self.features

    @at_work
    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks for one prompt in pixels of the picture, as numpy arrays.

        Returns masks (C, H, W), bool or float32 logits; predicted IoU (C,); low-resolution logits
        (C, 4G, 4G).
        """
        self._check()
        points = None
        if point_coords is not None:
            if point_labels is None:
                raise AssertionError("point_coords were given without point_labels")
            coords = self.transform.apply_coords(point_coords, self.original_size)
            points = coords[None], to_numpy(point_labels)[None]
        if box is not None:
            box = self.transform.apply_boxes(box, self.original_size)
            if len(box) != 1:
                raise ValueError(f"{len(box)} boxes; predict takes one, predict_torch many")
        if mask_input is not None:
            mask_input = to_numpy(mask_input)[None]
        found = self._predict(points, box, mask_input, multimask_output, return_logits)
        masks, iou, logits = (mlx_to_numpy(x)[0] for x in found)
        return masks, iou, logits

    @at_work
    def predict_torch(
        self,
        point_coords: Any,
        point_labels: Any,
        boxes: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Masks for B prompts in the input frame, as tensors.

        point_coords (B, N, 2) and point_labels (B, N); boxes (B, 4); mask_input (B, 1, 4G, 4G);
        any may be None. Returns masks (B, C, H, W), bool or float32 logits; predicted IoU (B, C);
        low-resolution logits (B, C, 4G, 4G).
        """
        self._check()
        points = None if point_coords is None else (point_coords, point_labels)
        found = self._predict(points, boxes, mask_input, multimask_output, return_logits)
        masks, iou, logits = (to_tensor(x, self.device) for x in found)
        return masks, iou, logits

    def _predict(
        self, points: Any, boxes: Any, masks: Any, multimask_output: bool, return_logits: bool
    ) -> tuple[np.ndarray, mx.array, mx.array]:
        logits, iou = self._decode(points, boxes, masks, multimask_output)
        threshold = None if return_logits else self.model.mask_threshold
        enlarged = self.model.enlarge(logits, self.input_size, self.original_size, threshold)
        return enlarged, iou, logits

    def _decode(
        self, points: Any, boxes: Any, masks: Any, multimask_output: bool
    ) -> tuple[mx.array, mx.array]:
        features = self._features
        if not isinstance(features, mx.array):
            features = channels_last(features)
        return self.model.predict(features, points, boxes, masks, multimask_output)

    def _check(self) -> None:
        if not self.is_image_set:
            raise RuntimeError("no image: call set_image(image) before predict()")


__getattr__ = unknown(__name__)
