"""What is measured: the parts of the model, on inputs that do not depend on weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from sam_mlx import MaskPredictions, Sam, SamAutomaticMaskGenerator, transforms
from sam_mlx.automatic.options import DEFAULTS, GeneratorOptions
from sam_mlx.automatic.selection import select
from sam_mlx.config import SamConfig
from sam_mlx.decoding import decode_in_parts
from sam_mlx.embedding import ImageEmbedding
from sam_mlx.full_size import upscale_masks
from sam_mlx.machine.streams import stepwise
from sam_mlx.modeling.prompt_encoder import Kept
from sam_mlx.registry import IMAGE_EMBEDDING

from .record import Recording, alias, patched, record, rehearse

SIZES = ((512, 512), (1200, 1800))  # of pictures: height, width
LARGE = SIZES[-1]
BATCH = 64  # points that the generator hands over together


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    record: Callable[[Setting], Recording]
    also: str | None = None  # another row, whose cost is part of this one's


@dataclass(frozen=True)
class Setting:
    config: SamConfig
    dtype: mx.Dtype
    points_per_side: int = 32


def works(setting: Setting) -> list[Work]:
    """All rows, by the names that the table and ``--only`` have."""
    found = [Work(f"encoder, {n}", partial(encoder, B=n)) for n in (1, 4)]
    found += [Work(f"decoder, {n}", partial(decoder, B=n)) for n in (1, 8, 64)]
    found += [Work(f"decoder, {n} in parts", partial(parts, B=n)) for n in (8, 64)]
    found += [Work("upscaling 3", upscaling)]
    for size in SIZES:
        text = f"{size[0]}x{size[1]}"
        found += [Work(f"selection, {text}", partial(selection, size=size))]
        found += [Work(f"automatic, {text}", partial(automatic, size=size), also="encoder, 1")]
    return found


def model_of(setting: Setting) -> Sam:
    """A model whose weights are zeros that nobody computes."""
    model = Sam(setting.config)
    model.update(tree_map(lambda w: mx.zeros(w.shape, setting.dtype), model.parameters()))
    model.eval()
    return model


def with_weights(
    model: Sam, function: Callable[..., object], *arrays: mx.array, values: list | None = None
) -> Recording:
    """Record ``function(*arrays)`` with the model's weights as inputs, too."""
    weights = model.parameters()
    leaves: list[mx.array] = []
    tree_map(leaves.append, weights)

    def run(*inputs: mx.array) -> object:
        given = iter(inputs)
        model.update(tree_map(lambda _: next(given), weights))
        return function(*given)

    return record(run, *leaves, *arrays, values=values or [])


def encoder(setting: Setting, B: int) -> Recording:
    model, size = model_of(setting), setting.config.image_size
    images = mx.zeros((B, size, size, 3))

    def encode(images: mx.array) -> mx.array:
        with stepwise():
            return model.encode_image(images)

    return with_weights(model, encode, images)


def embedding_of(setting: Setting) -> mx.array:
    grid = setting.config.grid
    return mx.zeros((1, grid, grid, setting.config.prompt_dim), setting.dtype)


def points_of(B: int) -> tuple[mx.array, mx.array]:
    return mx.zeros((B, 1, 2)), mx.ones((B, 1), mx.int32)


def decoder(setting: Setting, B: int) -> Recording:
    model = model_of(setting)

    def decode(features: mx.array, *points: mx.array) -> object:
        return model.decode(features, points, None, None, True, None)

    return with_weights(model, decode, embedding_of(setting), *points_of(B))


def parts(setting: Setting, B: int) -> Recording:
    model = model_of(setting)

    def decode(features: mx.array, dense_pe: mx.array, *points: mx.array) -> object:
        encoder = model.prompt_encoder  # which has been asked before
        encoder._kept = Kept(encoder.pe_layer.positional_encoding_gaussian_matrix, dense_pe)
        return decode_in_parts(model, features, points)

    features = embedding_of(setting)
    with patched((Sam, "decode", separate(Sam.decode))):
        return with_weights(model, decode, features, features, *points_of(B))


def separate(decode: Callable[..., object]) -> Callable[..., object]:
    """``Sam.decode`` that shares no work with other calls: exporting, MLX would merge it."""

    def run(model: Sam, features: mx.array | dict, *rest: object) -> object:
        shared = model.parameters()
        model.update(tree_map(alias, shared))
        try:
            return decode(model, tree_map(alias, features), *rest)
        finally:
            model.update(shared)

    return run


def frame(setting: Setting, size: tuple[int, int]) -> tuple[int, int]:
    return transforms.input_size(size, setting.config)


def upscaling(setting: Setting) -> Recording:
    n, image_size = setting.config.mask_size, setting.config.image_size
    sizes = frame(setting, LARGE), LARGE, image_size

    def enlarge(logits: mx.array) -> np.ndarray:
        return np.array(upscale_masks(logits, *sizes, 0.0))

    logits = mx.zeros((1, 3, n, n))
    values = rehearse(lambda: enlarge(logits))
    return record(enlarge, logits, values=values)


class Answers:
    """Made-up answers of the model: around each point three discs, of about 3, 8 and 20 % of the
    side, of which two in five are said to be good.
    """

    def __init__(self, setting: Setting):
        self.setting, self.rng = setting, np.random.default_rng(0)

    def __call__(self, coords: np.ndarray) -> tuple[mx.array, mx.array]:
        """coords: (B, 2) as x, y in the input frame. Logits (B, 3, n, n), predicted IoU (B, 3)."""
        config, (n, B) = self.setting.config, (self.setting.config.mask_size, len(coords))
        random = self.rng.random((B, 2, 3), np.float32)
        iou = 0.82 + 0.1 * random[:, 0]
        radius = n * np.float32([0.03, 0.08, 0.2]) * (0.5 + random[:, 1])
        x, y = (coords / config.image_size * n).astype(np.float32).T[..., None]
        cells = np.arange(n, dtype=np.float32) + 0.5
        apart = np.hypot((cells - x)[:, None], (cells - y)[..., None])  # (B, n, n)
        logits = np.clip(4 * (radius[..., None, None] - apart[:, None]), -20, 20)
        dtype = self.setting.dtype
        return mx.array(logits).astype(dtype), mx.array(iou).astype(dtype)


def predictions(setting: Setting, size: tuple[int, int], options: GeneratorOptions):
    """Answers to all points of the grid that are said to be good enough."""
    points = options.grids[0] * np.array(size[::-1])
    coords = transforms.scale_coords(points, size, frame(setting, size))
    logits, iou = Answers(setting)(coords)
    scores = np.array(iou.astype(mx.float32)).reshape(-1)
    good = np.flatnonzero(scores > options.pred_iou_thresh)
    kept = logits.flatten(0, 1)[mx.array(good)]
    mx.eval(kept)
    return MaskPredictions(
        np.array(size),
        np.array(setting.config.image_size),
        np.array(options.pred_iou_thresh),
        np.array([[0, 0, *size[::-1]]]),
        np.array(setting.config.resize == "square"),
        np.zeros(len(good), int),
        points[good // 3],
        scores[good],
        kept,
    )


def selection(setting: Setting, size: tuple[int, int]) -> Recording:
    options = GeneratorOptions(points_per_side=setting.points_per_side)
    run = partial(select, [predictions(setting, size, options)], options)
    return record(run, values=rehearse(run))


def automatic(setting: Setting, size: tuple[int, int]) -> Recording:
    """All but the encoder. The rehearsal has answers instead of a decoder."""
    model = model_of(setting)
    generator = SamAutomaticMaskGenerator(
        model, points_per_side=setting.points_per_side, points_per_batch=BATCH,
        pred_iou_thresh=DEFAULTS.pred_iou_thresh,
        stability_score_thresh=DEFAULTS.stability_score_thresh,
    )  # fmt: skip
    generator.predictor.fingerprint = "any"  # spares reading the weights
    features = embedding_of(setting)
    mx.eval(features)
    inputs = {IMAGE_EMBEDDING: features}, size, frame(setting, size), "any"
    embedding = ImageEmbedding.of(*inputs)
    answers = Answers(setting)

    read = np.array  # not one that counts

    def made_up(model: Sam, features: object, points: tuple, *rest: object) -> object:
        return answers(read(points[0])[:, 0])

    def run() -> None:
        generator.generate(embedding)

    with patched((Sam, "decode", made_up)):
        values = rehearse(run)
    with patched((Sam, "decode", separate(Sam.decode))):
        return with_weights(model, run, values=values)
