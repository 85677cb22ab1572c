"""Softmax, GELU and attention, in the form that is fast where they run.

Metal and CUDA have fused kernels. On x86 MLX evaluates ``exp`` and ``erf`` one number at a time
(15 and 33 ns); compiled fractions of polynomials take 1.3 and 1.6 ns, and scores that stay near the
cache save as much again. All of that is behind ``on_x86_cpu``. What the CPU has besides are two
streams.
"""

import platform
import threading
from collections.abc import Callable
from itertools import cycle

import mlx.core as mx
import mlx.nn as nn

# Attention scores alive at a time. One global block of ViT-B has 805 MB of them in float32.
SCORE_BYTES = 64 << 20
# Near the caches: ViT-B's global attention takes 1.1 s, against 1.3 with 2 MB and 1.6 with 1.
SCORE_BYTES_X86 = 8 << 20

# Coefficients of P / Q, lowest first. exp(8 z) = (P(z) / Q(z))^8 on [-4, 0], by weighted least
# squares, P and Q in z = y / 8. Phi(u) = 1/2 + u P(u^2) / Q(u^2), from an erf on [-4, 4].
_EXP_P = (0.99999992, 0.42955505, 0.075583258, 0.0064665420, 0.00022688328)
_EXP_Q = (1.0, -0.57044164, 0.14604875, -0.020958390, 0.0016764500)
_ERF_P = (1.1283790, 0.19623119, 0.053465081, 0.0040028585, 0.00028801913, 1.9749129e-06)
_ERF_Q = (1.0, 0.50723653, 0.11646902, 0.015442868, 0.0012161594, 3.7480542e-05)
_EXP_P, _EXP_Q = ([c / 8**k for k, c in enumerate(cs)] for cs in (_EXP_P, _EXP_Q))
_PHI_P = [c / 8**0.5 / 2**k for k, c in enumerate(_ERF_P)]
_PHI_Q = [c / 2**k for k, c in enumerate(_ERF_Q)]


def on_x86_cpu(x: mx.array) -> bool:
    x86 = platform.machine() in ("x86_64", "AMD64")
    return x86 and x.dtype == mx.float32 and mx.default_device() == mx.Device(mx.cpu)


_thread = threading.local()


def parallel_streams() -> list[mx.Stream]:
    """The streams to spread independent work over.

    On the CPU a stream is one thread, and of its operations only matrix products use more, so
    there are two. A GPU needs one.
    """
    device = mx.default_device()
    streams = [mx.default_stream(device)]
    if device == mx.Device(mx.cpu):
        if not hasattr(_thread, "second"):  # no other thread can use it
            _thread.second = mx.new_stream(mx.cpu)
        streams.append(_thread.second)
    return streams


def in_halves(f: Callable[[mx.array], mx.array], x: mx.array, axis: int) -> mx.array:
    """f(x), for an f that treats the parts of x along ``axis`` alike, on all streams at once."""
    streams = parallel_streams()
    if len(streams) == 1 or x.shape[axis] == 1:
        return f(x)
    done = []
    for stream, half in zip(streams, mx.split(x, [x.shape[axis] // 2], axis)):
        with mx.stream(stream):
            done.append(f(half))
    return mx.concatenate(done, axis)


def gelu(x: mx.array) -> mx.array:
    """x Phi(x), exact up to rounding (the original's ``nn.GELU``)."""
    return _fast_gelu(x) if on_x86_cpu(x) else nn.gelu(x)


def softmax(x: mx.array) -> mx.array:
    """Softmax over the last axis, computed in float32."""
    if not on_x86_cpu(x):
        return mx.softmax(x, axis=-1, precise=True)
    e = _exp_below(x, x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attend(
    q: mx.array, k: mx.array, v: mx.array, rel_h: mx.array, rel_w: mx.array, scale: float
) -> mx.array:
    """softmax(scale q k^T + rel_h + rel_w) v, over as many query rows at a time as fit.

    q, k, v: (N, heads, H*W, d); rel_h: (N, heads, H*W, H), added to the scores of all keys of a
    row; rel_w: (N, heads, H*W, W), of a column. Returns (N, heads, H*W, d).
    """
    if on_x86_cpu(q):
        return _attend_in_cache(q, k, v, rel_h, rel_w, scale)
    N, heads, T, _ = q.shape
    rows = max(1, SCORE_BYTES // (N * heads * T * q.itemsize))
    out = []
    for i in range(0, T, rows):
        part = slice(i, i + rows)
        bias = rel_h[:, :, part, :, None] + rel_w[:, :, part, None, :]
        bias = bias.flatten(-2)  # (N, heads, rows, T)
        out.append(
            mx.fast.scaled_dot_product_attention(q[:, :, part], k, v, scale=scale, mask=bias)
        )
    return mx.concatenate(out, axis=2)


def _attend_in_cache(q, k, v, rel_h, rel_w, scale) -> mx.array:
    shape, T = q.shape, q.shape[2]
    q, k, v, rel_h, rel_w = (x.flatten(0, 1) for x in (scale * q, k, v, rel_h, rel_w))
    # A column of ones beside the values sums the weights in the same product.
    v = mx.concatenate([v, mx.ones((*v.shape[:2], 1))], axis=-1)
    heads = max(1, SCORE_BYTES_X86 // (4 * T * T))
    rows = max(1, min(T, SCORE_BYTES_X86 // (4 * T * heads)))
    out = []
    streams = cycle(parallel_streams())
    for h in range(0, len(q), heads):
        k_h, v_h = k[h : h + heads].swapaxes(1, 2), v[h : h + heads]
        for i in range(0, T, rows):
            part = slice(h, h + heads), slice(i, i + rows)
            with mx.stream(next(streams)):
                scores = q[part] @ k_h  # (heads, rows, T)
                scores = mx.unflatten(scores, -1, (rel_h.shape[-1], -1))
                scores = scores + rel_h[part][..., None] + rel_w[part][..., None, :]
                scores = scores.flatten(-2)
                out.append(_exp_below(scores, scores.max(axis=-1, keepdims=True)) @ v_h)
    per_head = -(-T // rows)
    heads = [mx.concatenate(out[i : i + per_head], axis=1) for i in range(0, len(out), per_head)]
    x = mx.concatenate(heads)
    return (x[..., :-1] / x[..., -1:]).reshape(shape)


# MLX makes one loop of up to 11 operations that depend on each other, and g++ vectorises it where
# it holds no maximum or minimum, which look for NaN. So: bounds outside, polynomials as trees.


def _exp_below(x: mx.array, top: mx.array) -> mx.array:
    """exp(x - top) for x <= top, relative error 7e-7 (RMS) above exp(-12); never below exp(-32)."""
    return _fast_exp(mx.maximum(x - top, -32.0))


@mx.compile
def _fast_exp(y: mx.array) -> mx.array:
    r = _polynomial(y, _EXP_P) / _polynomial(y, _EXP_Q)
    r = r * r
    r = r * r
    return r * r


def _fast_gelu(x: mx.array) -> mx.array:
    return _times_phi(x, mx.clip(x, -(32**0.5), 32**0.5))


@mx.compile
def _times_phi(x: mx.array, u: mx.array) -> mx.array:
    t = u * u
    return x * (0.5 + u * _polynomial(t, _PHI_P) / _polynomial(t, _PHI_Q))


def _polynomial(x: mx.array, c: list[float]) -> mx.array:
    """Of degree 4 or 5 (Estrin's scheme)."""
    x2 = x * x
    top = c[4] + c[5] * x if len(c) > 5 else c[4]
    return (c[0] + c[1] * x) + x2 * (c[2] + c[3] * x) + (x2 * x2) * top
