"""What TF32, float32 products with 10 bits of mantissa, does to nano's masks: emulated anywhere.

    python -m examples.benchmarks.tf32

MLX computes so by default on Nvidia's GPUs, which round the factors, and on Apple's M5, which cuts
them off. Prints a Markdown table with float16 beside both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

import sam_mlx  # noqa: F401  before mlx.core, see sam_mlx/machine/linux.py

# isort: split
import mlx.core as mx
from mlx.utils import tree_map

from examples.benchmarks.cost.record import patched
from sam_mlx import Sam, SamPredictor
from sam_mlx.images import load_image
from sam_mlx.modeling import ops
from sam_mlx.modeling.layers import as_float32

PLATE = Path(__file__).parents[1] / "images" / "plate.png"
KEPT = 0xFFFFE000  # of float32's 32 bits: sign, exponent, 10 of the mantissa
HALF = 0x00000FFF  # with the last bit kept, half of what is dropped: to the nearest, ties to even
Cut = Callable[[mx.array], mx.array]
Answers = tuple[np.ndarray, np.ndarray, np.ndarray]  # embedding, masks, logits


def truncated(x: mx.array) -> mx.array:
    return mx.bitwise_and(x.view(mx.uint32), mx.array(KEPT, mx.uint32)).view(mx.float32)


def rounded(x: mx.array) -> mx.array:
    bits = mx.contiguous(x).view(mx.uint32)
    return truncated((bits + HALF + (bits >> 13) % 2).view(mx.float32))


@contextmanager
def products(cut: Cut) -> Iterator[None]:
    """Float32 products whose factors are cut, unless one has a single row or column."""
    matmul, addmm = mx.matmul, mx.addmm

    def factors(a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
        rows = a.size // a.shape[-1] if b.ndim == 2 else a.shape[-2]
        if a.dtype != mx.float32 or min(rows, b.shape[-1]) == 1:
            return a, b
        return cut(mx.contiguous(a)), cut(mx.contiguous(b))

    def attention(q, k, v, *, scale, mask=None, stream=None):
        scores = matmul(*factors(scale * q, k.swapaxes(-1, -2)))
        scores = scores if mask is None else scores + mask
        return matmul(*factors(mx.softmax(scores, axis=-1, precise=True), v))

    with patched(
        (mx, "matmul", lambda a, b, **rest: matmul(*factors(a, b), **rest)),
        (mx.array, "__matmul__", lambda a, b: matmul(*factors(a, b))),
        (mx, "addmm", lambda c, a, b, *rest, **named: addmm(c, *factors(a, b), *rest, **named)),
        (mx.fast, "scaled_dot_product_attention", attention),
    ):
        yield


def answers(model: Sam, image: np.ndarray, points: np.ndarray) -> Answers:
    predictor = SamPredictor(model)
    predictor.set_image(image)
    labels = np.ones((len(points), 1))
    logits, _, low_res = predictor.predict_batch(points[:, None], labels, return_logits=True)
    return as_float32(predictor.features), logits > 0, low_res


def row(name: str, exact: Answers, ours: Answers) -> str:
    (embedding, masks, logits), (e, m, x) = exact, ours
    axes = (-2, -1)
    union = (masks | m).sum(axes)
    iou = np.where(union, (masks & m).sum(axes) / np.maximum(union, 1), 1)
    apart = np.abs(e - embedding).max(), np.abs(x - logits).max()
    figures = [f"{value:.1e}" for value in apart] + [f"{iou.mean():.4f}", f"{iou.min():.4f}"]
    return f"| {' | '.join([name, *figures])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image", default=PLATE, type=Path)
    parser.add_argument("--points", default=16, type=int)
    args = parser.parse_args()
    ops.use_plain_forms()
    model, image = Sam.from_pretrained(args.model, dtype="float32"), load_image(args.image)
    height, width = image.shape[:2]
    points = np.random.default_rng(0).uniform((0, 0), (width, height), (args.points, 2))
    run = partial(answers, model, image, points)
    exact = run()
    print("| products | embedding off by | logits off by | masks' IoU, mean | worst |")
    print("| --- | --- | --- | --- | --- |")
    for name, cut in (("TF32, rounded (Nvidia)", rounded), ("TF32, cut off (M5)", truncated)):
        with products(cut):
            print(row(name, exact, run()), flush=True)
    half = Sam(model.config)
    half.update(tree_map(lambda w: w.astype(mx.float16), model.parameters()))
    print(row("float16", exact, answers(half, image, points)))


if __name__ == "__main__":
    main()
