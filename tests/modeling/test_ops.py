"""The fast x86 forms against float64, and against the plain forms that other devices run."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from scipy.special import erf

from sam_mlx import Sam
from sam_mlx.machine import streams
from sam_mlx.modeling import ops, ops_x86
from sam_mlx.registry import EARLY, IMAGE_EMBEDDING, VARIANTS
from tests.support import models
from tests.support.budgets import limited


def test_exp_below():
    x = -np.linspace(0, 40, 400_001).astype(np.float32)
    y = np.array(ops_x86.exp_below(mx.array(x), mx.array(0.0)))
    expected = np.exp(x.astype(np.float64))
    relative = np.abs(y / expected - 1)[x > -12]
    # Measured 3e-6 and 7e-7, and 1.5e-6 near 0; with MLX 0.31.1, whose compiler orders the sums
    # otherwise, 4.1e-6, 9.1e-7 and 2.0e-6.
    assert relative.max() <= 5e-6 and np.sqrt((relative**2).mean()) <= 1.1e-6
    assert np.abs(y - expected).max() <= 2.5e-6 and (y > 0).all()


def test_gelu():
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    expected = 0.5 * x.astype(np.float64) * (1 + erf(x / np.sqrt(2)))
    fast = np.array(ops_x86.gelu(mx.array(x)))
    plain = np.array(nn.gelu(mx.array(x)))
    # Measured at most 1.2e-6 over two versions of MLX, whose own gelu reaches 3e-7.
    assert np.abs(fast - expected)[np.abs(x) < 5].max() <= 1.5e-6
    assert np.abs(plain - expected)[np.abs(x) < 5].max() <= 6e-7
    assert np.abs(fast - expected).max() <= 3e-6


@pytest.mark.parametrize("scale", [0.1, 5, 60])
def test_softmax(scale):
    x = scale * mx.random.normal((7, 3, 1000), key=mx.random.key(0))
    exact = np.array(x, np.float64)
    exact = np.exp(exact - exact.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    for ours in (ops.softmax(x), mx.softmax(x, axis=-1)):
        np.testing.assert_allclose(np.array(ours), exact, atol=2e-6)
        np.testing.assert_allclose(np.array(ours.sum(-1)), 1, atol=2e-6)


@pytest.mark.parametrize("bytes", [1000, 150_000, 300_000, 500_000, 10_000_000])
def test_attention_in_pieces_is_attention(bytes, plain):
    """Pieces of rows, of one head and of two, of a window, and all at once."""
    q, k, v, rel_h, rel_w = (
        mx.random.normal((2, 3, 180, d), key=mx.random.key(i))
        for i, d in enumerate((8, 8, 8, 15, 12))
    )
    bias = (rel_h[..., None] + rel_w[..., None, :]).flatten(-2)
    expected = np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=bias))
    plain()
    with limited(attention_bytes=bytes):
        cached = np.array(ops_x86.attend(q, k, v, rel_h, rel_w, 0.3))
        ours = np.array(ops.attend(q, k, v, rel_h, rel_w, 0.3))
    np.testing.assert_allclose(cached, expected, atol=3e-6)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def pieces(monkeypatch, plain, N, heads, height, width) -> list[tuple[int, ...]]:
    """Windows, heads and rows of each piece of attention."""
    plain()
    found, cells = [], height * width

    def noted(q, k, v, *, scale, mask):
        assert mask.shape == (*q.shape[:3], cells) and k.shape[:2] == q.shape[:2]
        found.append(q.shape[:3])
        return q

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", noted)
    q, rel_h, rel_w = (mx.zeros((N, heads, cells, d)) for d in (8, height, width))
    assert ops.attend(q, q, q, rel_h, rel_w, 1.0).shape == q.shape
    return found


@pytest.mark.parametrize(
    ("N", "heads", "size", "expected"),
    [
        (25, 16, 14, [(25, 16, 196)]),  # windows of ViT-L and ViT-H: 61.5 MB
        (100, 12, 14, [(33, 12, 196), (33, 12, 196), (34, 12, 196)]),  # four images of ViT-B
        (1, 12, 64, [(1, 1, 4096)] * 12),  # a global block: 67 MB a head
        (2, 3, 96, [(1, 1, 1536)] * 36),  # 340 MB a head
    ],
)
def test_attention_works_by_whole_heads(N, heads, size, expected, monkeypatch, plain):
    with limited(attention_bytes=64 << 20):
        found = pieces(monkeypatch, plain, N, heads, size, size)
    assert sorted(found[: len(expected)]) == sorted(expected)
    assert sum(n * h * r for n, h, r in found) == N * heads * size * size
    assert min(rows for *_, rows in found) >= min(ops.TILE, size * size)


def test_no_piece_of_attention_is_too_small_for_the_kernel(monkeypatch, plain):
    with limited(attention_bytes=1):
        found = pieces(monkeypatch, plain, 1, 2, 15, 13)
    assert found == [(1, 1, 65)] * 6


@pytest.mark.skipif(not streams.on_cpu(), reason="a GPU keeps what its queue refers to")
def test_attention_takes_the_memory_of_one_piece(plain):
    """In the form for GPUs, MLX must not compute the offsets of all pieces before the first."""
    plain()
    heads, side = 4, 32  # 17 MB of scores, in pieces of 64 rows
    q, k, v, rel_h, rel_w = (
        mx.random.normal((1, heads, side * side, d)) for d in (8, 8, 8, side, side)
    )
    mx.eval(q, k, v, rel_h, rel_w)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    with limited(attention_bytes=1 << 20):
        mx.eval(ops.attend(q, k, v, rel_h, rel_w, 0.3))
    # Measured: 11.7 MB, as MLX's queue holds some ten operations' results; unordered 33.8.
    assert mx.get_peak_memory() - before <= 14e6


@pytest.mark.parametrize("shape", [(1, 8, 8, 32), (2, 6, 10, 5)])
def test_convolution_of_the_neck(shape, plain):
    x, weight = mx.random.normal(shape), mx.random.normal((7, 3, 3, shape[-1]))
    expected = mx.conv2d(x, weight, padding=1)
    for only_plain in (False, True):
        plain(only_plain)
        # 0 measured; products of the values reach 60.
        assert mx.allclose(ops.conv3x3(x, weight), expected, rtol=0, atol=2e-5)


class Doubling:
    @ops.tokenwise
    def __call__(self, x: mx.array) -> mx.array:
        return x * 2 + 1


def test_tokenwise():
    for tokens in (1, 2, 5):
        x = mx.random.normal((2, tokens, 7), key=mx.random.key(0))
        assert mx.array_equal(Doubling()(x), x * 2 + 1)


@pytest.mark.parametrize("op", [ops.gelu, ops.softmax])
def test_plain_forms_equal_mlxs_own(op, plain):
    x = mx.random.normal((3, 50), key=mx.random.key(0))
    plain(False)
    here = op(x)
    plain()
    there = op(x)
    expected = nn.gelu(x) if op is ops.gelu else mx.softmax(x, axis=-1, precise=True)
    assert mx.array_equal(there, expected)
    assert mx.allclose(here, there, atol=3e-6)
    assert not mx.array_equal(here, there) or not ops.on_x86_cpu(x)
    plain(False)
    assert mx.array_equal(op(x), here)


@pytest.mark.parametrize("op", [ops.gelu, ops.softmax])
def test_gradients_where_functions_are_differentiated(op, plain):
    """Measured 1e-6 for gelu and 2.2e-7 for softmax; what MLX derives 2.3e-6 and 8e-7."""
    x = 3 * mx.random.normal((7, 400), key=mx.random.key(0))
    cotangent = mx.random.normal(x.shape, key=mx.random.key(1))

    def both():
        with streams.lazily():
            results, gradients = mx.vjp(op, [x], [cotangent])
        return results[0], gradients[0]

    plain(False)
    value, gradient = both()
    assert mx.array_equal(value, op(x))
    derived = mx.vjp(op, [x], [cotangent])[1][0]
    plain()
    expected = both()[1]
    for found in (gradient, derived):
        assert mx.abs(found - expected).max().item() <= 3e-6


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8, 32), (2, 6, 10, 5)])
def test_depthwise_equals_the_grouped_convolution(shape, stride):
    C = shape[-1]
    conv = nn.Conv2d(C, C, 3, stride=stride, padding=1, groups=C)
    conv.bias = mx.random.normal((C,))
    x = mx.random.normal(shape)
    assert mx.allclose(ops.depthwise(x, conv.weight, conv.bias, stride), conv(x), atol=1e-6)


def test_sums_within_products(plain):
    """On a GPU one product, on a CPU the steps one after another, to the bit."""
    image, tokens, weights, values, bias = (
        mx.random.normal(shape) for shape in ((1, 30, 8), (2, 5, 8), (2, 30, 12), (2, 12, 8), (8,))
    )
    weights = mx.softmax(weights.reshape(2, 30, 3, 4), axis=-1).flatten(-2)
    images = image + weights @ values
    expected = [
        bias + weights @ values,
        image + (weights @ values + bias),
        tokens @ (images + image).swapaxes(1, 2),
    ]

    def sums() -> list[mx.array]:
        return [
            ops.add_product(bias, weights, values),
            ops.add_attended(image, weights, values, bias, 3),
            ops.product_with_sum(tokens, images, image),
        ]

    plain(False)
    if ops.on_cpu(image):
        assert all(map(mx.array_equal, sums(), expected))
    plain()
    for found, stepwise in zip(sums(), expected):
        # 3e-6 measured, of values up to 21.
        assert mx.allclose(found, stepwise, rtol=0, atol=5e-6)


@pytest.mark.skipif(not streams.on_cpu(), reason="a GPU keeps what its queue refers to")
@pytest.mark.parametrize("variant", ["nano", pytest.param("vit_t", marks=pytest.mark.slow)])
def test_an_encoder_step_by_step(variant, plain):
    """The same numbers, without a queue of the next blocks."""
    plain()
    model = Sam(VARIANTS[variant])
    mx.eval(model.parameters())
    size = model.config.image_size
    images = mx.random.normal((1, size, size, 3))
    together = model.encode_image(images)
    mx.eval(together)
    with streams.stepwise():
        apart = model.encode_image(images)
    assert mx.array_equal(apart, together)


def test_images_a_few_at_a_time():
    sizes: list[int] = []

    def encode(images):
        sizes.append(len(images))
        return {"a": images + 1, "b": images.sum(axis=(1, 2))}

    x = mx.random.normal((7, 2, 2, 3))
    for nbytes, expected in ((0, [1] * 7), (3 * 50, [2, 2, 3]), (7 * 50, [7])):
        sizes.clear()
        with limited(encoder_bytes=nbytes):
            found = ops.few_at_a_time(encode, x, 50)
        assert sizes == expected
        assert mx.array_equal(found["a"], x + 1) and mx.array_equal(found["b"], x.sum(axis=(1, 2)))


# Elsewhere products of other sizes may round otherwise.
@pytest.mark.skipif(not ops.on_x86_cpu(mx.zeros(1)), reason="measured with MKL")
@pytest.mark.parametrize("kind", models.STRUCTURES)
def test_encoders_take_images_a_few_at_a_time(kind, plain):
    """On a small Mac: the same features as all at once."""
    plain()
    model = models.random_sam(models.STRUCTURES[kind])
    size = model.config.image_size
    images = mx.random.normal((3, size, size, 3))
    whole = model.image_encoder(images, {IMAGE_EMBEDDING, EARLY})
    with limited(encoder_bytes=1):
        apart = model.image_encoder(images, {IMAGE_EMBEDDING, EARLY})
    assert whole.keys() == apart.keys() == {IMAGE_EMBEDDING, EARLY}
    assert all(mx.array_equal(whole[key], apart[key]) for key in whole)
