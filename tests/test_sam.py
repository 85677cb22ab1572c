"""The whole model's own checks; its numbers are compared in modeling/test_parity.py."""

import mlx.core as mx
import pytest


def test_encode_image_names_the_preparation(small):
    with pytest.raises(ValueError, match="transforms.preprocess"):
        small[1].encode_image(mx.zeros((1, 64, 64, 3)))
    with pytest.raises(ValueError, match="batch sizes"):
        small[1].predict_masks(
            mx.zeros((1, 16, 16, 64)),
            points=(mx.zeros((2, 1, 2)), mx.ones((2, 1))),
            boxes=mx.zeros((3, 4)),
        )
