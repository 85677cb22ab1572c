"""Masks at full size."""

import mlx.core as mx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_mlx import transforms
from sam_mlx.full_size import upscale_masks
from sam_mlx.transforms import preprocess_shape


def test_it_is_found_beside_the_way_into_the_model():
    assert transforms.upscale_masks is upscale_masks


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400))
def test_masks_have_the_images_size(height, width):
    size = preprocess_shape((height, width), 128)
    logits = mx.random.normal((2, 64, 64), key=mx.random.key(height))
    masks = upscale_masks(logits, size, (height, width), 128)
    assert masks.shape == (2, height, width)
    above = upscale_masks(logits, size, (height, width), 128, threshold=0.3)
    np.testing.assert_array_equal(np.array(above), np.array(masks) > 0.3)
