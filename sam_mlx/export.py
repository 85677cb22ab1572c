"""The model as files that apps load without Python: image encoder and mask decoder.

An ``.mlxfn`` file holds MLX's own graph and the weights. C++ loads it with
``mlx::core::import_function``, Swift with ``importFunction(from:)``. Every input has a fixed
shape; a file holds one trace for each combination of shapes and types it accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from . import transforms
from .config import SamConfig
from .loading import build, from_pretrained, parse_dtype, refuse_existing, whole_folder
from .modeling.prompt_encoder import BOTTOM_RIGHT, EMPTY, NOT_A_POINT, TOP_LEFT
from .modeling.sam import Sam
from .predictor import SamPredictor, fingerprint

STABILITY_OFFSET = 1.0  # logits; of Meta's SamOnnxModel


@dataclass(frozen=True)
class Tensor:
    """An input or output of an exported function; ``meaning`` includes the unit."""

    name: str
    shape: tuple[int, ...]
    dtype: mx.Dtype
    meaning: str

    def to_dict(self) -> dict:
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
    return str(dtype).removeprefix("mlx.core.")


def export(
    model: Sam | str | Path,
    out_folder: str | Path,
    *,
    points: int | Sequence[int] = 4,
    sizes: Sequence[tuple[int, int]] = (),
    dtype: mx.Dtype | str | None = None,
    revision: str | None = None,
) -> dict:
    """Write ``encoder.mlxfn``, ``decoder.mlxfn`` and ``export.json`` into a new folder.

    model: a model, or what ``from_pretrained`` takes; revision goes with it. points: prompt
    slots of the decoder, one number or several; a box takes two. sizes: (height, width) in
    pixels of original images for which ``masks_HEIGHTxWIDTH.mlxfn`` is written too. dtype: the
    weights' precision, by default the one they are stored in. ``export.json`` describes every
    file; ``examples/cpp`` and ``examples/ios`` use them.

    The files are loaded again and compared with ``SamPredictor`` on a test image; the folder
    appears only when they agree. They run on the device kind they were traced on.

    Returns what ``export.json`` holds. Raises FileExistsError when the folder exists already,
    OSError when it cannot be written, ValueError for arguments out of range, RuntimeError when
    the files differ from the model or do not run here.
    """
    folder = refuse_existing(out_folder)
    points = check_slots(points)
    sizes = [check_size(size) for size in sizes]
    dtype = parse_dtype(dtype)
    source = "a model in memory" if isinstance(model, Sam) else str(model)
    with whole_folder(folder) as temporary:
        model = prepare(model, dtype, revision)
        files = {
            "encoder.mlxfn": (image_encoder(model), encoder_traces(model)),
            "decoder.mlxfn": (mask_decoder(model), decoder_traces(model, points)),
        }
        for size in sizes:
            files[f"{upscaler_name(size)}.mlxfn"] = (
                mask_upscaler(model.config, size),
                upscaler_traces(model.config, size),
            )
        for name, (function, traces) in files.items():
            write_function(temporary / name, function, traces)
        differences = check(temporary, model, points, sizes)
        description = describe(temporary, model, source, points, files, differences)
        (temporary / "export.json").write_text(json.dumps(description, indent=2) + "\n")
    return description


def check_slots(points: int | Sequence[int]) -> list[int]:
    counts = list(points) if isinstance(points, Sequence) else [points]
    if not counts or any(not isinstance(n, int) or n < 1 for n in counts):
        raise ValueError(f"points is {points!r}; expected whole numbers of slots, 1 or more")
    return sorted(set(counts))


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    size = tuple(size)
    if len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
        raise ValueError(f"size is {size!r}; expected (height, width) in pixels, 1 or more each")
    return size


def prepare(model: Sam | str | Path, dtype: mx.Dtype | None, revision: str | None) -> Sam:
    """The model in the wanted precision, its arrays in a form that MLX exports rightly."""
    if not isinstance(model, Sam):
        model = from_pretrained(model, dtype=dtype, revision=revision)
    elif dtype is not None and dtype != model.dtype:
        weights = dict(tree_flatten(model.parameters()))
        model = build(model.config, weights, dtype, source="the model")
    # MLX 0.32.4 writes the memory of a constant as it lies, in the wrong order where it is a
    # transposed view; and what is not evaluated, as the graph that makes it.
    for module in model.modules():
        for name, value in module.items():
            if isinstance(value, mx.array):
                module[name] = mx.contiguous(value)
                mx.eval(module[name])
    return model


def image_encoder(model: Sam) -> Callable:
    config = model.config

    def encode(image: mx.array, input_size: mx.array) -> tuple[mx.array]:
        pixels = transforms.normalize(image, config)
        # The model expects zeros beside the image after normalisation, which no pixel value
        # turns into exactly.
        pixels = mx.where(inside_image(input_size, config)[..., None], pixels, 0)
        return (model.encode_image(pixels),)

    return encode


def inside_image(input_size: mx.array, config: SamConfig) -> mx.array:
    """Which pixels of the padded square show the image: (S, S) bool."""
    side = mx.arange(config.image_size)
    return (side[:, None] < input_size[0]) & (side < input_size[1])


def mask_decoder(model: Sam) -> Callable:
    config = model.config
    square = (config.image_size, config.image_size)

    def decode(
        image_embeddings: mx.array,
        point_coords: mx.array,
        point_labels: mx.array,
        input_size: mx.array,
        mask_input: mx.array | None = None,
    ) -> tuple[mx.array, ...]:
        sparse, valid = model.prompt_encoder.embed_tokens(*slots(point_coords, point_labels))
        logits, scores = model.mask_decoder(
            image_embeddings,
            model.prompt_encoder.get_dense_pe(),
            sparse,
            valid,
            model.prompt_encoder.embed_masks(mask_input),
            multimask_output=None,
        )
        low_res_masks = logits.astype(mx.float32)
        full = transforms.upscale_masks(low_res_masks, square, square, config.image_size)
        masks, stability, areas = measure(full, inside_image(input_size, config))
        return masks, scores.astype(mx.float32), stability, areas, low_res_masks

    return decode


def slots(coords: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
    """App-side slots (1, N, 2) and (1, N) as the prompt encoder's tokens, one more of them.

    The last token is the padding point that a prompt of points has and one with a box has not;
    where it does not belong it is empty, as unused slots are.
    """
    used = (labels >= 0) & (labels <= BOTTOM_RIGHT)
    box = (used & (labels >= TOP_LEFT)).any(axis=1, keepdims=True)
    padded = used.any(axis=1, keepdims=True) & ~box
    labels = mx.concatenate(
        [mx.where(used, labels, EMPTY), mx.where(padded, NOT_A_POINT, EMPTY)], axis=1
    )
    # Coordinates of an empty slot may be anything, also NaN: they must not reach the sines.
    coords = mx.where(used[..., None], coords, 0)
    return mx.concatenate([coords, mx.zeros((1, 1, 2))], axis=1), labels


def measure(logits: mx.array, inside: mx.array | bool = True) -> tuple[mx.array, ...]:
    """Masks of logits (..., H, W), their stability scores (...) and areas in pixels (...).

    The stability score is the IoU of the masks at thresholds 1 above and 1 below (original:
    ``calculate_stability_score``); 0 for a mask that is empty at both.
    """
    low, middle, high = (
        (logits > Sam.mask_threshold + offset) & inside
        for offset in (-STABILITY_OFFSET, 0.0, STABILITY_OFFSET)
    )
    union, areas, overlap = (
        mask.sum(axis=(-2, -1)).astype(mx.int32) for mask in (low, middle, high)
    )
    return middle, overlap / mx.maximum(union, 1), areas


def upscaler_name(size: tuple[int, int]) -> str:
    return "masks_{}x{}".format(*size)


def mask_upscaler(config: SamConfig, size: tuple[int, int]) -> Callable:
    sizes = transforms.preprocess_shape(size, config.image_size), size, config.image_size

    def upscale(low_res_masks: mx.array) -> tuple[mx.array, ...]:
        return measure(transforms.upscale_masks(low_res_masks, *sizes))

    return upscale


def encoder_traces(model: Sam) -> list[Trace]:
    S = model.config.image_size
    return [
        Trace(
            [
                Tensor(
                    "image",
                    (1, S, S, 3),
                    dtype,
                    "RGB, 0 to 255; the resized image in the top left corner, anything beside it",
                ),
                input_size_tensor(S),
            ],
            [embedding_tensor(model)],
        )
        for dtype in (mx.uint8, mx.float32)
    ]


def input_size_tensor(S: int) -> Tensor:
    meaning = f"height, width of the resized image, pixels; the longer one is {S}"
    return Tensor("input_size", (2,), mx.int32, meaning)


def embedding_tensor(model: Sam) -> Tensor:
    G, C = model.config.grid, model.config.prompt_dim
    return Tensor("image_embeddings", (1, G, G, C), model.dtype, "the encoder's output as it is")


def decoder_traces(model: Sam, points: list[int]) -> list[Trace]:
    S, L, M = model.config.image_size, model.config.mask_size, model.config.multimask_outputs + 1
    masks, stability, areas = measured_tensors(M, (S, S), "the resized image; False beside it")
    scores = Tensor("scores", (1, M), mx.float32, "the model's own estimate of each mask's IoU")
    low_res_masks = Tensor(
        "low_res_masks",
        (1, M, L, L),
        mx.float32,
        f"logits, each for {S // L} by {S // L} pixels of the padded square; above "
        f"{model.mask_threshold:g} is the object",
    )
    outputs = [masks, scores, stability, areas, low_res_masks]
    mask_input = Tensor("mask_input", (1, 1, L, L), mx.float32, "one of the low_res_masks")
    traces = []
    for N in points:
        inputs = [
            embedding_tensor(model),
            Tensor(
                "point_coords",
                (1, N, 2),
                mx.float32,
                "x, y in pixels of the resized image: original pixels times input_size / "
                "original size",
            ),
            Tensor(
                "point_labels",
                (1, N),
                mx.int32,
                "1 foreground, 0 background, 2 and 3 a box's top left and bottom right corner "
                "(one box at most), -1 an empty slot, whose coordinates do not matter",
            ),
            input_size_tensor(S),
        ]
        traces += [Trace(inputs, outputs), Trace([*inputs, mask_input], outputs)]
    return traces


def measured_tensors(M: int, size: tuple[int, int], frame: str) -> list[Tensor]:
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
    L = config.mask_size
    return [
        Trace(
            [Tensor("low_res_masks", (1, M, L, L), mx.float32, "of the decoder")],
            measured_tensors(M, size, "the original image"),
        )
        for M in (1, config.multimask_outputs + 1)
    ]


def write_function(path: Path, function: Callable, traces: list[Trace]) -> None:
    with mx.exporter(str(path), function) as exporter:
        for trace in traces:
            exporter(*(mx.zeros(t.shape, t.dtype) for t in trace.inputs))


# Largest difference from the predictor, as a share of the largest value (of 1 at least).
# Measured on CPU: 2e-7, 7e-4, 6e-3. Units of M5 and CUDA round float32 factors to 2^-10 (TF32).
TOLERANCE = {mx.float32: 1e-4, mx.float16: 1e-2, mx.bfloat16: 1e-1}
TF32_TOLERANCE = 1e-2


def tolerance(dtype: mx.Dtype) -> float:
    return max(TOLERANCE[dtype], 0 if device_kind() == "cpu" else TF32_TOLERANCE)


class Comparison:
    """What the files give beside what ``SamPredictor`` gives; the largest differences so far."""

    def __init__(self, tolerance: float):
        self.tolerance = tolerance
        self.largest: dict[str, float] = {}

    def values(self, name: str, ours: mx.array, expected: np.ndarray) -> float:
        """Raise ValueError where they differ; returns the difference that is allowed."""
        difference = float(np.abs(as_float(ours) - expected).max())
        allowed = self.tolerance * max(1.0, float(np.abs(expected).max()))
        if not difference <= allowed:  # in words that NaN does not pass
            raise ValueError(
                f"{name} differ from SamPredictor's by {difference:.3g}, allowed {allowed:.3g}"
            )
        self.largest[name] = max(self.largest.get(name, 0.0), difference)
        return allowed

    def masks(self, measured: Sequence[mx.array], logits: np.ndarray, allowed: float) -> None:
        """Masks, stability scores and areas against logits (M, h, w) known to ``allowed``."""
        masks, stability, areas = (np.array(x[0]) for x in measured)
        _, h, w = logits.shape
        shown = masks[:, :h, :w]
        low, high = ((logits > t).astype(bool) for t in (allowed, -allowed))
        if (low & ~shown).any() or (shown & ~high).any():
            raise ValueError("masks differ from SamPredictor's")
        if (areas != shown.sum((1, 2))).any() or masks.sum() != shown.sum():
            raise ValueError("areas differ from the pixels of the masks, or masks leave the image")
        # The stability score lies between those of logits moved by what is allowed.
        low, high = (
            (logits > STABILITY_OFFSET + t).sum((1, 2))
            / np.maximum((logits > -STABILITY_OFFSET - t).sum((1, 2)), 1)
            for t in (allowed, -allowed)
        )
        if not ((low - 1e-6 <= stability) & (stability <= high + 1e-6)).all():
            raise ValueError("stability_scores differ from SamPredictor's")
        pixels = int((shown != (logits > 0)).sum())
        self.largest["mask_pixels"] = max(self.largest.get("mask_pixels", 0), pixels)


def check(
    folder: Path, model: Sam, points: list[int], sizes: list[tuple[int, int]]
) -> dict[str, float]:
    """Load the files, run every trace on a test image and compare with ``SamPredictor``.

    Returns the largest differences. RuntimeError when one is too large or a file does not run.
    """
    try:
        functions = {file.stem: mx.import_function(str(file)) for file in folder.glob("*.mlxfn")}
        return compare(functions, model, points, sizes)
    except (ValueError, RuntimeError) as error:
        raise RuntimeError(
            f"the exported files fail their check on {mx.default_device()} in "
            f"{dtype_name(model.dtype)}, none is kept: {error}"
        ) from error


def compare(
    functions: dict[str, Callable], model: Sam, points: list[int], sizes: list[tuple[int, int]]
) -> dict[str, float]:
    S = model.config.image_size
    predictor, comparison = SamPredictor(model), Comparison(tolerance(model.dtype))
    image = example_image(S)
    height, width = image.shape[:2]  # the input frame's own size: predict() answers in it
    predictor.set_image(image)
    square = np.full((1, S, S, 3), 255, np.uint8)
    square[0, :height, :width] = image
    input_size = mx.array([height, width], mx.int32)

    for dtype in (mx.uint8, mx.float32):
        (features,) = functions["encoder"](mx.array(square).astype(dtype), input_size)
        comparison.values("image_embeddings", features, as_float(predictor.features))
    for N in points:
        for prompt in example_prompts(N, (height, width)):
            mask_input = None
            for _ in range(2):  # the second time with a mask of the first as a prompt
                logits, scores, low_res = predict_all(predictor, prompt, mask_input)
                prompts = [*fill_slots(prompt, N), input_size]
                prompts += [] if mask_input is None else [mx.array(mask_input)[None]]
                masks, our_scores, *metrics, our_low_res = functions["decoder"](features, *prompts)
                comparison.values("scores", our_scores[0], scores)
                allowed = comparison.values("low_res_masks", our_low_res[0], low_res)
                comparison.masks([masks, *metrics], logits, allowed)
                mask_input = low_res[:1]
    embedding = predictor.get_image_embedding()
    for size in sizes:
        input_size = transforms.preprocess_shape(size, S)
        predictor.set_image_embedding(replace(embedding, original_size=size, input_size=input_size))
        logits, _, low_res = predict_all(predictor, example_prompts(1, size)[0], None)
        allowed = tolerance(mx.float32) * max(1.0, float(np.abs(low_res).max()))
        for part in (slice(0, 1), slice(None)):
            measured = functions[upscaler_name(size)](mx.array(low_res[part])[None])
            comparison.masks(measured, logits[part], allowed)
    return comparison.largest


def as_float(x: mx.array) -> np.ndarray:
    return np.array(x.astype(mx.float32))


def example_image(side: int) -> np.ndarray:
    """Discs on a gradient, (3/4 side, side, 3) uint8."""
    y, x = np.mgrid[: side * 3 // 4, :side] / side
    image = np.stack([255 * x, 340 * y, 128 + 0 * x], axis=-1)
    for cx, cy, radius, colour in (
        (0.3, 0.3, 0.15, (230, 40, 40)), (0.7, 0.45, 0.2, (30, 60, 200)), (0.5, 0.6, 0.06, 255),
    ):  # fmt: skip
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = colour
    return image.astype(np.uint8)


def example_prompts(slots: int, size: tuple[int, int]) -> list[tuple]:
    """Prompts of ``predict`` that fit: one point, as many as fit, a box and as many as fit."""
    height, width = size
    coords = np.random.default_rng(0).uniform((0, 0), (width, height), (slots, 2))
    labels = (np.arange(slots) + 1) % 2
    prompts = [(coords[:n], labels[:n], None) for n in sorted({1, slots})]
    if slots >= 2:
        box = np.array([0.1 * width, 0.15 * height, 0.5 * width, 0.7 * height])
        rest = (coords[2:], labels[2:]) if slots > 2 else (None, None)
        prompts.append((*rest, box))
    return prompts


def fill_slots(prompt: tuple, slots: int) -> tuple[mx.array, mx.array]:
    """A prompt in the input frame as the decoder's point_coords and point_labels."""
    coords, labels, box = prompt
    # The padding must not matter: NaN shows where it does.
    filled = np.full((1, slots, 2), np.nan, np.float32)
    kinds = np.full((1, slots), -1, np.int32)
    used = 0 if coords is None else len(coords)
    if used:
        filled[0, :used], kinds[0, :used] = coords, labels
    if box is not None:
        filled[0, used : used + 2] = np.reshape(box, (2, 2))
        kinds[0, used : used + 2] = TOP_LEFT, BOTTOM_RIGHT
    return mx.array(filled), mx.array(kinds)


def predict_all(predictor: SamPredictor, prompt: tuple, mask_input) -> list[np.ndarray]:
    """``predict``'s logits, scores and low-resolution logits, the single mask's first."""
    single, several = (
        predictor.predict(*prompt, mask_input, multimask_output, return_logits=True)
        for multimask_output in (False, True)
    )
    return [np.concatenate(pair) for pair in zip(single, several)]


def describe(
    folder: Path,
    model: Sam,
    source: str,
    points: list[int],
    files: dict[str, tuple[Callable, list[Trace]]],
    differences: dict[str, float],
) -> dict:
    config = model.config
    S, L = config.image_size, config.mask_size
    kind = device_kind()
    return {
        "format": "sam_mlx.export",
        "format_version": 1,
        "model": source,
        "fingerprint": fingerprint(model.config, model.image_encoder),
        "config": config.to_dict(),
        "dtype": dtype_name(model.dtype),
        "device": {"kind": kind, "note": device_note(kind)},
        "mlx": {
            "version": mx.__version__,
            "note": "load the files with this version: MLX promises no compatibility between "
            "versions, and 0.32.1 changed the format in both directions",
        },
        "image_size": S,
        "mask_size": L,
        "points": points,
        "preprocessing": {
            "channels": "RGB",
            "range": [0, 255],
            "resize": f"antialiased bilinear (triangle filter) so that the longer side is {S}",
            "size_rule": f"side = max(1, int(side * {S} / longer side + 0.5))",
            "placement": f"top left corner of the {S}x{S} square, nothing centred",
            "pixel_mean": list(config.pixel_mean),
            "pixel_std": list(config.pixel_std),
            "note": "the encoder itself subtracts pixel_mean, divides by pixel_std and sets what "
            "lies beside input_size to 0 afterwards: give it plain pixels",
        },
        "masks": {
            "threshold": model.mask_threshold,
            "order": "index 0: the single mask, for prompts of several points or a box; "
            f"1 to {config.multimask_outputs}: alternatives for an ambiguous prompt such as one "
            "click, of which the one with the highest score is usually wanted",
            "frame": "masks and areas of the decoder are in pixels of the resized image, those "
            "of masks_HEIGHTxWIDTH.mlxfn in pixels of the original image",
            "no_slot_filled": "the same as predict() without points and box",
        },
        "files": {
            name: {
                "sha256": sha256(folder / name),
                "bytes": (folder / name).stat().st_size,
                "inputs_are": "positional, in this order",
                "traces": [
                    {
                        "inputs": [tensor.to_dict() for tensor in trace.inputs],
                        "outputs": [tensor.to_dict() for tensor in trace.outputs],
                    }
                    for trace in traces
                ],
            }
            for name, (_, traces) in files.items()
        },
        "differences_from_predictor": differences,
    }


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def device_kind() -> str:
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def device_note(kind: str) -> str:
    return (
        f"traced on {kind}, and for {kind} only: a file traced on one kind of device does not "
        "run on another. Export on the kind of device that the app computes on"
    )
