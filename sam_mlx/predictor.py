"""One image, many prompts (original: ``segment_anything/predictor.py``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from PIL import Image
from safetensors import SafetensorError, safe_open

from . import transforms
from .config import SamConfig
from .files import write_whole
from .modeling.elementwise import parallel_streams
from .modeling.prompt_encoder import EMPTY
from .modeling.sam import Sam

# Activations of the decoder alive at a time. A prompt has about 40 bytes for each value of the
# image embedding: 42 MB in ViT-B.
DECODER_BYTES = 320 << 20


@dataclass(frozen=True)
class ImageEmbedding:
    """An encoded image: all that prompts need, without the picture or the encoder."""

    features: mx.array  # (1, G, G, C)
    original_size: tuple[int, int]  # height, width of the picture, pixels
    input_size: tuple[int, int]  # height, width in the model's input frame, pixels
    fingerprint: str  # of the encoder that made it

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        metadata = {
            "format": "sam_mlx.ImageEmbedding",
            "original_size": json.dumps(self.original_size),
            "input_size": json.dumps(self.input_size),
            "fingerprint": self.fingerprint,
        }
        tensors = {"features": self.features}
        write_whole(path, lambda name: mx.save_safetensors(name, tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> ImageEmbedding:
        """Raises FileNotFoundError, or ValueError when the file is not an embedding."""
        if not Path(path).exists():
            raise FileNotFoundError(f"no such image embedding: {path}")
        try:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
            if metadata.get("format") != "sam_mlx.ImageEmbedding":
                raise ValueError("it was not written by ImageEmbedding.save")
            features = mx.load(str(path), format="safetensors")["features"]
            mx.eval(features)
            return cls(
                features,
                tuple(json.loads(metadata["original_size"])),
                tuple(json.loads(metadata["input_size"])),
                metadata["fingerprint"],
            )
        except (SafetensorError, RuntimeError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not an image embedding: {error}") from error


def fingerprint(config: SamConfig, weights: nn.Module) -> str:
    """Tells models apart by 64 values of every tensor; the same on every machine."""
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name, w in sorted(tree_flatten(weights.parameters())):
        sample = w.flatten()[:: max(1, w.size // 64)]
        digest.update(f"{name} {w.shape} {w.dtype}".encode())
        digest.update(np.array(sample.astype(mx.float32)).tobytes())
    return digest.hexdigest()[:32]


class SamPredictor:
    """Embeds an image once, then predicts masks for prompts on it.

    The names, arguments, defaults, numpy types and shapes are those of the original.
    """

    def __init__(self, sam_model: Sam):
        self.model = sam_model
        self._embedding: ImageEmbedding | None = None
        self._fingerprint: str | None = None

    @classmethod
    def from_pretrained(cls, path_or_repo: str | Path, **options) -> SamPredictor:
        """A predictor of the model that ``sam_mlx.loading.from_pretrained`` finds."""
        return cls(Sam.from_pretrained(path_or_repo, **options))

    def set_image(
        self, image: str | Path | Image.Image | np.ndarray, image_format: str = "RGB"
    ) -> None:
        """Embed an image: a path, a PIL image, or an array (see ``transforms.load_image``).

        Raises ValueError or FileNotFoundError, and keeps the previous image, when it cannot be
        read.
        """
        image = transforms.load_image(image, image_format)
        config = self.model.config
        features = self.model.encode_image(transforms.preprocess(image, config))
        mx.eval(features)
        # The encoder's large temporaries would otherwise stay with the process.
        mx.clear_cache()
        original_size = image.shape[:2]
        self._embedding = ImageEmbedding(
            features,
            original_size,
            transforms.preprocess_shape(original_size, config.image_size),
            self.fingerprint,
        )

    @property
    def fingerprint(self) -> str:
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.model.config, self.model.image_encoder)
        return self._fingerprint

    @property
    def is_image_set(self) -> bool:
        return self._embedding is not None

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the current image, in pixels."""
        return self.get_image_embedding().original_size

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the current image in the model's input frame, in pixels."""
        return self.get_image_embedding().input_size

    @property
    def features(self) -> mx.array:
        """The current image's embedding, (1, G, G, C)."""
        return self.get_image_embedding().features

    def get_image_embedding(self) -> ImageEmbedding:
        """The current image as a value that can be saved and set again."""
        if self._embedding is None:
            raise RuntimeError("no image: call set_image(image) before predict()")
        return self._embedding

    def set_image_embedding(self, embedding: ImageEmbedding) -> None:
        """Continue with an image embedded earlier, by a model with the same encoder."""
        if embedding.fingerprint != self.fingerprint:
            raise ValueError(
                f"the embedding was made by encoder {embedding.fingerprint}, this model's is "
                f"{self.fingerprint}; embed the image again with set_image"
            )
        self._embedding = embedding

    def reset_image(self) -> None:
        """Forget the current image."""
        self._embedding = None

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks for one prompt on the current image; any combination of prompts.

        point_coords: (N, 2) as x, y in pixels of the image, also outside it; point_labels:
        (N,), 1 foreground, 0 background, -1 not a point. box: (4,) as x0, y0, x1, y1 in pixels.
        mask_input: (1, 4G, 4G) logits of an earlier prediction (256x256 in released models).
        multimask_output: three masks for an ambiguous prompt, or the single best-defined one.

        Returns masks (C, H, W), bool, or float32 logits with ``return_logits``; predicted IoU
        (C,); low-resolution logits (C, 4G, 4G), which can be the next ``mask_input``.
        Raises RuntimeError without an image, ValueError for prompts of another form.
        """
        masks, scores, logits = self.predict_batch(
            None if point_coords is None else [point_coords],
            None if point_labels is None else [point_labels],
            None if box is None else [np.asarray(box).reshape(-1)],
            None if mask_input is None else [mask_input],
            multimask_output,
            return_logits,
        )
        return masks[0], scores[0], logits[0]

    def predict_batch(
        self,
        point_coords: np.ndarray | Sequence[np.ndarray | None] | None = None,
        point_labels: np.ndarray | Sequence[np.ndarray | None] | None = None,
        boxes: np.ndarray | Sequence[np.ndarray | None] | None = None,
        mask_inputs: np.ndarray | Sequence[np.ndarray | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """B prompts on the current image at once, equal to B calls of ``predict``.

        Each argument is an array with a leading axis of B, or a sequence of B entries in the
        forms that ``predict`` takes: point lists may differ in length, and None stands for a
        prompt without that part.

        Returns masks (B, C, H, W), predicted IoU (B, C), low-resolution logits (B, C, 4G, 4G).
        """
        embedding = self.get_image_embedding()
        prompts = self._prompts(point_coords, point_labels, boxes, mask_inputs)

        # Prompts of the same kind go together; only the number of points may differ.
        groups: dict[tuple[bool, ...], list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(tuple(part is None for part in prompt), []).append(i)
        logits, scores = [None] * len(prompts), [None] * len(prompts)
        for members in groups.values():
            points, box, mask = _stack([prompts[i] for i in members])
            group_logits, group_scores = predict_in_parts(
                self.model, embedding.features, points, box, mask, multimask_output
            )
            for j, i in enumerate(members):
                logits[i], scores[i] = group_logits[j], group_scores[j]
        logits, scores = mx.stack(logits), mx.stack(scores)

        threshold = None if return_logits else self.model.mask_threshold
        sizes = embedding.input_size, embedding.original_size, self.model.config.image_size
        # One prompt at a time: logits at full size are large and short-lived.
        masks = np.stack(
            [np.array(transforms.upscale_masks(x, *sizes, threshold=threshold)) for x in logits]
        )
        return masks, np.array(scores.astype(mx.float32)), np.array(logits.astype(mx.float32))

    def embed_prompt(self, point_coords=None, point_labels=None, box=None, mask_input=None):
        """One prompt of ``predict`` in the form that ``Sam.predict_masks`` takes."""
        return _stack([self._prompt(point_coords, point_labels, box, mask_input)])

    def _prompts(self, point_coords, point_labels, boxes, mask_inputs) -> list[tuple]:
        """Check the prompts and bring them to the input frame: [(points, box, mask), ...]."""
        if (point_coords is None) != (point_labels is None):
            raise ValueError("point_coords and point_labels go together: one of them is None")
        parts = {
            "point_coords": point_coords,
            "point_labels": point_labels,
            "boxes": boxes,
            "mask_inputs": mask_inputs,
        }
        sizes = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"prompts differ in number: {sizes}; each needs one entry a prompt")
        B = next(iter(sizes.values()), 1)
        if B == 0:
            raise ValueError("no prompts: every argument has length 0")
        columns = [[None] * B if part is None else part for part in parts.values()]
        return [self._prompt(*prompt) for prompt in zip(*columns)]

    def _prompt(self, coords, labels, box, mask) -> tuple:
        size, side = self.original_size, self.model.config.image_size
        points = None
        if (coords is None) != (labels is None):
            raise ValueError("a prompt has points without labels, or labels without points")
        if coords is not None:
            coords, labels = check_points(coords, labels)
            points = transforms.apply_coords(coords, size, side), labels
        if box is not None:
            box = transforms.apply_boxes(check_box(box), size, side)
        if mask is not None:
            mask = check_mask(mask, self.model.config.mask_size)
        return points, box, mask


def predict_in_parts(
    model: Sam,
    image_embedding: mx.array,
    points: tuple[mx.array, mx.array] | None = None,
    boxes: mx.array | None = None,
    masks: mx.array | None = None,
    multimask_output: bool = True,
) -> tuple[mx.array, mx.array]:
    """``Sam.predict_masks``, evaluated a few prompts at a time, so in memory for those few."""
    B = next((len(p) for p in (points and points[0], boxes, masks) if p is not None), 1)
    streams = parallel_streams()
    at_once = DECODER_BYTES // len(streams) // (40 * image_embedding.size)
    at_once = max(1, min(at_once, -(-B // len(streams))))
    image_pe = model.prompt_encoder.get_dense_pe()
    parts = []
    for i, stream in zip(range(0, B, at_once), cycle(streams)):
        part = slice(i, i + at_once)
        with mx.stream(stream):
            parts.append(
                model.predict_masks(
                    image_embedding,
                    points and (points[0][part], points[1][part]),
                    None if boxes is None else boxes[part],
                    None if masks is None else masks[part],
                    multimask_output,
                    image_pe,
                )
            )
        if stream == streams[-1]:
            mx.eval(parts[-len(streams) :])
    mx.eval(parts)
    logits, iou = zip(*parts)
    return mx.concatenate(logits), mx.concatenate(iou)


def check_points(coords, labels) -> tuple[np.ndarray, np.ndarray]:
    """Point prompts as (N, 2) float64 and (N,) int32; ValueError says what is wrong."""
    coords, labels = np.asarray(coords), np.asarray(labels)
    if coords.ndim != 2 or coords.shape[1] != 2 or len(coords) == 0:
        raise ValueError(
            f"point_coords has shape {coords.shape}; expected (N, 2), N >= 1: x, y in pixels of "
            "the original image"
        )
    if labels.shape != coords.shape[:1]:
        raise ValueError(
            f"point_labels has shape {labels.shape}; expected {coords.shape[:1]}, one a point"
        )
    if not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError(
            f"point_labels holds {sorted(set(labels.tolist()))}; expected 1 (foreground), "
            "0 (background) or -1 (not a point)"
        )
    return _finite(coords, "point_coords"), labels.astype(np.int32)


def check_box(box) -> np.ndarray:
    """A box prompt as (4,) float64; ValueError says what is wrong."""
    box = np.asarray(box)
    if box.shape != (4,):
        raise ValueError(f"box has shape {box.shape}; expected (4,): x0, y0, x1, y1 in pixels")
    box = _finite(box, "box")
    if box[2] < box[0] or box[3] < box[1]:
        raise ValueError(f"box is {box.tolist()}; expected x0 <= x1 and y0 <= y1")
    return box


def check_mask(mask, size: int) -> np.ndarray:
    """A mask prompt as (1, size, size) float32; ValueError says what is wrong."""
    mask = np.asarray(mask)
    if mask.shape != (1, size, size):
        raise ValueError(
            f"mask_input has shape {mask.shape}; expected {(1, size, size)}: one of the "
            "low-resolution logits that predict returns, as logits[i : i + 1]"
        )
    return _finite(mask, "mask_input").astype(np.float32)


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    try:
        values = values.astype(float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds {values.dtype} values; expected numbers") from None
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return values


def _stack(prompts: list[tuple]) -> tuple:
    """Prompts of one kind as arrays, shorter point lists filled up with empty slots."""
    points, boxes, masks = zip(*prompts)
    if points[0] is not None:
        longest = max(len(labels) for _, labels in points)
        coords = np.zeros((len(points), longest, 2), np.float32)
        labels = np.full((len(points), longest), EMPTY, np.int32)
        for i, (xy, label) in enumerate(points):
            coords[i, : len(label)], labels[i, : len(label)] = xy, label
        points = mx.array(coords), mx.array(labels)
    else:
        points = None
    boxes = None if boxes[0] is None else mx.array(np.stack(boxes).astype(np.float32))
    return points, boxes, None if masks[0] is None else mx.array(np.stack(masks))
