"""The inputs and outputs of exported functions, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from ..config import SamConfig
from ..registry import IMAGE_EMBEDDING, mask_decoder_of
from ..sam import Sam

STABILITY_OFFSET = 1.0  # logits; as in Meta's SamOnnxModel


@dataclass(frozen=True)
class Tensor:
    """An input or output of an exported function; ``meaning`` includes the unit."""

    name: str
    shape: tuple[int, ...]
    dtype: mx.Dtype
    meaning: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``export.json``."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": dtype_name(self.dtype),
            "meaning": self.meaning,
        }


@dataclass(frozen=True)
class Trace:
    """One signature of a function: positional inputs and outputs, in order."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def dtype_name(dtype: mx.Dtype) -> str:
    """The name without MLX's prefix, such as float32."""
    return str(dtype).removeprefix("mlx.core.")


def upscaler_name(size: tuple[int, int]) -> str:
    """The stem of the file for pictures of a size (height, width)."""
    return "masks_{}x{}".format(*size)


def encoder_traces(model: Sam) -> list[Trace]:
    """Traces of the encoder: pictures of bytes, and of floats."""
    S = model.config.image_size
    meaning = "RGB, 0 to 255; the resized image in the top left corner, anything outside it"
    return [
        Trace(
            [Tensor("image", (1, S, S, 3), dtype, meaning), input_size_tensor(S)],
            feature_tensors(model),
        )
        for dtype in (mx.uint8, mx.float32)
    ]


def input_size_tensor(S: int) -> Tensor:
    """The size of the resized picture, which every function takes."""
    meaning = f"height, width of the resized image, pixels; the longer one is {S}"
    return Tensor("input_size", (2,), mx.int32, meaning)


def feature_tensors(model: Sam) -> list[Tensor]:
    """What the encoder gives and the decoder takes first, in this order."""
    S = model.config.image_size
    features = model.encode_features(mx.zeros((1, S, S, 3)))  # lazy: only the shapes are needed
    return [
        Tensor(feature_name(name), features[name].shape, model.dtype, "the encoder's, unchanged")
        for name in mask_decoder_of(model.config).takes
    ]


def feature_name(name: str) -> str:
    """The name of a feature in export.json."""
    return "image_embeddings" if name == IMAGE_EMBEDDING else name


def decoder_traces(model: Sam, points: list[int]) -> list[Trace]:
    """One trace without and one with a mask prompt, for each number of slots."""
    S, L = model.config.image_size, model.config.mask_size
    outputs = decoder_outputs(model)
    mask_input = Tensor("mask_input", (1, 1, L, L), mx.float32, "one of the low_res_masks")
    traces = []
    for N in points:
        inputs = [*feature_tensors(model), *slot_tensors(N), input_size_tensor(S)]
        traces += [Trace(inputs, outputs), Trace([*inputs, mask_input], outputs)]
    return traces


def slot_tensors(N: int) -> list[Tensor]:
    """The inputs of a decoder with N prompt slots."""
    return [
        Tensor(
            "point_coords",
            (1, N, 2),
            mx.float32,
            "x, y in pixels of the resized image: original pixels times input_size / original size",
        ),
        Tensor(
            "point_labels",
            (1, N),
            mx.int32,
            "1 foreground, 0 background, 2 and 3 a box's top left and bottom right corners "
            "(one box at most), -1 an empty slot, whose coordinates do not matter",
        ),
    ]


def decoder_outputs(model: Sam) -> list[Tensor]:
    """What the decoder returns: masks, their measures, scores, logits."""
    S, L, M = model.config.image_size, model.config.mask_size, all_masks(model.config)
    masks, stability, areas = measured_tensors(M, (S, S), "the resized image; False outside it")
    scores = Tensor("scores", (1, M), mx.float32, "the model's own estimate of each mask's IoU")
    low_res_masks = Tensor(
        "low_res_masks",
        (1, M, L, L),
        mx.float32,
        f"logits, each for {S // L} by {S // L} pixels of the padded square; above "
        f"{model.mask_threshold:g} is the object",
    )
    return [masks, scores, stability, areas, low_res_masks]


def measured_tensors(M: int, size: tuple[int, int], frame: str) -> list[Tensor]:
    """M masks of a size (height, width), and what ``measure`` counts in them."""
    return [
        Tensor("masks", (1, M, *size), mx.bool_, f"pixels of {frame}"),
        Tensor(
            "stability_scores",
            (1, M),
            mx.float32,
            f"IoU of the masks at thresholds {STABILITY_OFFSET:g} above and below; 0 if empty",
        ),
        Tensor("areas", (1, M), mx.int32, "pixels that are True in masks"),
    ]


def upscaler_traces(config: SamConfig, size: tuple[int, int]) -> list[Trace]:
    """Traces of the function for pictures of a size: for one mask, and for all."""
    L = config.mask_size
    return [
        Trace(
            [Tensor("low_res_masks", (1, M, L, L), mx.float32, "from the decoder")],
            measured_tensors(M, size, "the original image"),
        )
        for M in sorted({1, all_masks(config)})
    ]


def all_masks(config: SamConfig) -> int:
    """The masks that the decoder's file returns: with SAM the single one and three others."""
    return mask_decoder_of(config).masks(config, None)
