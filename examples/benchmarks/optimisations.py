"""What each optimisation gains: the plain form beside the one in use, as a Markdown table.

    python -m examples.benchmarks.optimisations

The sizes are those of ViT-B. ``tests/examples/test_optimisations.py`` compares the results of the
two forms at small sizes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sam_mlx  # noqa: F401  first: on Linux it must come before mlx.core

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np

from sam_mlx import transforms
from sam_mlx.config import SamConfig
from sam_mlx.machine import streams
from sam_mlx.modeling import ops
from sam_mlx.modeling.image_encoder import Block, ViTConfig
from sam_mlx.modeling.layers import conv_as_matmul, interpolate_rows
from sam_mlx.modeling.mask_decoder import MaskDecoder, interleave
from sam_mlx.modeling.prompt_encoder import PositionEmbeddingRandom
from sam_mlx.modeling.transformer import Attention, ImageToToken, TokenToImage
from sam_mlx.registry import VARIANTS

SMALL = SamConfig(
    ViTConfig(dim=24, depth=2, heads=2, global_blocks=(1,), mlp_dim=48, window=3),
    image_size=80,
    prompt_dim=32,
    decoder_heads=2,
)


@dataclass
class Case:
    name: str
    plain: Callable[[], mx.array]
    used: Callable[[], mx.array]
    bound: float = 1e-6  # on their difference, relative to the largest value if that exceeds 1


def cases(config: SamConfig, prompts: int) -> Iterator[Case]:
    """The optimisations at the sizes of a model, with ``prompts`` at once in the decoder."""
    vit, G, C = config.encoder, config.grid, config.prompt_dim
    keys = iter(mx.random.split(mx.random.key(0), 100))

    def normal(*shape: int) -> mx.array:
        x = mx.random.normal(shape, key=next(keys))
        mx.eval(x)
        return x

    def ready(module: nn.Module) -> nn.Module:
        mx.eval(module.parameters())
        return module

    image = normal(1, config.image_size, config.image_size, 3)
    patches = ready(nn.Conv2d(3, vit.dim, config.patch_size, stride=config.patch_size))
    yield Case(
        "patch embedding: a matrix product, not a convolution",
        lambda: patches(image),
        lambda: conv_as_matmul(patches, image),
    )

    d = vit.dim // vit.heads
    q, k, v = (normal(1, vit.heads, G * G, d) for _ in range(3))
    rel_h, rel_w = normal(1, vit.heads, G * G, G), normal(1, vit.heads, G * G, G)
    yield Case(
        "attention of a global block: in pieces",
        lambda: whole_attention(q, k, v, rel_h, rel_w, d**-0.5),
        lambda: ops.attend(q, k, v, rel_h, rel_w, d**-0.5),
    )

    hidden = normal(1, G, G, vit.mlp_dim)
    yield Case("GELU of an MLP", lambda: nn.gelu(hidden), lambda: ops.gelu(hidden))

    x = normal(1, G, G, vit.dim)
    for kind, window in (("window", vit.window), ("global", 0)):
        block = ready(Block(vit.dim, vit.heads, vit.mlp_dim, G, window))
        yield Case(
            f"{kind} block: on two streams (CPU only)",
            lambda block=block: on_one_stream(block, x),
            lambda block=block: block(x),
        )

    neck = ready(nn.Conv2d(vit.dim, C, 1, bias=False))
    yield Case(
        "1x1 convolution of the neck: a matrix product",
        lambda: neck(x),
        lambda: conv_as_matmul(neck, x),
    )

    grid, filters = normal(1, 2 * G, 2 * G, C), ready(nn.Conv2d(C, C, 3, padding=1, groups=C))
    yield Case(
        "depthwise convolution of TinyViT: a sum of nine products (CPU only)",
        lambda: filters(grid),
        lambda: ops.depthwise(grid, filters.weight, filters.bias, 1),
    )

    tokens, cells = normal(prompts, 7, C), normal(prompts, G * G, C)
    mask = mx.zeros((prompts, 1, 1, 7))
    to_image = ready(TokenToImage(C, config.decoder_heads, downsample_rate=2))
    yield Case(
        f"tokens to image, {prompts} prompts: projections folded into the tokens",
        lambda: Attention.__call__(to_image, tokens, cells, cells),
        lambda: to_image(tokens, cells, cells),
    )
    to_tokens = ready(ImageToToken(C, config.decoder_heads, downsample_rate=2))
    yield Case(
        f"image to tokens, {prompts} prompts: projections folded into the tokens",
        lambda: cells + to_tokens(cells, tokens, tokens, mask),
        lambda: to_tokens.add_to(cells, cells, tokens, tokens, mask),
    )
    shared = cells[:1]
    copies = mx.contiguous(mx.broadcast_to(shared, cells.shape))
    mx.eval(shared, copies)
    yield Case(
        f"image to tokens in the first layer, {prompts} prompts: one image for all",
        lambda: to_tokens.add_to(copies, copies, tokens, tokens, mask),
        lambda: to_tokens.add_to(shared, shared, tokens, tokens, mask),
    )

    encoding = PositionEmbeddingRandom(C // 2)
    encoding.positional_encoding_gaussian_matrix = normal(2, C // 2)
    yield Case(
        "positional encoding of the image: sines of two sides, not of all cells",
        lambda: every_cell(encoding, G),
        lambda: encoding.grid(G),
        bound=1.5e-6,  # 1.2e-6 measured: angles of up to 20 are rounded
    )

    decoder, hyper = ready(MaskDecoder(config)), normal(prompts, 3, C // 8)
    yield Case(
        f"upscaling in the decoder, {prompts} prompts: matrix products, pixels placed last",
        lambda: transposed_convolutions(decoder, cells, hyper, G),
        lambda: interleave(hyper @ decoder.upscale(cells).swapaxes(1, 2), G),
    )

    size = (1200, 1800)
    inner = transforms.preprocess_shape(size, config.image_size)
    masks = normal(3, config.mask_size, config.mask_size)
    steps = [
        (mx.array(interpolate_rows(np.eye(config.mask_size), config.image_size)[:a], mx.float32),
         mx.array(interpolate_rows(np.eye(a), b), mx.float32))
        for a, b in zip(inner, size)
    ]  # fmt: skip
    mx.eval(steps)
    yield Case(
        "3 masks to 1200x1800: one banded matrix for each axis, not two resizings",
        lambda: two_resizings(masks, *steps),
        lambda: transforms.upscale_masks(masks, inner, size, config.image_size),
    )


def whole_attention(q, k, v, rel_h, rel_w, scale):
    bias = (rel_h[..., None] + rel_w[..., None, :]).flatten(-2)
    return mx.softmax(scale * q @ k.swapaxes(2, 3) + bias, axis=-1) @ v


def on_one_stream(f: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    streams.use_one()
    try:
        return f(x)
    finally:
        streams.use_one(False)


def every_cell(encoding: PositionEmbeddingRandom, G: int) -> mx.array:
    centres = (mx.arange(G) + 0.5) / G
    return encoding(mx.stack(mx.meshgrid(centres, centres, indexing="xy"), axis=-1))


def transposed_convolutions(decoder: MaskDecoder, cells, hyper, G: int) -> mx.array:
    conv1, norm, _, conv2, _ = decoder.output_upscaling
    x = nn.gelu(norm(conv1(cells.reshape(len(cells), G, G, -1))))
    x = nn.gelu(conv2(x))
    masks = hyper @ x.flatten(1, 2).swapaxes(1, 2)
    return masks.reshape(*hyper.shape[:2], 4 * G, 4 * G)


def two_resizings(masks, rows, columns) -> mx.array:
    for row, column in zip(rows, columns):
        masks = row @ masks @ column.T
    return masks


def measure(work: Callable[[], mx.array], repeats: int) -> tuple[float, int]:
    """Median seconds, and peak memory in bytes above what was in use before."""
    mx.clear_cache()
    mx.eval(work())
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(work())
        times.append(time.perf_counter() - start)
    return statistics.median(times), mx.get_peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=8)
    args = parser.parse_args()
    print("| optimisation | before | after | after / before |\n| --- | --- | --- | --- |")
    for case in cases(VARIANTS["vit_b"], args.prompts):
        (a, a_bytes), (b, b_bytes) = (measure(f, args.repeats) for f in (case.plain, case.used))
        figures = [f"{1e3 * s:.3g} ms, {m / 1e6:.0f} MB" for s, m in ((a, a_bytes), (b, b_bytes))]
        print(
            f"| {case.name} | {figures[0]} | {figures[1]} | {b / a:.2f}, {b_bytes / a_bytes:.2f} |"
        )


if __name__ == "__main__":
    main()
