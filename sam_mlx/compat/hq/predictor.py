"""``segment_anything_hq.predictor``."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import mlx.core as mx
import numpy as np

from ...registry import EARLY, IMAGE_EMBEDDING, Features
from .. import predictor
from ..missing import unknown
from ..tensors import at_work, channels_last, to_mlx, to_tensor
from .modeling import Sam


class SamPredictor(predictor.SamPredictor):
    """As Meta's, with early features, and one mask for each prompt."""

    model: Sam
    _early: Any = None  # (1, G, G, width): an array, until a client asks for the tensor
    _prepared: Features | None = None  # what the decoder takes of the current picture
    _hq_token_only = False

    @property
    def features(self) -> Any:
        """The current picture's embedding, (1, C, G, G), or None."""
        return super().features

    @features.setter
    def features(self, features: Any) -> None:
        """A tensor or an array; or all that the image encoder gives, by name."""
        if isinstance(features, Mapping):
            features, self._early = features[IMAGE_EMBEDDING], features[EARLY]
        self._features, self._prepared = features, None

    @property
    def interm_features(self) -> list[Any]:
        """Early features of the current picture: one tensor, (1, G, G, width)."""
        if isinstance(self._early, mx.array):
            self._early = at_work(to_tensor)(self._early, self.device)
        return [self._early]

    @interm_features.setter
    def interm_features(self, features: Any) -> None:
        self._early, self._prepared = features[0], None

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As Meta's, with one mask; hq_token_only: SAM-HQ's own, without SAM's."""
        prompt = point_coords, point_labels, box, mask_input, multimask_output, return_logits
        return super(SamPredictor, self._with(hq_token_only)).predict(*prompt)

    def predict_torch(
        self,
        point_coords: Any,
        point_labels: Any,
        boxes: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[Any, Any, Any]:
        """As Meta's, with one mask each; hq_token_only: SAM-HQ's own, without SAM's."""
        prompt = point_coords, point_labels, boxes, mask_input, multimask_output, return_logits
        return super(SamPredictor, self._with(hq_token_only)).predict_torch(*prompt)

    def _with(self, hq_token_only: bool) -> SamPredictor:
        """A copy of this object, with the same picture, that answers so."""
        self._check()
        self._prepare()
        other = copy(self)
        other._hq_token_only = hq_token_only
        return other

    @at_work
    def _prepare(self) -> None:
        if self._prepared is None:
            dtype = self.model.mlx.dtype
            image, early = self._features, self._early
            self._prepared = self.model.mask_decoder.prepare({
                IMAGE_EMBEDDING: image if isinstance(image, mx.array) else channels_last(image),
                EARLY: to_mlx(early, dtype),
            })  # fmt: skip

    def _decode(
        self, points: Any, boxes: Any, masks: Any, multimask_output: bool
    ) -> tuple[mx.array, mx.array]:
        assert self._prepared is not None
        prompt = points, boxes, masks, multimask_output, self._hq_token_only
        return self.model.predict(self._prepared, *prompt)


__getattr__ = unknown(__name__, "segment_anything_hq 0.3")
