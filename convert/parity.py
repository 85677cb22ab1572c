"""Stage-by-stage comparison of a converted model with the original PyTorch code."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from sam_mlx import transforms
from sam_mlx.config import SamConfig
from sam_mlx.machine.precision import uses_tf32
from sam_mlx.modeling.layers import is_quantized
from sam_mlx.predictor import SamPredictor
from sam_mlx.sam import Sam

from . import vit
from .adapters import adapted
from .meta import ORIGINALS, build_meta, is_hq, package_of
from .reference import import_segment_anything, import_transformers

Stages = dict[str, np.ndarray]

# Bounds in float32. From the embedding on they are the project's contract; before it they are on
# the relative error, because activations grow with depth and differ between checkpoints.
ABSOLUTE = {"embedding": 5e-5, "sparse prompts": 1e-5, "dense prompts": 1e-5, "logits": 1e-4}
ABSOLUTE |= {"predicted IoU": 1e-5, "masks, 1 - IoU": 1e-4}
RELATIVE = {"patch embedding": 1e-5, "windowed block": 1e-5, "global block": 1e-5}
RELATIVE |= {f"stage {i}": 1e-5 for i in range(1, 5)}  # of TinyViT

# Half precision, 8-bit weights, TF32: relative errors; float16 and bfloat16 keep 11 and 8 bits.
HALF_ERROR, HALF = 0.1, {"masks, 1 - IoU": 0.05}


@dataclass(frozen=True)
class Row:
    stage: str
    max_abs_error: float
    relative_error: float  # max_abs_error over the largest reference value
    bound: float
    bounded: str  # which of the two errors the bound applies to
    passed: bool


def compare(
    original: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray], half: bool = False
) -> list[Row]:
    """One row per stage. ``half`` checks half-precision or 8-bit weights, on relative errors."""
    rows = []
    for stage, expected in original.items():
        if stage == "masks, 1 - IoU":
            error = relative = 1 - worst_iou(expected, ours[stage])
        else:
            assert expected.shape == ours[stage].shape, (stage, expected.shape, ours[stage].shape)
            error = float(np.abs(expected - ours[stage]).max())
            relative = error / float(np.abs(expected).max())
        absolute = stage in ABSOLUTE and not half
        bound = HALF.get(stage, HALF_ERROR) if half else (ABSOLUTE | RELATIVE)[stage]
        # NaN fails because it compares false.
        passed = bool((error if absolute else relative) <= bound)
        rows.append(
            Row(stage, error, relative, bound, "absolute" if absolute else "relative", passed)
        )
    return rows


def worst_iou(a: np.ndarray, b: np.ndarray) -> float:
    """The lowest IoU between masks (N, H, W) of two lists; two empty masks are equal."""
    intersection = (a & b).sum(axis=(1, 2))
    union = (a | b).sum(axis=(1, 2))
    return float(np.where(union, intersection / np.maximum(union, 1), 1).min())


def prompts(image: np.ndarray, mask_size: int) -> list[dict[str, Any]]:
    """A click; clicks and a box; a click and a smooth mask: every kind of prompt, once."""
    height, width = image.shape[:2]
    centre, corner = (width / 2, height / 2), (width * 0.8, height * 0.9)
    y, x = np.mgrid[:mask_size, :mask_size] / mask_size
    bump = 12 - 60 * ((x - 0.5) ** 2 + (y - 0.4) ** 2)
    click = {"point_coords": np.array([centre]), "point_labels": np.array([1])}
    return [
        click,
        {
            "point_coords": np.array([centre, corner]),
            "point_labels": np.array([1, 0]),
            "box": np.array([width * 0.2, height * 0.25, width * 0.75, height * 0.8]),
        },
        {**click, "mask_input": bump[None].astype(np.float32)},
    ]


def our_stages(model: Sam, image: np.ndarray) -> Stages:
    config = model.config
    stages: Stages = {}

    def tap(stage: str, x: mx.array) -> None:
        stages[stage] = np.array(x.astype(mx.float32))

    pixels = transforms.preprocess(image, config).astype(model.dtype)
    ORIGINALS[config.encoder.type].tap_ours(model.image_encoder, pixels, config, tap)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    tap("embedding", predictor.features)
    results = []
    for prompt in prompts(image, config.mask_size):
        points, boxes, masks = predictor.embed_prompt(**prompt)
        sparse, _, dense = model.prompt_encoder(points, boxes, masks)
        dense = mx.broadcast_to(dense, (1, config.grid, config.grid, config.prompt_dim))
        embedded = np.array(sparse.astype(mx.float32)), np.array(dense.astype(mx.float32))
        results.append((*embedded, *predictor.predict(**prompt)))
    return stages | _decoded(results)


def _decoded(results: list[tuple[Any, ...]]) -> Stages:
    """Rows of (sparse, dense, masks, scores, logits), one per prompt, joined by stage."""

    def joined(column: int) -> np.ndarray:
        return np.concatenate([np.asarray(r[column]).astype(np.float32).ravel() for r in results])

    return {
        "sparse prompts": joined(0),
        "dense prompts": joined(1),
        "logits": joined(4),
        "predicted IoU": joined(3),
        "masks, 1 - IoU": np.concatenate([r[2] for r in results]),
    }


class Taps:
    """Outputs of PyTorch modules, as they run."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        self.hooks: list[Any] = []

    def __call__(
        self, module: torch.nn.Module, stage: str, axes: tuple[int, ...] | None = None
    ) -> None:
        """Keep the output of ``module`` as ``stage``, with its axes in that order."""

        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            self.stages[stage] = (output.permute(axes) if axes else output).numpy().copy()

        self.hooks.append(module.register_forward_hook(hook))

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


@torch.no_grad()
def meta_stages(
    config: SamConfig,
    state: Mapping[str, torch.Tensor],
    image: np.ndarray,
    adapter: str | None = None,
) -> Stages:
    """Run Meta's code with a state dict under Meta's names and a folder's adapter."""
    model = adapted(build_meta(config, state), adapter)
    tap = Taps()
    ORIGINALS[config.encoder.type].tap_original(model.image_encoder, config, tap)
    tap(model.image_encoder, "embedding", (0, 2, 3, 1))
    predictor = package_of(config).SamPredictor(model)
    predictor.transform.target_length = config.image_size
    predictor.set_image(image)
    tap.remove()

    embedded: list[Any] = []
    model.prompt_encoder.register_forward_hook(lambda _m, _i, output: embedded.append(output))
    results = []
    for prompt in prompts(image, config.mask_size):
        masks, scores, logits = predictor.predict(**prompt)
        sparse, dense = embedded.pop()
        results.append((sparse, dense.permute(0, 2, 3, 1), masks, scores, logits))
    return tap.stages | _decoded(results)


@torch.no_grad()
def hugging_face_stages(
    config: SamConfig, folder: str, image: np.ndarray, adapter: str | None = None
) -> Stages:
    """Run transformers' ``SamModel`` or ``SamHQModel`` with its checkpoint and an adapter."""
    transformers = import_transformers()
    kind = transformers.SamHQModel if is_hq(config) else transformers.SamModel
    model = adapted(kind.from_pretrained(folder, attn_implementation="eager").eval(), adapter)
    if is_hq(config):
        repair(model)
    # transformers normalises with 1e-6 everywhere; the original's transformer has 1e-5.
    for module in model.mask_decoder.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    encoder = model.vision_encoder
    tap = Taps()
    tap(encoder.patch_embed, "patch embedding")
    for i, stages in vit.tapped(config).items():
        for stage in stages:
            tap(encoder.layers[i], stage)
    resize = _resize(config)
    pixels, input_size = _preprocess(resize.apply_image(image), config)
    embedding, *early = _as_tuple(model.get_image_embeddings(pixels))
    tap.remove()
    tap.stages["embedding"] = embedding.permute(0, 2, 3, 1).numpy()

    embedded: list[Any] = []
    model.prompt_encoder.register_forward_hook(lambda _m, _i, output: embedded.append(output))
    results = []
    for prompt in prompts(image, config.mask_size):
        inputs = _hugging_face_prompt(prompt, resize, image.shape[:2])
        inputs |= {"intermediate_embeddings": early[0]} if early else {}
        output = model(image_embeddings=embedding, **inputs)
        sparse, dense = embedded.pop()
        dense = dense.expand(1, -1, config.grid, config.grid).permute(0, 2, 3, 1)
        logits, scores = output.pred_masks[0], output.iou_scores[0, 0]
        if early:  # the best first, which is SAM-HQ's answer
            logits, scores = logits[:, :1], scores[:1]
        masks = _upscaled(logits, config, input_size, image.shape[:2])
        results.append((sparse, dense, masks, scores, logits[0]))
    return tap.stages | _decoded(results)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def repair(model: Any) -> None:
    """Make transformers' SAM-HQ upscale what its transformer made of the image.

    From 5.0 on it upscales what went into the transformer, with rows and columns exchanged, unlike
    SAM-HQ's own code and transformers 4. What it reads is overwritten with what it should read.
    """

    def overwrite(_module: Any, _inputs: Any, named: dict[str, Any], output: Any) -> None:
        image = named["image_embeddings"]  # (B, C, G, G)
        keys = output[1].transpose(2, 3).reshape(image.shape)
        image.copy_(keys.transpose(2, 3))

    model.mask_decoder.transformer.register_forward_hook(overwrite, with_kwargs=True)


def _resize(config: SamConfig) -> Any:
    import_segment_anything()
    from segment_anything.utils.transforms import ResizeLongestSide

    return ResizeLongestSide(config.image_size)


def _preprocess(image: np.ndarray, config: SamConfig) -> tuple[torch.Tensor, tuple[int, int]]:
    """A resized image as the model's input (1, 3, S, S), and the image's size in it."""
    pixels = torch.tensor(image).permute(2, 0, 1).float()
    (height, width), size = pixels.shape[1:], config.image_size
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.pixel_mean, config.pixel_std))
    padding = 0, size - width, 0, size - height
    return torch.nn.functional.pad((pixels - mean) / std, padding)[None], (height, width)


def _hugging_face_prompt(
    prompt: dict[str, Any], resize: Any, size: tuple[int, int]
) -> dict[str, torch.Tensor]:
    coords = resize.apply_coords(prompt["point_coords"], size)
    inputs = {
        "input_points": torch.tensor(coords)[None, None].float(),
        "input_labels": torch.tensor(prompt["point_labels"])[None, None],
    }
    if "box" in prompt:
        box = resize.apply_boxes(prompt["box"][None], size)
        inputs["input_boxes"] = torch.tensor(box)[None].float()
    if "mask_input" in prompt:
        inputs["input_masks"] = torch.tensor(prompt["mask_input"])[None]
    return inputs


def _upscaled(
    logits: torch.Tensor, config: SamConfig, input_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Masks (C, H, W) of logits (1, C, n, n), as Meta's ``postprocess_masks`` enlarges them."""
    square = config.image_size, config.image_size
    masks = torch.nn.functional.interpolate(logits, square, mode="bilinear")
    masks = masks[..., : input_size[0], : input_size[1]]
    masks = torch.nn.functional.interpolate(masks, size, mode="bilinear")
    return (masks[0] > 0).numpy()


def check(
    model: Sam, original: Callable[[SamConfig, np.ndarray], Stages], image_path: str
) -> list[Row]:
    """Run the original and ours on one picture and compare every stage."""
    image = transforms.load_image(image_path)
    half = model.dtype != mx.float32 or is_quantized(model) or uses_tf32()
    return compare(original(model.config, image), our_stages(model, image), half)


def table(rows: list[Row]) -> str:
    lines = [f"{'stage':<16} {'max abs error':>14} {'relative':>10} {'bound':>18}"]
    for r in rows:
        bound = f"{r.bounded} {r.bound:.0e}"
        verdict = "" if r.passed else "  FAILED"
        lines.append(
            f"{r.stage:<16} {r.max_abs_error:>14.2e} {r.relative_error:>10.1e} {bound:>18}{verdict}"
        )
    return "\n".join(lines)


def markdown(rows: list[Row]) -> str:
    """The table for a model card."""
    lines = [
        "Compared with the original code, run on the same picture and weights:\n",
        "| stage | max abs error | relative error | bound |",
        "|---|---|---|---|",
    ]
    for r in rows:
        bound = f"{r.bounded} {r.bound:.0e}"
        lines.append(f"| {r.stage} | {r.max_abs_error:.1e} | {r.relative_error:.1e} | {bound} |")
    return "\n".join(lines)


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]
