"""Prompts that do not fit, each refused in one sentence, and the labels at each border."""

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx.export import graphs
from sam_mlx.modeling import prompt_encoder
from sam_mlx.prompts import check_points, is_ambiguous, stack_points


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"point_coords": [[1, 2]]}, "go together"),
        ({"point_labels": [1]}, "go together"),
        ({"point_coords": [[1, 2], [3, 4]], "point_labels": [1]}, r"shape \(1,\); expected \(2,\)"),
        ({"point_coords": [1, 2], "point_labels": [1]}, r"shape \(2,\); expected \(N, 2\)"),
        ({"point_coords": np.zeros((0, 2)), "point_labels": []}, r"shape \(0, 2\)"),
        ({"point_coords": [[1, 2]], "point_labels": [2]}, r"holds 2;"),
        ({"point_coords": [[1, 2]], "point_labels": [-2]}, r"holds -2;"),
        ({"point_coords": [[1, 2]], "point_labels": [0.5]}, "holds 0.5;"),
        ({"point_coords": [[1, np.nan]], "point_labels": [1]}, "point_coords holds NaN"),
        ({"point_coords": [[1, np.inf]], "point_labels": [1]}, "point_coords holds NaN or inf"),
        ({"point_coords": [["a", "b"]], "point_labels": [1]}, "expected numbers"),
        ({"box": [1, 2, 3]}, r"shape \(3,\)"),
        ({"box": [[1, 2, 3, 4]] * 2}, r"shape \(2, 4\); predict_batch"),
        ({"box": [[[1, 2, 3, 4]]]}, r"shape \(1, 1, 4\); expected"),
        ({"box": [5, 2, 3, 4]}, "x0 <= x1"),
        ({"box": [1, 5, 3, 4]}, "y0 <= y1"),
        ({"box": [1, 2, np.nan, 4]}, "box holds NaN"),
        ({"box": [1, 2, 3, 1e39]}, "box holds NaN or infinite"),  # beyond float32
        ({"mask_input": np.zeros((64, 64))}, r"expected \(1, 64, 64\)"),
        ({"mask_input": np.zeros((1, 256, 256))}, r"logits\[i : i \+ 1\]"),
        ({"mask_input": np.full((1, 64, 64), np.nan)}, "mask_input holds NaN"),
    ],
)
def test_bad_prompts(predictor, prompt, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


def test_batches_of_different_lengths(predictor):
    with pytest.raises(ValueError, match="differ in number.*'boxes': 1"):
        predictor.predict_batch([[[1, 2]], [[3, 4]]], [[1], [1]], boxes=[[1, 2, 3, 4]])
    with pytest.raises(ValueError, match="point_coords and point_labels go together"):
        predictor.predict_batch([[[1, 2]], [[3, 4]]], [[1], None])


def test_what_minus_one_means_at_each_border():
    """Not a point in Python, as in ``predict`` of the original; an empty slot in exported files."""
    coords, labels = check_points([[3, 4]], [-1])
    assert labels.tolist() == [prompt_encoder.NOT_A_POINT]
    slots = mx.array([[graphs.EMPTY_SLOT, 1]])
    _, tokens = graphs.slots(mx.zeros((1, 2, 2)), slots)
    assert tokens.tolist() == [[prompt_encoder.EMPTY, 1, prompt_encoder.NOT_A_POINT]]
    _, filled = stack_points([(coords, labels), (np.zeros((2, 2)), np.array([1, 0]))])
    assert filled.tolist() == [[-1, prompt_encoder.EMPTY], [1, 0]]


@pytest.mark.parametrize("value", [6.4e37, -1e33])
def test_coordinates_that_would_overflow_in_the_model(predictor, value):
    """They gave scores of NaN."""
    box = sorted([0.0, value])
    with pytest.raises(ValueError, match="beyond 1e32"):
        predictor.predict(box=[box[0], 0, box[1], 1])
    assert np.isfinite(predictor.predict([[value * 1e-6, 0]], [1])[1]).all()


@pytest.mark.parametrize(
    ("prompt", "three"),
    [
        ({"point_coords": [[1, 2]], "point_labels": [1]}, True),
        ({"point_coords": np.ones((1, 2)), "point_labels": np.ones(1)}, True),
        ({"point_coords": [[1, 2]], "point_labels": [1], "box": [0, 0, 3, 3]}, False),
        ({"point_coords": [[1, 2]], "point_labels": [1], "mask_input": np.zeros((1, 4, 4))}, False),
        ({"point_coords": [[1, 2], [3, 4]], "point_labels": [1, 0]}, False),
        ({"box": [0, 0, 3, 3]}, False),
        ({}, False),
    ],
)
def test_one_point_and_nothing_else_is_ambiguous(prompt, three):
    assert is_ambiguous(**prompt) is three
