"""What needs the model: embeddings, answers to prompts, masks of objects, automatic masks."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import mlx.core as mx
import numpy as np

from ..automatic.generator import SamAutomaticMaskGenerator
from ..automatic.predictions import MaskPredictions
from ..config import SamConfig
from ..embedding import ImageEmbedding
from ..machine.budget import budget
from ..machine.worker import at_work
from ..masks import compress_rle, encode_rle, stability_scores
from ..predictor import SamPredictor
from ..sam import Sam
from .automatic import SEARCHED
from .errors import Refusal

# Steps of a search for automatic masks. They bound how long a click waits for the step before it,
# not memory: that the package's own budget bounds.
POINTS_AT_ONCE = 16  # put to the model
PIXELS_AT_ONCE = 4 << 20  # of masks that are measured
PER_LOGIT = 4  # steps, in the bytes that a page gets

Progress = Callable[[float], None]  # takes the share that is done, 0 to 1


class Embeddings:
    """Embeddings by their pictures' keys, up to a number of bytes: the least recently used go.

    All methods may be called from any thread.
    """

    def __init__(self, max_bytes: int | None = None):
        self.max_bytes = budget().embedding_bytes if max_bytes is None else max_bytes
        self._kept: OrderedDict[str, ImageEmbedding] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    @property
    def nbytes(self) -> int:
        return sum(e.nbytes for e in self._kept.values())

    def get(self, key: str) -> ImageEmbedding:
        """Raises Refusal, 409, for a picture that is not encoded, or not any longer."""
        with self._lock:
            if key not in self._kept:
                raise Refusal(409, "the picture is not ready: encode it first")
            self._kept.move_to_end(key)
            return self._kept[key]

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        """The newest one stays, however large it is."""
        with self._lock:
            self._kept[key] = embedding
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self.nbytes > self.max_bytes:
                self._kept.popitem(last=False)


class Model:
    """A model, and what is asked of it."""

    def __init__(self, model: Sam, name: str, options: dict[str, Any]):
        self.name, self.options = name, options
        self.predictor = SamPredictor(model)
        self.embeddings = Embeddings()

    @property
    def config(self) -> SamConfig:
        return self.predictor.model.config

    def describe(self) -> dict[str, str]:
        dtype = str(self.predictor.model.dtype).removeprefix("mlx.core.")
        return {"name": self.name, "device": mx.default_device().type.name, "dtype": dtype}

    @property
    def arguments(self) -> str:
        """The arguments of ``from_pretrained``, as Python."""
        given = [f", {name}={value!r}" for name, value in self.options.items() if value is not None]
        return repr(self.name) + "".join(given)

    def encode(self, key: str, image: np.ndarray) -> None:
        self.embeddings.put(key, self.predictor.embed(image))

    @at_work
    def answer(
        self, embedding: ImageEmbedding, prompt: dict[str, Any], multimask: bool
    ) -> list[dict[str, Any]]:
        """Low-resolution masks of a prompt, for drawing: one or three."""
        self.predictor.set_image_embedding(embedding)
        parts = self.predictor.embed_prompt(**prompt)
        model = self.predictor.model
        found, scores = model.predict_masks(embedding.named_features, *parts, multimask)
        scale = self.config.mask_size / self.config.image_size
        logits = over_the_picture(np.array(found[0].astype(mx.float32)), embedding, scale)
        H, W = embedding.original_size
        stability = np.nan_to_num(np.array(stability_scores(mx.array(logits))))
        return [
            {
                "score": float(score),
                "stability": float(stable),
                "area": round(float((x > 0).mean()) * H * W),
                "logits": packed(x),
            }
            for score, stable, x in zip(np.array(scores[0].astype(mx.float32)), stability, logits)
        ]

    @at_work
    def mask(
        self, embedding: ImageEmbedding, prompt: dict[str, Any], multimask: bool, choice: int | None
    ) -> dict[str, Any]:
        """The exact mask of a prompt, as ``SamPredictor.predict`` gives it, and its scores."""
        self.predictor.set_image_embedding(embedding)
        masks, scores, logits = self.predictor.predict(**prompt, multimask_output=multimask)
        i = int(scores.argmax()) if choice is None or choice >= len(masks) else choice
        stability = np.nan_to_num(np.array(stability_scores(mx.array(logits[i : i + 1]))))
        return {
            "segmentation": compress_rle(encode_rle(masks[i : i + 1]))[0],
            "area": int(masks[i].sum()),
            "predicted_iou": float(scores[i]),
            "stability_score": float(stability[0]),
        }

    @at_work
    def automatic(
        self, embedding: ImageEmbedding, points_per_side: int, progress: Progress
    ) -> list[dict[str, Any]]:
        """Records to choose from, as compressed RLE, the highest score first."""
        generator = self.generator(points_per_side)
        state = generator.predict(embedding, progress=lambda done, all: progress(0.6 * done / all))
        records: list[dict[str, Any]] = []
        H, W = embedding.original_size
        at_once = max(1, min(64, PIXELS_AT_ONCE // (H * W)))
        for i in range(0, len(state.crop), at_once):
            records += generator.select(part_of(state, slice(i, i + at_once)))
            progress(0.6 + 0.4 * i / len(state.crop))
        with suppress(ImportError):  # or the first choice that cleans regions would wait for it
            import scipy.ndimage  # noqa: F401
        return sorted(records, key=lambda record: -record["predicted_iou"])

    def generator(self, points_per_side: int) -> SamAutomaticMaskGenerator:
        return SamAutomaticMaskGenerator(
            self.predictor.model, points_per_side=points_per_side, output_mode="coco_rle",
            points_per_batch=POINTS_AT_ONCE, **SEARCHED,
        )  # fmt: skip


def part_of(state: MaskPredictions, part: slice) -> MaskPredictions:
    names = {f.name for f in fields(state)} & {"crop", "points", "predicted_iou", "logits"}
    return replace(state, **{name: getattr(state, name)[part] for name in names})


def over_the_picture(logits: np.ndarray, embedding: ImageEmbedding, scale: float) -> np.ndarray:
    """The part of low-resolution logits (C, n, n) that the picture covers: (C, h, w), in the
    picture's proportions.

    The picture's edge seldom falls between two cells, so the shorter side is sampled anew.
    """
    for axis, frame in ((1, embedding.input_size[0]), (2, embedding.input_size[1])):
        n, cells = logits.shape[axis], frame * scale
        count = max(1, min(n, round(cells)))
        place = ((np.arange(count) + 0.5) * cells / count - 0.5).clip(0, n - 1)
        first = np.floor(place).astype(int).clip(0, max(n - 2, 0))
        share = (
            (place - first).astype(np.float32).reshape([-1 if i == axis else 1 for i in (0, 1, 2)])
        )
        after = np.minimum(first + 1, n - 1)
        logits = logits.take(first, axis) * (1 - share) + logits.take(after, axis) * share
    return logits


def packed(logits: np.ndarray) -> dict[str, Any]:
    """Logits (h, w) in one byte each; those above 0 stay above 0."""
    steps = np.round(np.clip(logits * PER_LOGIT, -127, 127)).astype(np.int8)
    steps[(steps == 0) & (logits > 0)] = 1
    return {"shape": list(logits.shape), "data": base64.b64encode(steps.tobytes()).decode()}
