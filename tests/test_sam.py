"""The whole model's own checks; its numbers are compared in modeling/test_parity.py."""

import copy
import pickle
import warnings

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.modeling.layers import weights_of


def test_encode_image_names_the_preparation(small_sam):
    with pytest.raises(ValueError, match="transforms.preprocess"):
        small_sam.encode_image(mx.zeros((1, 64, 64, 3)))
    with pytest.raises(ValueError, match="batch sizes"):
        small_sam.predict_masks(
            mx.zeros((1, 16, 16, 64)),
            points=(mx.zeros((2, 1, 2)), mx.ones((2, 1))),
            boxes=mx.zeros((3, 4)),
        )


@pytest.mark.parametrize("label", [-3, 2, 3, 4, 255, 0.5, float("nan")])
def test_labels_outside_the_table_are_refused(small_sam, label):
    model = small_sam
    labels = mx.array([[1, label]])
    with pytest.raises(ValueError, match="labels hold .*expected 1"):
        model.predict_masks(mx.zeros((1, 16, 16, 64)), points=(mx.zeros((1, 2, 2)), labels))
    for good in ([[1, 0]], [[-1, -2]]):
        points = mx.zeros((1, 2, 2)), mx.array(good)
        assert mx.isfinite(model.predict_masks(mx.zeros((1, 16, 16, 64)), points=points)[0]).all()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", [Sam, SamPredictor, SamAutomaticMaskGenerator])
def test_copies_compute_the_same(kind, clone):
    model = Sam.from_pretrained("nano", quantize=8)
    ours = model if kind is Sam else kind(model)
    other = clone(ours)
    pair = [
        x if kind is Sam else (x.model if kind is SamPredictor else x.predictor.model)
        for x in (ours, other)
    ]
    assert pair[0] is not pair[1]
    weights, copied = map(weights_of, pair)
    assert all(mx.array_equal(copied[name], w) for name, w in weights.items())
    image = mx.random.normal((1, 320, 320, 3))
    np.testing.assert_array_equal(*(np.array(sam.encode_image(image)) for sam in pair))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_half_precision_on_a_cpu_warns(dtype):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Sam.from_pretrained("nano", dtype=dtype)
    expected = dtype != "float32" and mx.default_device() == mx.cpu
    assert ["on a CPU" in str(w.message) for w in caught] == [True] * expected
