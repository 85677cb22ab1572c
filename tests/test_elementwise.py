"""The fast x86 forms against float64, and against the plain forms that other devices run."""

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import erf

from sam_mlx.modeling import elementwise


def test_exp_below():
    x = -np.linspace(0, 40, 400_001).astype(np.float32)
    y = np.array(elementwise._exp_below(mx.array(x), mx.array(0.0)))
    expected = np.exp(x.astype(np.float64))
    relative = np.abs(y / expected - 1)[x > -12]
    assert relative.max() <= 4e-6 and np.sqrt((relative**2).mean()) <= 9e-7  # 3e-6, 7e-7
    assert np.abs(y - expected).max() <= 2e-6 and (y > 0).all()  # 1.5e-6, near 0


def test_gelu():
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    expected = 0.5 * x.astype(np.float64) * (1 + erf(x / np.sqrt(2)))
    fast = np.array(elementwise._fast_gelu(mx.array(x)))
    plain = np.array(elementwise.nn.gelu(mx.array(x)))
    # Measured 1.2e-6 at most over two versions of MLX, whose own gelu reaches 3e-7.
    assert np.abs(fast - expected)[np.abs(x) < 5].max() <= 1.5e-6
    assert np.abs(plain - expected)[np.abs(x) < 5].max() <= 6e-7
    assert np.abs(fast - expected).max() <= 3e-6


@pytest.mark.parametrize("scale", [0.1, 5, 60])
def test_softmax(scale):
    x = scale * mx.random.normal((7, 3, 1000), key=mx.random.key(0))
    exact = np.array(x, np.float64)
    exact = np.exp(exact - exact.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    for ours in (elementwise.softmax(x), mx.softmax(x, axis=-1)):
        np.testing.assert_allclose(np.array(ours), exact, atol=2e-6)
        np.testing.assert_allclose(np.array(ours.sum(-1)), 1, atol=2e-6)


@pytest.mark.parametrize("bytes", [1000, 50_000, 10_000_000])
def test_attention_in_the_cache_is_attention(bytes, monkeypatch):
    q, k, v, rel_h, rel_w = (
        mx.random.normal((2, 3, 30, d), key=mx.random.key(i)) for i, d in enumerate((8, 8, 8, 5, 6))
    )
    monkeypatch.setattr(elementwise, "SCORE_BYTES_X86", bytes)
    monkeypatch.setattr(elementwise, "SCORE_BYTES", bytes)
    bias = (rel_h[..., None] + rel_w[..., None, :]).flatten(-2)
    expected = np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=bias))
    cached = elementwise._attend_in_cache(q, k, v, rel_h, rel_w, 0.3)
    np.testing.assert_allclose(np.array(cached), expected, atol=3e-6)
    monkeypatch.setattr(elementwise, "on_x86_cpu", lambda x: False)
    plain = elementwise.attend(q, k, v, rel_h, rel_w, 0.3)
    np.testing.assert_allclose(np.array(plain), expected, atol=1e-6)


def test_in_halves():
    x = mx.random.normal((2, 5, 7), key=mx.random.key(0))
    for axis in (0, 1, 2):
        halves = elementwise.in_halves(lambda part: part * 2 + 1, x, axis)
        assert mx.array_equal(halves, x * 2 + 1)
    one = elementwise.in_halves(lambda part: part + 1, x[:1], 0)
    assert mx.array_equal(one, x[:1] + 1)
    streams = elementwise.parallel_streams()
    assert len(streams) == (2 if mx.default_device() == mx.cpu else 1)
    assert streams == elementwise.parallel_streams()


def test_halves_in_another_thread():
    """MLX refuses a stream that another thread has made."""
    x = mx.ones((4, 3))
    mx.eval(x, elementwise.in_halves(mx.exp, x, 0))
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(lambda: np.array(elementwise.in_halves(mx.exp, x, 0))).result()
    np.testing.assert_allclose(there, np.e, rtol=1e-6)
