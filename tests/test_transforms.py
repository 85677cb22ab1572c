"""Sizes, coordinates and windows."""

import mlx.core as mx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_mlx import transforms
from sam_mlx.modeling.layers import window_partition, window_unpartition


@given(*[st.integers(1, 3)], *[st.integers(1, 20)] * 2, st.integers(1, 8))
def test_windows_come_back(batch, height, width, window):
    x = mx.arange(batch * height * width * 2).reshape(batch, height, width, 2)
    windows = window_partition(x, window)
    assert windows.shape[1:] == (window * window, 2)
    back = window_unpartition(windows, window, (height, width))
    np.testing.assert_array_equal(np.array(back), np.array(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_masks_have_the_images_size(height, width):
    size = transforms.preprocess_shape((height, width), 128)
    logits = mx.random.normal((2, 64, 64), key=mx.random.key(height))
    masks = transforms.upscale_masks(logits, size, (height, width), 128)
    assert masks.shape == (2, height, width)
    above = transforms.upscale_masks(logits, size, (height, width), 128, threshold=0.3)
    np.testing.assert_array_equal(np.array(above), np.array(masks) > 0.3)
