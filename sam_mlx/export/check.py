"""Compare exported files with ``SamPredictor`` on a test image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from .. import transforms
from ..machine.precision import uses_tf32
from ..modeling.layers import as_float32
from ..modeling.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from ..predictor import SamPredictor
from ..prompts import check_prompt
from ..sam import Sam
from .graphs import EMPTY_SLOT
from .running import Run, load
from .schema import STABILITY_OFFSET, dtype_name, feature_name, upscaler_name
from .steps import Step

Functions = dict[str, Run]  # by the name of their file
Prompt = tuple[Any, Any, Any]  # point_coords, point_labels and box of ``predict``

# Largest difference from the predictor, as a share of the largest value (at least 1).
# Measured on CPU: 2e-7, 7e-4, 6e-3.
TOLERANCE = {mx.float32: 1e-4, mx.float16: 1e-2, mx.bfloat16: 1e-1}
TF32_TOLERANCE = 1e-2  # where float32 products keep 10 bits of mantissa


def tolerance(dtype: mx.Dtype) -> float:
    """The largest difference from ``SamPredictor`` that a file may have."""
    return max(TOLERANCE[dtype], TF32_TOLERANCE if uses_tf32() else 0)


class Comparison:
    """Compares what the files return with ``SamPredictor``, and keeps the largest differences."""

    def __init__(self, tolerance: float):
        self.tolerance = tolerance
        self.largest: dict[str, float] = {}

    def values(self, name: str, ours: mx.array, expected: np.ndarray) -> float:
        """Return the allowed difference. Raises ValueError if they differ by more."""
        difference = float(np.abs(as_float32(ours) - expected).max())
        allowed = self.tolerance * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:  # written so that NaN does not pass
            raise ValueError(
                f"{name} differ from SamPredictor's by {difference:.3g}, allowed {allowed:.3g}"
            )
        self.largest[name] = max(self.largest.get(name, 0.0), difference)
        return allowed

    def masks(self, measured: Sequence[mx.array], logits: np.ndarray, allowed: float) -> None:
        """Check masks, stability scores and areas against logits (M, h, w) known to ``allowed``."""
        masks, stability, areas = (np.array(x[0]) for x in measured)
        _, h, w = logits.shape
        shown = masks[:, :h, :w]
        low, high = ((logits > t).astype(bool) for t in (allowed, -allowed))
        if (low & ~shown).any() or (shown & ~high).any():
            raise ValueError("masks differ from SamPredictor's")
        if (areas != shown.sum((1, 2))).any() or masks.sum() != shown.sum():
            raise ValueError("areas differ from the masks' pixels, or masks exceed the image")
        # The stability score lies between those of logits moved by the allowed difference.
        low, high = (stability_of(logits, moved) for moved in (allowed, -allowed))
        if not ((low - 1e-6 <= stability) & (stability <= high + 1e-6)).all():
            raise ValueError("stability_scores differ from SamPredictor's")
        pixels = int((shown != (logits > 0)).sum())
        self.largest["mask_pixels"] = max(self.largest.get("mask_pixels", 0), pixels)


def stability_of(logits: np.ndarray, moved: float) -> np.ndarray:
    """Stability scores of logits (M, h, w), with both thresholds ``moved`` outwards."""
    inner = (logits > STABILITY_OFFSET + moved).sum((1, 2))
    outer = (logits > -STABILITY_OFFSET - moved).sum((1, 2))
    return inner / np.maximum(outer, 1)


def check(
    folder: Path, model: Sam, points: list[int], sizes: list[tuple[int, int]], step: Step
) -> dict[str, float]:
    """Load the files, run every trace on a test image and compare with ``SamPredictor``.

    Returns the largest differences. Raises RuntimeError if one is too large, or if a file does not
    run.
    """
    try:
        functions = {file.stem: load(file) for file in folder.glob("*.mlxfn")}
        return compare(functions, model, points, sizes, step)
    except (ValueError, RuntimeError) as error:
        raise RuntimeError(
            f"the exported files fail their check on {mx.default_device()} in "
            f"{dtype_name(model.dtype)}; none was kept: {error}"
        ) from error


def compare(
    functions: Functions,
    model: Sam,
    points: list[int],
    sizes: list[tuple[int, int]],
    step: Step,
) -> dict[str, float]:
    """The largest difference of each output from ``SamPredictor``'s, over pictures and prompts.

    Raises RuntimeError where one is above the tolerance.
    """
    predictor, comparison = SamPredictor(model), Comparison(tolerance(model.dtype))
    step("check: encode with SamPredictor")
    predictor.set_image(example_image(model.config.image_size))
    features = compare_encoder(functions, predictor, comparison, step)
    for N in points:
        step(f"check: decoder with {N} slots")
        compare_decoder(functions, predictor, comparison, features, N)
    for size in sizes:
        step(f"check: {upscaler_name(size)}")
        compare_upscaler(functions, predictor, comparison, size)
    return comparison.largest


def compare_encoder(
    functions: Functions, predictor: SamPredictor, comparison: Comparison, step: Step
) -> list[mx.array]:
    """Check the encoder's file, and return its outputs."""
    S = predictor.model.config.image_size
    height, width = predictor.input_size  # equals the example's size, in which predict() answers
    square = np.full((1, S, S, 3), 255, np.uint8)
    square[0, :height, :width] = example_image(S)
    input_size = mx.array([height, width], mx.int32)
    named = predictor.model.features_of(predictor.get_image_embedding().named_features)
    for dtype in (mx.uint8, mx.float32):
        step(f"check: encode with the file, from {dtype_name(dtype)}")
        features = functions["encoder"](mx.array(square).astype(dtype), input_size)
        for output, (name, expected) in zip(features, named.items(), strict=True):
            comparison.values(feature_name(name), output, as_float32(expected))
    return features


def compare_decoder(
    functions: Functions,
    predictor: SamPredictor,
    comparison: Comparison,
    features: list[mx.array],
    slots: int,
) -> None:
    """Add the differences of the decoder's outputs for prompts that fill some or all slots."""
    input_size = mx.array(predictor.input_size, mx.int32)
    for prompt in example_prompts(slots, predictor.original_size):
        mask_input = None
        for _ in range(2):  # the second time with a mask of the first as a prompt
            logits, scores, low_res = predict_all(predictor, prompt, mask_input)
            inputs = [*fill_slots(prompt, slots), input_size]
            inputs += [] if mask_input is None else [mx.array(mask_input)[None]]
            masks, our_scores, *metrics, our_low_res = functions["decoder"](*features, *inputs)
            comparison.values("scores", our_scores[0], scores)
            allowed = comparison.values("low_res_masks", our_low_res[0], low_res)
            comparison.masks([masks, *metrics], logits, allowed)
            mask_input = low_res[:1]


def compare_upscaler(
    functions: Functions, predictor: SamPredictor, comparison: Comparison, size: tuple[int, int]
) -> None:
    """Check an upscaler's file, as if the picture had that size."""
    embedding = predictor.get_image_embedding()
    input_size = transforms.preprocess_shape(size, predictor.model.config.image_size)
    of_size = SamPredictor(predictor.model)
    of_size.set_image_embedding(replace(embedding, original_size=size, input_size=input_size))
    logits, _, low_res = predict_all(of_size, example_prompts(1, size)[0], None)
    allowed = tolerance(mx.float32) * max(1.0, float(np.abs(low_res).max()))
    for part in (slice(0, 1), slice(None)):
        measured = functions[upscaler_name(size)](mx.array(low_res[part])[None])
        comparison.masks(measured, logits[part], allowed)


def example_image(side: int) -> np.ndarray:
    """Discs on a gradient, (3/4 side, side, 3) uint8."""
    y, x = np.mgrid[: side * 3 // 4, :side] / side
    image = np.stack([255 * x, 340 * y, 128 + 0 * x], axis=-1)
    for cx, cy, radius, colour in (
        (0.3, 0.3, 0.15, (230, 40, 40)), (0.7, 0.45, 0.2, (30, 60, 200)), (0.5, 0.6, 0.06, 255),
    ):  # fmt: skip
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = colour
    return image.astype(np.uint8)


def example_prompts(slots: int, size: tuple[int, int]) -> list[Prompt]:
    """Prompts for ``predict``: one point, as many as fit, and a box with as many as fit."""
    height, width = size
    coords = np.random.default_rng(0).uniform((0, 0), (width, height), (slots, 2))
    labels = (np.arange(slots) + 1) % 2
    prompts: list[Prompt] = [(coords[:n], labels[:n], None) for n in sorted({1, slots})]
    if slots >= 2:
        box = np.array([0.1 * width, 0.15 * height, 0.5 * width, 0.7 * height])
        rest = (coords[2:], labels[2:]) if slots > 2 else (None, None)
        prompts.append((*rest, box))
    return prompts


def fill_slots(prompt: Prompt, slots: int) -> tuple[mx.array, mx.array]:
    """A prompt in the input frame as the decoder's point_coords and point_labels."""
    coords, labels, box = prompt
    # Padding must not matter: NaN would show if it did.
    filled = np.full((1, slots, 2), np.nan, np.float32)
    kinds = np.full((1, slots), EMPTY_SLOT, np.int32)
    used = 0
    if coords is not None:
        used = len(coords)
        filled[0, :used], kinds[0, :used] = coords, labels
    if box is not None:
        filled[0, used : used + 2] = np.reshape(box, (2, 2))
        kinds[0, used : used + 2] = TOP_LEFT, BOTTOM_RIGHT
    return mx.array(filled), mx.array(kinds)


def predict_all(
    predictor: SamPredictor, prompt: Prompt, mask_input: np.ndarray | None
) -> list[np.ndarray]:
    """``predict``'s logits, scores and low-resolution logits of all masks, the single one first."""
    embedding, config = predictor.get_image_embedding(), predictor.model.config
    checked = check_prompt(*prompt, mask_input, size=embedding.original_size, config=config)
    return [x[0] for x in predictor._predict(embedding, [checked], None, return_logits=True)]
