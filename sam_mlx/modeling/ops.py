"""Operations that differ between devices: their plain forms, and the choice between forms.

Each function is the plain form, which Metal and CUDA run with fused kernels. Its decorator names
the form in ``ops_x86`` and where that is faster; ``use_plain_forms`` turns those off. Nothing else
in ``modeling`` depends on the device.
"""

import platform
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

import mlx.core as mx
import mlx.nn as nn

from ..machine import streams
from ..machine.budget import budget, even_parts, use_a_gpus
from ..machine.streams import step as step  # for the layers
from ..registry import Features
from . import ops_x86

Operation = TypeVar("Operation", bound=Callable[..., mx.array])

TILE = 64  # rows that a piece of attention has at least; Metal's kernels work on 32 at a time

_plain_only = False


def use_plain_forms(on: bool = True) -> None:
    """Compute everything as a GPU does: plain forms, one stream, parts of the size that suits a
    GPU. For tests on other machines.
    """
    global _plain_only
    _plain_only = on
    streams.use_one(on)
    use_a_gpus(on)


def plain_forms_only() -> bool:
    """Whether ``use_plain_forms`` is in effect."""
    return _plain_only


def on_cpu(x: mx.array) -> bool:
    """True if the CPU computes."""
    return streams.on_cpu()


def on_x86_cpu(x: mx.array) -> bool:
    """True if an x86 CPU computes, in float32."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return x86 and x.dtype == mx.float32 and streams.on_cpu()


def faster(
    form: Callable[..., mx.array], where: Callable[[mx.array], bool]
) -> Callable[[Operation], Operation]:
    """Decorator: run ``form`` instead if ``where`` holds for the first argument."""

    def decorate(plain: Operation) -> Operation:
        @wraps(plain)
        def run(x: mx.array, *rest: Any, **named: Any) -> mx.array:
            return (plain if _plain_only or not where(x) else form)(x, *rest, **named)

        return cast(Operation, run)

    return decorate


@faster(ops_x86.gelu, where=on_x86_cpu)
def gelu(x: mx.array) -> mx.array:
    """x Phi(x), exact up to rounding (the original's ``nn.GELU``)."""
    return nn.gelu(x)


def relu(x: mx.array) -> mx.array:
    """max(x, 0). MLX's own is a compiled object, and models that hold one cannot be copied."""
    return mx.maximum(x, 0)


@faster(ops_x86.softmax, where=on_x86_cpu)
def softmax(x: mx.array) -> mx.array:
    """Softmax over the last axis, computed in float32."""
    return mx.softmax(x, axis=-1, precise=True)


@faster(ops_x86.add_product, where=on_cpu)
def add_product(x: mx.array, a: mx.array, b: mx.array) -> mx.array:
    """x + a b as one product: a sum of its own would read and write the result once more."""
    return mx.addmm(x, a, b)


@faster(ops_x86.product_with_sum, where=on_cpu)
def product_with_sum(a: mx.array, x: mx.array, y: mx.array) -> mx.array:
    """a (x + y)^T, where the prompts share y: the sum, larger than the product, is not written.

    a: (B, n, C); x: (B, P, C); y: (1, P, C). Returns (B, n, P).
    """
    return mx.addmm(a @ y.swapaxes(1, 2), a, x.swapaxes(1, 2))


@faster(ops_x86.add_attended, where=on_cpu)
def add_attended(
    x: mx.array, weights: mx.array, values: mx.array, bias: mx.array, heads: int
) -> mx.array:
    """x + weights values + bias, where the weights of each head sum to 1, as one product.

    x: (B or 1, P, C); weights: (B, P, heads * N); values: (B, heads * N, C); bias: (C,), of which
    each head adds its share. Returns (B, P, C).
    """
    return mx.addmm(x, weights, values + bias / heads)


@faster(ops_x86.attend, where=on_x86_cpu)
def attend(
    q: mx.array, k: mx.array, v: mx.array, rel_h: mx.array, rel_w: mx.array, scale: float
) -> mx.array:
    """softmax(scale q k^T + rel_h + rel_w) v, in pieces whose scores fit.

    One global block of ViT-B has 805 MB of scores in float32. A piece is some windows with all
    their heads, some heads of one window, or some rows of one head: whole heads keep MLX's kernel
    busy, and a last piece of a few rows would not run in it. This form uses a GPU's budget even
    when a CPU runs it.

    q, k, v: (N, heads, H*W, d); rel_h: (N, heads, H*W, H), added to the scores of all keys in a
    row; rel_w: (N, heads, H*W, W), in a column. Returns (N, heads, H*W, d).
    """
    N, heads, T, _ = q.shape
    at_once = budget(mx.gpu).attention_bytes // (T * q.itemsize)  # rows of scores
    before: list[mx.array] = []

    def piece(*part: slice) -> mx.array:
        by_row, by_column = rel_h[part], rel_w[part]
        if before:  # otherwise MLX computes the offsets of all pieces before it uses the first
            by_row, by_column = mx.depends([by_row, by_column], before)
        bias = by_row[..., None] + by_column[..., None, :]
        bias = bias.flatten(-2)  # (windows, heads, rows, T)
        whole = part[:2]
        x = mx.fast.scaled_dot_product_attention(
            q[part], k[whole], v[whole], scale=scale, mask=bias
        )
        before[:] = [step(x)]
        return x

    windows, some_heads, rows = (
        even_parts(N, at_once // (heads * T)),
        even_parts(heads, at_once // T),
        even_parts(T, at_once, at_least=TILE),
    )
    return mx.concatenate(
        [
            mx.concatenate(
                [mx.concatenate([piece(n, h, r) for r in rows], axis=2) for h in some_heads],
                axis=1,
            )
            for n in windows
        ]
    )


@faster(ops_x86.depthwise, where=on_cpu)
def depthwise(x: mx.array, weight: mx.array, bias: mx.array, stride: int) -> mx.array:
    """A convolution of each channel with its own 3x3 kernel, padding 1, stride 1 or 2.

    x: (B, H, W, C), H and W multiples of the stride s; weight: (C, 3, 3, 1); bias: (C,).
    Returns (B, H/s, W/s, C).
    """
    return mx.conv2d(x, weight, stride, padding=1, groups=x.shape[-1]) + bias


@faster(ops_x86.conv3x3, where=on_cpu)
def conv3x3(x: mx.array, weight: mx.array) -> mx.array:
    """A 3x3 convolution, padding 1, as one matrix product over nine shifted views.

    MLX's own chooses a form by size, on Metal this one or Winograd's, so one image and a batch
    differ: on CUDA by 3e-3 in float32.
    x: (B, H, W, C); weight: (out, 3, 3, C). Returns (B, H, W, out).
    """
    _, H, W, _ = x.shape
    x = mx.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    views = [x[:, i : i + H, j : j + W] for i in range(3) for j in range(3)]
    return mx.concatenate(views, axis=-1) @ weight.flatten(1).T


@faster(ops_x86.kernel3x3, where=on_x86_cpu)
def kernel3x3(weight: mx.array) -> mx.array:
    """What ``conv3x3_between`` takes for the kernel of a convolution, (out, 3, 3, C)."""
    return weight


@faster(ops_x86.conv3x3_between, where=on_x86_cpu)
def conv3x3_between(x: mx.array, kernel: mx.array) -> mx.array:
    """A 3x3 convolution without its first and last row, for bands of a map; columns are padded.

    x: (B, H + 2, W, C); kernel: from ``kernel3x3``, of weights of the same type. Returns
    (B, H, W, out).
    """
    _, H, W, _ = x.shape
    x = mx.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)])
    views = [x[:, i : i + H - 2, j : j + W] for i in range(3) for j in range(3)]
    return mx.concatenate(views, axis=-1) @ kernel.flatten(1).T


def few_at_a_time(
    encode: Callable[[mx.array], Features], images: mx.array, bytes_each: int
) -> Features:
    """Features of images (B, S, S, 3), of as many at a time as a GPU's memory suits.

    bytes_each: activations of an encoder's widest layers for one image.
    """
    parts = even_parts(len(images), budget().encoder_bytes // bytes_each)
    if len(parts) < 2:
        return encode(images)
    found = [encode(images[part]) for part in parts]
    return {name: mx.concatenate([some[name] for some in found]) for name in found[0]}


def tokenwise(f: Operation) -> Operation:
    """Decorator for a method (self, x) that treats tokens independently; x: (B, rows, ..., C).

    With two streams, each takes half of the rows.
    """

    @wraps(f)
    def run(self: object, x: mx.array) -> mx.array:
        if streams.width() == 1 or x.ndim < 3 or x.shape[1] == 1:
            return f(self, x)
        halves = mx.split(x, [x.shape[1] // 2], axis=1)
        return mx.concatenate(streams.spread([partial(f, self, half) for half in halves]), axis=1)

    return cast(Operation, run)
