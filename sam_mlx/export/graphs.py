"""The functions that exported files hold: image encoder, mask decoder, enlargement of masks.

Apps fill slots with prompts. There, label -1 marks an empty slot, as in Meta's ONNX export; in
``SamPredictor.predict`` it is Meta's "not a point" (``prompts``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from .. import transforms
from ..config import SamConfig
from ..machine.worker import long_work
from ..masks import stability_counts, stability_ratio
from ..modeling.prompt_encoder import BOTTOM_RIGHT, EMPTY, NOT_A_POINT, TOP_LEFT
from ..registry import mask_decoder_of
from ..sam import Sam
from ..tensor_files import writing
from .schema import STABILITY_OFFSET, Trace

EMPTY_SLOT = -1  # an app's label for unused slots; in the model they are EMPTY


def image_encoder(model: Sam) -> Callable[..., tuple[mx.array, ...]]:
    """The function of ``encoder.mlxfn``: (image, input_size) to what the decoder takes."""
    config = model.config

    def encode(image: mx.array, input_size: mx.array) -> tuple[mx.array, ...]:
        pixels = transforms.normalize(image, config)
        # After normalisation the model expects exact zeros outside the image, which no pixel value
        # gives.
        pixels = mx.where(inside_image(input_size, config)[..., None], pixels, 0)
        features = model.encode_features(pixels)
        return tuple(features[name] for name in mask_decoder_of(config).takes)

    return encode


def inside_image(input_size: mx.array, config: SamConfig) -> mx.array:
    """The pixels of the padded square that show the image: (S, S) bool."""
    side = mx.arange(config.image_size)
    return (side[:, None] < input_size[0]) & (side < input_size[1])


def mask_decoder(model: Sam) -> Callable[..., tuple[mx.array, ...]]:
    """Its inputs: the encoder's outputs, slots (``slots``), input_size, and perhaps mask_input."""
    config = model.config
    square = (config.image_size, config.image_size)
    takes = mask_decoder_of(config).takes

    def decode(*inputs: mx.array) -> tuple[mx.array, ...]:
        features = dict(zip(takes, inputs))
        point_coords, point_labels, input_size, *mask_input = inputs[len(takes) :]
        sparse, valid = model.prompt_encoder.embed_tokens(*slots(point_coords, point_labels))
        logits, scores = model.mask_decoder(
            features,
            model.prompt_encoder.get_dense_pe(),
            sparse,
            valid,
            model.prompt_encoder.embed_masks(mask_input[0] if mask_input else None),
            multimask_output=None,
        )
        low_res_masks = logits.astype(mx.float32)
        full = transforms.upscale_masks(low_res_masks, square, square, config.image_size)
        masks, stability, areas = measure(full, inside_image(input_size, config))
        return masks, scores.astype(mx.float32), stability, areas, low_res_masks

    return decode


def slots(coords: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
    """App-side slots (1, N, 2) and (1, N) as the prompt encoder's tokens, plus one.

    The added token is the padding point of a prompt of points without a box. For other prompts it
    is empty, like unused slots.
    """
    used = (labels >= 0) & (labels <= BOTTOM_RIGHT)
    box = (used & (labels >= TOP_LEFT)).any(axis=1, keepdims=True)
    padded = used.any(axis=1, keepdims=True) & ~box
    labels = mx.concatenate(
        [mx.where(used, labels, EMPTY), mx.where(padded, NOT_A_POINT, EMPTY)], axis=1
    )
    # An empty slot's coordinates may be anything, even NaN: they must not reach the sines.
    coords = mx.where(used[..., None], coords, 0)
    return mx.concatenate([coords, mx.zeros((1, 1, 2))], axis=1), labels


def measure(logits: mx.array, inside: mx.array | None = None) -> tuple[mx.array, ...]:
    """Masks of logits (..., H, W), only what is ``inside``, if given, their stability scores (...)
    and areas in pixels (...).

    The stability score of a mask that is empty at both thresholds is 0.
    """
    counts = stability_counts(logits, Sam.mask_threshold, STABILITY_OFFSET, inside)
    masks = logits > Sam.mask_threshold
    masks = masks if inside is None else masks & inside
    areas = masks.sum(axis=(-2, -1)).astype(mx.int32)
    return masks, stability_ratio(*counts, empty=0), areas


def mask_upscaler(config: SamConfig, size: tuple[int, int]) -> Callable[..., tuple[mx.array, ...]]:
    """The function of ``masks_HEIGHTxWIDTH.mlxfn``: logits to masks of a picture of this size."""
    sizes = transforms.preprocess_shape(size, config.image_size), size, config.image_size

    def upscale(low_res_masks: mx.array) -> tuple[mx.array, ...]:
        return measure(transforms.upscale_masks(low_res_masks, *sizes))

    return upscale


@long_work
def write_function(
    path: Path, function: Callable[..., tuple[mx.array, ...]], traces: list[Trace]
) -> None:
    """Write a function with its weights, once for each trace's shapes and types."""
    with writing(path.name), mx.exporter(str(path), function) as exporter:
        for trace in traces:
            exporter(*(mx.zeros(t.shape, t.dtype) for t in trace.inputs))
