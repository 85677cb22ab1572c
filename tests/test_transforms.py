"""Sizes, coordinates and windows."""

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sam_mlx.modeling.layers import window_partition, window_unpartition


@given(*[st.integers(1, 3)], *[st.integers(1, 20)] * 2, st.integers(1, 8))
def test_windows_come_back(batch, height, width, window):
    x = mx.arange(batch * height * width * 2).reshape(batch, height, width, 2)
    windows = window_partition(x, window)
    assert windows.shape[1:] == (window * window, 2)
    back = window_unpartition(windows, window, (height, width))
    np.testing.assert_array_equal(np.array(back), np.array(x))
