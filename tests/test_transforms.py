"""Sizes, coordinates and windows."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
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


@pytest.mark.parametrize(
    "size", [(10**6, 10**6), (0, 5), (-1, 5), (True, True), (2.5, 3), (10**400, 1), None, "ab"]
)
def test_pictures_are_not_resized_to_other_sizes(size):
    """A size without bounds took all memory of the machine."""
    with pytest.raises(ValueError, match="^size (is|would take)"):
        transforms.resize_image(np.zeros((4, 5, 3), np.uint8), size)


def test_what_is_resized_is_a_picture():
    for image in (np.zeros((4, 5)), np.zeros((4, 5, 3)), [[1]], None):
        with pytest.raises(ValueError, match="^image "):
            transforms.resize_image(image, (8, 10))
    for resample in ("lanczos", [], None, 3):
        with pytest.raises(ValueError, match="^resample is .*expected one of"):
            transforms.resize_image(np.zeros((4, 5, 3), np.uint8), (8, 10), resample)


NAN = float("nan")


@pytest.mark.parametrize("size", [(NAN, 5), (5, NAN), (float("inf"), 5), (0, 5), (-(10**400), 5)])
def test_sizes_without_pixels_are_named(size):
    with pytest.raises(ValueError, match="^an image of .* holds no pixels; expected sides above 0"):
        transforms.preprocess_shape(size, 64)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), [1], 5, "ab", [[1], [2, 3]], {}, None])
def test_coordinates_of_other_forms_are_named(values):
    with pytest.raises(ValueError, match="^coords "):
        transforms.apply_coords(values, (4, 5), 64)
    with pytest.raises(ValueError, match="^boxes "):
        transforms.apply_boxes(values, (4, 5), 64)
