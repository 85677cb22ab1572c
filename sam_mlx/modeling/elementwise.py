"""Softmax, GELU and attention, in the form that is fast where they run.

Metal and CUDA have fused kernels. On x86 MLX evaluates ``exp`` and ``erf`` one number at a time
(15 and 44 ns); compiled polynomials take 2 and 4 ns, and scores that stay in the cache save as
much again. All of that, and nothing else, is behind ``on_x86_cpu``.
"""

import platform

import mlx.core as mx
import mlx.nn as nn

# Attention scores alive at a time. One global block of ViT-B has 805 MB of them in float32.
SCORE_BYTES = 64 << 20
# Near the caches: an image takes ViT-B 15 s, against 17 with 2 MB and 23 with 0.5.
SCORE_BYTES_X86 = 8 << 20

# expm1(z) / z on [-1/2, 0] and erf(u) / u = P(u^2) / Q(u^2) on [-4, 4], by least squares.
_EXPM1 = (1, 0.49999982, 0.16666245, 0.041630243, 0.0081900028, 0.0011237151)
_ERF_P = (1.1283790, 0.19623119, 0.053465081, 0.0040028585, 0.00028801913, 1.9749129e-06)
_ERF_Q = (1.0, 0.50723653, 0.11646902, 0.015442868, 0.0012161594, 3.7480542e-05)


def on_x86_cpu(x: mx.array) -> bool:
    x86 = platform.machine() in ("x86_64", "AMD64")
    return x86 and x.dtype == mx.float32 and mx.default_device() == mx.Device(mx.cpu)


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
    for h in range(0, len(q), heads):
        k_h, v_h = k[h : h + heads].swapaxes(1, 2), v[h : h + heads]
        for i in range(0, T, rows):
            part = slice(h, h + heads), slice(i, i + rows)
            scores = q[part] @ k_h  # (heads, rows, T)
            scores = mx.unflatten(scores, -1, (rel_h.shape[-1], -1))
            scores = _add_offsets(scores, rel_h[part], rel_w[part]).flatten(-2)
            out.append(_exp_below(scores, scores.max(axis=-1, keepdims=True)) @ v_h)
    per_head = -(-T // rows)
    heads = [mx.concatenate(out[i : i + per_head], axis=1) for i in range(0, len(out), per_head)]
    x = mx.concatenate(heads)
    return (x[..., :-1] / x[..., -1:]).reshape(shape)


@mx.compile
def _add_offsets(scores: mx.array, rel_h: mx.array, rel_w: mx.array) -> mx.array:
    return scores + (rel_h[..., None] + rel_w[..., None, :])


@mx.compile
def _exp_below(x: mx.array, top: mx.array) -> mx.array:
    """exp(x - top) for x <= top; what is below 1e-14 is left there.

    exp(z) = (exp(z / 64))^64. Doubling z works on exp(z) - 1 while that is small and keeps its
    digits, then on exp(z) itself. Relative error 7e-7 (RMS), at most 5e-6 above exp(-12).
    """
    z = mx.maximum(x - top, -32.0) * (1 / 64)
    p = _EXPM1[-1]
    for c in _EXPM1[-2::-1]:
        p = p * z + c
    p = p * z
    for _ in range(3):
        p = p * (p + 2)
    p = p + 1
    for _ in range(3):
        p = p * p
    return p


@mx.compile
def _fast_gelu(x: mx.array) -> mx.array:
    u = mx.minimum(mx.maximum(x * 0.70710678, -4.0), 4.0)
    t = u * u
    p, q = _ERF_P[-1], _ERF_Q[-1]
    for c in _ERF_P[-2::-1]:
        p = p * t + c
    for c in _ERF_Q[-2::-1]:
        q = q * t + c
    return 0.5 * x * (1 + u * p / q)
