"""Forms of ``ops`` that are fast on x86; other devices do not need them.

On x86 MLX evaluates ``exp`` and ``erf`` one number at a time (15 and 33 ns). Compiled quotients of
polynomials take 1.3 and 1.6 ns, and keeping scores in the caches saves as much again.
"""

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import mlx.core as mx
import numpy as np

from ..machine.budget import budget
from ..machine.streams import is_differentiated, recomputed, spread

Operation = Callable[[mx.array], mx.array]
Linear = Callable[[mx.array], mx.array]

# Coefficients of P / Q, lowest first. exp(8 z) = (P(z) / Q(z))^8 on [-4, 0], by weighted least
# squares, P and Q in z = y / 8. Phi(u) = 1/2 + u P(u^2) / Q(u^2), from an erf on [-4, 4].
_EXP_P_8 = (0.99999992, 0.42955505, 0.075583258, 0.0064665420, 0.00022688328)
_EXP_Q_8 = (1.0, -0.57044164, 0.14604875, -0.020958390, 0.0016764500)
_ERF_P = (1.1283790, 0.19623119, 0.053465081, 0.0040028585, 0.00028801913, 1.9749129e-06)
_ERF_Q = (1.0, 0.50723653, 0.11646902, 0.015442868, 0.0012161594, 3.7480542e-05)
_EXP_P, _EXP_Q = ([c / 8**k for k, c in enumerate(cs)] for cs in (_EXP_P_8, _EXP_Q_8))
_PHI_P = [c / 8**0.5 / 2**k for k, c in enumerate(_ERF_P)]
_PHI_Q = [c / 2**k for k, c in enumerate(_ERF_Q)]


def with_gradient(
    gradient: Callable[[mx.array, mx.array], Linear],
) -> Callable[[Operation], Operation]:
    """Decorator: a gradient of its own where a function of one array is differentiated.

    What MLX traces it does not compile, which takes up to 40 times as long: so the function is
    computed at once, from a value, and what its gradient needs with it. ``gradient`` has that from
    the value and the result. Only there, for files of exported functions cannot hold this.
    """

    def decorate(function: Operation) -> Operation:
        @wraps(function)
        def run(x: mx.array) -> mx.array:
            if not is_differentiated():
                return function(x)
            value = mx.array(np.array(x))
            result = function(value)
            back = gradient(value, result)
            known: Any = mx.custom_function(lambda _: result)
            known.vjp(lambda _, cotangent, __: back(cotangent))
            made: mx.array = known(x)
            return made

        return run

    return decorate


def _of_gelu(x: mx.array, _: mx.array) -> Linear:
    """Times Phi(x) + x phi(x)."""
    density = _fast_exp(mx.maximum(-0.5 * x * x, -32.0))
    slope = _slope(x, mx.clip(x, -(32**0.5), 32**0.5), density)
    mx.eval(slope)
    return lambda cotangent: cotangent * slope


@with_gradient(_of_gelu)
def gelu(x: mx.array) -> mx.array:
    """``ops.gelu``."""
    return _times_phi(x, mx.clip(x, -(32**0.5), 32**0.5))


def _of_softmax(_: mx.array, result: mx.array) -> Linear:
    def back(cotangent: mx.array) -> mx.array:
        product = cotangent * result
        return product - result * product.sum(axis=-1, keepdims=True)

    return back


@with_gradient(_of_softmax)
def softmax(x: mx.array) -> mx.array:
    """``ops.softmax``, over the last axis."""
    e = exp_below(x, x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def add_product(x: mx.array, a: mx.array, b: mx.array) -> mx.array:
    """Two steps, on any CPU: results stay those of earlier versions, bit for bit."""
    return x + a @ b


def product_with_sum(a: mx.array, x: mx.array, y: mx.array) -> mx.array:
    """``ops.product_with_sum``: a (x + y)^T."""
    return a @ (x + y).swapaxes(1, 2)


def add_attended(
    x: mx.array, weights: mx.array, values: mx.array, bias: mx.array, heads: int
) -> mx.array:
    """``ops.add_attended``: x + weights values + bias."""
    return x + (weights @ values + bias)


def attend(
    q: mx.array, k: mx.array, v: mx.array, rel_h: mx.array, rel_w: mx.array, scale: float
) -> mx.array:
    """``ops.attend``, some heads and rows at a time, so that scores stay in the cache."""
    shape, T = q.shape, q.shape[2]
    q, k, v, rel_h, rel_w = (x.flatten(0, 1) for x in (scale * q, k, v, rel_h, rel_w))
    # A column of ones beside the values sums the weights in the same product.
    v = mx.concatenate([v, mx.ones((*v.shape[:2], 1))], axis=-1)
    scores = budget().attention_bytes // 4
    heads = max(1, scores // (T * T))
    rows = max(1, min(T, scores // (T * heads)))

    @recomputed
    def sums(q: mx.array, k: mx.array, v: mx.array, rel_h: mx.array, rel_w: mx.array) -> mx.array:
        scores = q @ k.swapaxes(1, 2)  # (heads, rows, T)
        scores = mx.unflatten(scores, -1, (rel_h.shape[-1], -1))
        scores = scores + rel_h[..., None] + rel_w[..., None, :]
        scores = scores.flatten(-2)
        return exp_below(scores, scores.max(axis=-1, keepdims=True)) @ v

    def weighted(h: int, i: int) -> mx.array:
        """Sums of weighted values and of weights, (heads, rows, d + 1), for some heads and rows."""
        few, part = slice(h, h + heads), (slice(h, h + heads), slice(i, i + rows))
        return sums(q[part], k[few], v[few], rel_h[part], rel_w[part])

    tasks = [partial(weighted, h, i) for h in range(0, len(q), heads) for i in range(0, T, rows)]
    out = spread(tasks)
    per_head = -(-T // rows)
    x = mx.concatenate(
        [mx.concatenate(out[i : i + per_head], axis=1) for i in range(0, len(out), per_head)]
    )
    return (x[..., :-1] / x[..., -1:]).reshape(shape)


def depthwise(x: mx.array, weight: mx.array, bias: mx.array, stride: int) -> mx.array:
    """One compiled chain of multiply-adds, on any CPU: MLX's grouped convolutions are plain loops
    there (670 ms for (1, 256, 256, 256), against 200 ms).
    """
    _, H, W, C = x.shape
    x = mx.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    shifted = [x[:, i : i + H : stride, j : j + W : stride] for i in range(3) for j in range(3)]
    return _weighted_sum(bias, shifted, list(weight.reshape(C, 9).T))


def conv3x3(x: mx.array, weight: mx.array) -> mx.array:
    """MLX's own, on any CPU: in float16 a matrix product would take ten times as long."""
    return mx.conv2d(x, weight, padding=1)


@mx.compile
def _weighted_sum(total: mx.array, terms: list[mx.array], weights: list[mx.array]) -> mx.array:
    for term, weight in zip(terms, weights):
        total = total + term * weight
    return total


def kernel3x3(weight: mx.array) -> mx.array:
    """(out, 3, 3, C) to (4, 4, C, out): G w G^T of Winograd's F(2x2, 3x3)."""
    lines = _kernel_line(weight.transpose(1, 2, 3, 0))
    return mx.stack([mx.stack(_kernel_line(line)) for line in lines])


def _kernel_line(w: mx.array) -> list[mx.array]:
    return [w[0], 0.5 * (w[0] + w[1] + w[2]), 0.5 * (w[0] - w[1] + w[2]), w[2]]


def conv3x3_between(x: mx.array, kernel: mx.array) -> mx.array:
    """Winograd's F(2x2, 3x3): the 4 pixels of a square take 16 products instead of 36. It
    takes 0.7 of the time of plain ones with 64 channels, 0.4 with 512, and MLX's own 1.4.
    Results differ by up to 6e-7 of the largest value.
    """
    B, H, W, C = x.shape
    h, w, out = (H - 1) // 2, (W + 1) // 2, kernel.shape[-1]  # squares, and channels
    x = mx.pad(x, [(0, 0), (0, 2 * h + 2 - H), (1, 2 * w + 1 - W), (0, 0)])
    products = [
        _to_line(*((x_j.reshape(-1, C) @ k) for x_j, k in zip(_of_columns(line, w), kernels)))
        for line, kernels in zip(_of_rows(x, h), kernel)
    ]  # four lines of two columns
    columns = [_to_line(*column) for column in zip(*products)]  # two of two rows
    rows = [mx.stack(list(row), axis=1).reshape(B * h, 2 * w, out) for row in zip(*columns)]
    return mx.stack(rows, axis=1).reshape(B, 2 * h, 2 * w, out)[:, : H - 2, :W]


def _of_rows(x: mx.array, h: int) -> tuple[mx.array, ...]:
    return _of_line(*(x[:, i : i + 2 * h : 2] for i in range(4)))


def _of_columns(x: mx.array, w: int) -> tuple[mx.array, ...]:
    return _of_line(*(x[:, :, j : j + 2 * w : 2] for j in range(4)))


@mx.compile
def _of_line(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, ...]:
    return a - c, b + c, c - b, b - d


@mx.compile
def _to_line(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, ...]:
    return a + b + c, b - c - d


# MLX fuses up to 11 dependent operations into one loop, which g++ vectorises unless it holds a
# maximum or minimum (they check for NaN). Hence bounds outside the loop, and polynomials as trees.


def exp_below(x: mx.array, top: mx.array) -> mx.array:
    """exp(x - top) for x <= top, relative error 7e-7 (RMS) above exp(-12); never below exp(-32)."""
    return _fast_exp(mx.maximum(x - top, -32.0))


@mx.compile
def _fast_exp(y: mx.array) -> mx.array:
    r = _polynomial(y, _EXP_P) / _polynomial(y, _EXP_Q)
    r = r * r
    r = r * r
    return r * r


@mx.compile
def _times_phi(x: mx.array, u: mx.array) -> mx.array:
    t = u * u
    return x * (0.5 + u * _polynomial(t, _PHI_P) / _polynomial(t, _PHI_Q))


@mx.compile
def _slope(x: mx.array, u: mx.array, density: mx.array) -> mx.array:
    t = u * u
    phi = 0.5 + u * _polynomial(t, _PHI_P) / _polynomial(t, _PHI_Q)
    return phi + x * density * (2 * math.pi) ** -0.5


def _polynomial(x: mx.array, c: list[float]) -> mx.array:
    """A polynomial of degree 4 or 5 (Estrin's scheme)."""
    x2 = x * x
    top = c[4] + c[5] * x if len(c) > 5 else c[4]
    return (c[0] + c[1] * x) + x2 * (c[2] + c[3] * x) + (x2 * x2) * top
