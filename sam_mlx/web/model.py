"""What needs the model: embeddings, answers to prompts, masks of objects, automatic masks."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from ..automatic.generator import SamAutomaticMaskGenerator
from ..config import SamConfig
from ..decoding import check_finite, decode_prompts
from ..embedding import ImageEmbedding
from ..full_size import enlarge
from ..instances.maps import InstanceMaps
from ..instances.segmenter import InstanceSegmenter, has_decoder
from ..machine.budget import budget
from ..machine.cache import Cache
from ..machine.worker import at_work
from ..mask_inputs import mask_input
from ..masks import (
    Record,
    clean_rle,
    compress_rle,
    decode_rle,
    encode_rle,
    record_of,
    stability_scores,
    with_mask,
)
from ..predictor import SamPredictor
from ..prompts import check_prompt
from ..sam import Sam
from ..strips import stability_at_full_size
from .automatic import SEARCHED
from .errors import Refusal

# Steps of a search for automatic masks. They bound how long a click waits for the step before it;
# the package's own budget bounds memory.
POINTS_AT_ONCE = 16  # given to the model
PIXELS_AT_ONCE = 4 << 20  # of masks that are measured
PER_LOGIT = 4  # steps, in the bytes sent to a page

Progress = Callable[[float], None]  # takes the share that is done, 0 to 1


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture's embedding, and the key of its content."""

    key: str
    embedding: ImageEmbedding


Answer = tuple[mx.array, np.ndarray]  # low-resolution logits (C, n, n) and scores (C,)


class Model:
    """A model, and the work asked of it."""

    def __init__(self, model: Sam, name: str, options: dict[str, Any]):
        mx.eval(model.parameters())  # here, because lazy weights need this thread's streams
        self.name, self.options = name, options
        self.predictor = SamPredictor(model)
        self.embeddings: Cache[ImageEmbedding] = Cache(budget().embedding_bytes)
        self.answers: Cache[Answer] = Cache(budget().answer_bytes)
        self.segmenter, self.remark = segmenter_of(model)
        self._maps: Cache[InstanceMaps] = Cache(budget().embedding_bytes // 4)

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
        embedding = self.predictor.embed(image)
        self.embeddings.put(key, embedding, embedding.nbytes)

    def encoded(self, key: str) -> Encoded:
        """Raises Refusal, 409, for a picture that is not encoded, or no longer."""
        embedding = self.embeddings.get(key)
        if embedding is None:
            raise Refusal(409, "the picture is not ready: encode it first")
        return Encoded(key, embedding)

    @at_work
    def answer(self, picture: Encoded, prompt: dict[str, Any], three: bool) -> list[dict[str, Any]]:
        """Low-resolution masks of a prompt, for drawing: one or three. Area and stability are
        those of the drawing, which takes a hundredth of the time of full size.
        """
        found, scores = self._decode(picture, prompt, three)
        scale = self.config.mask_size / self.config.image_size
        drawn = over_the_picture(np.array(found.astype(mx.float32)), picture.embedding, scale)
        H, W = picture.embedding.original_size
        stability = np.nan_to_num(np.array(stability_scores(mx.array(drawn))))
        return [
            {
                "score": float(score),
                "stability": float(stable),
                "area": round(float((x > 0).mean()) * H * W),
                "logits": packed(x),
            }
            for score, stable, x in zip(scores, stability, drawn)
        ]

    @at_work
    def mask(
        self, picture: Encoded, prompt: dict[str, Any], three: bool, choice: int | None
    ) -> Record:
        """The record of a prompt's exact mask, the one that ``SamPredictor.predict`` gives."""
        logits, scores = self._decode(picture, prompt, three)
        i = int(scores.argmax()) if choice is None or choice >= len(scores) else choice
        return self._record(picture.embedding, logits[i : i + 1], scores[i])

    @at_work
    def masks(self, picture: Encoded, prompt: dict[str, Any], three: bool) -> list[Record]:
        """The records of all exact masks of a prompt, one or three, in the model's order."""
        logits, scores = self._decode(picture, prompt, three)
        embedding = picture.embedding
        return [self._record(embedding, logits[i : i + 1], s) for i, s in enumerate(scores)]

    def _record(self, embedding: ImageEmbedding, chosen: mx.array, score: float) -> Record:
        """The record of low-resolution logits (1, n, n)."""
        sizes = embedding.input_size, embedding.original_size, self.config.image_size
        threshold = self.predictor.model.mask_threshold
        masks = enlarge(chosen[None], *sizes, threshold)
        stability = np.nan_to_num(stability_at_full_size(chosen, *sizes, threshold))
        return record_of(compress_rle(encode_rle(masks[0]))[0], score, stability[0])

    def _decode(self, picture: Encoded, prompt: dict[str, Any], three: bool) -> Answer:
        """The model's answer to a prompt, kept because a page asks twice: for masks to draw, and
        for the exact one.
        """
        question = picture.key, repr(prompt), three
        answer = self.answers.get(question)
        if answer is None:
            embedding = picture.embedding
            start = prompt.get("start")
            checked = check_prompt(
                prompt.get("point_coords"),
                prompt.get("point_labels"),
                prompt.get("box"),
                None if start is None else mask_input(decode_rle([start])[0], self.config),
                size=embedding.original_size,
                config=self.config,
            )
            features, model = embedding.named_features, self.predictor.model
            logits, scores = decode_prompts(model, features, [checked], three)
            answer = logits[0], np.array(scores[0].astype(mx.float32))
            mx.eval(answer[0])
            check_finite(model, features, answer[1])
            self.answers.put(question, answer, answer[0].nbytes)
        return answer

    @at_work
    def automatic(self, picture: Encoded, points_per_side: int, progress: Progress) -> list[Record]:
        """Records to choose from, as compressed RLE, the highest score first."""
        generator, embedding = self.generator(points_per_side), picture.embedding
        state = generator.predict(embedding, progress=lambda done, all: progress(0.6 * done / all))
        records: list[Record] = []
        H, W = embedding.original_size
        at_once = max(1, min(64, PIXELS_AT_ONCE // (H * W)))
        for i in range(0, len(state.crop), at_once):
            records += generator.select(state[i : i + at_once])
            progress(0.6 + 0.4 * i / len(state.crop))
        with suppress(ImportError):  # or the first choice that cleans regions would wait for it
            import scipy.ndimage  # noqa: F401
        return sorted(records, key=lambda record: -record["predicted_iou"])

    def maps(self, key: str, encode: Callable[[], Encoded]) -> InstanceMaps:
        """The instance decoder's maps of a picture, or of a window of one. encode: gives its
        embedding, where the maps are not there.
        """
        maps = self._maps.get(key)
        if maps is None:
            assert self.segmenter is not None
            maps = self.segmenter.predict(encode().embedding)
            self._maps.put(key, maps, 3 * maps.foreground.nbytes)
        return maps

    def generator(self, points_per_side: int) -> SamAutomaticMaskGenerator:
        return SamAutomaticMaskGenerator(
            self.predictor.model, points_per_side=points_per_side, output_mode="coco_rle",
            points_per_batch=POINTS_AT_ONCE, **SEARCHED,
        )  # fmt: skip


def segmenter_of(model: Sam) -> tuple[InstanceSegmenter | None, str | None]:
    """What makes instances, where the model has a decoder for them; and why not, if only packages
    are missing.
    """
    if not has_decoder(model):
        return None, None
    try:
        return InstanceSegmenter(model), None
    except ImportError as error:
        return None, f"everything is found with a grid of points, without the decoder: {error}"


def cleaned(record: Record, area: float) -> Record:
    """The record without holes and islands smaller than ``area`` pixels."""
    (rle,) = compress_rle([clean_rle(record["segmentation"], area)])
    return with_mask(record, rle)


def over_the_picture(logits: np.ndarray, embedding: ImageEmbedding, scale: float) -> np.ndarray:
    """The part of low-resolution logits (C, n, n) that the picture covers: (C, h, w), in the
    picture's proportions.

    The picture's edge seldom falls between two cells, so the shorter side is resampled.
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


# Of the bytes of logits, -128 to 127: the next power of 2 towards 0.
_SIZES = [0, *(1 << i.bit_length() - 1 for i in range(1, 129))]
COARSE = np.array([-size for size in _SIZES[:0:-1]] + _SIZES[:-1])


def compact(logits: dict[str, Any]) -> dict[str, Any]:
    """Packed logits for a drawing of the mask: away from its outline they are powers of 2, which
    compress to a tenth. Steps between these are below their sizes, so that none looks like an edge.
    """
    steps = np.frombuffer(base64.b64decode(logits["data"]), np.int8).reshape(logits["shape"])
    is_set = steps > 0
    near_edge = spread(is_set) & spread(~is_set)
    found = np.where(near_edge, steps, COARSE[steps.astype(int) + 128]).astype(np.int8)
    return logits | {"data": base64.b64encode(found.tobytes()).decode()}


def spread(mask: np.ndarray) -> np.ndarray:
    """Which cells have one of a mask (h, w) beside them, or are one."""
    h, w = mask.shape
    padded = np.pad(mask, 1)
    rows = np.logical_or.reduce([padded[i : i + h] for i in range(3)])
    return np.asarray(np.logical_or.reduce([rows[:, i : i + w] for i in range(3)]))
