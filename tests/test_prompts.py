"""Prompts that do not fit, each refused in one sentence, and the labels at each border."""

import copy

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.export import graphs
from sam_mlx.modeling import prompt_encoder
from sam_mlx.modeling.layers import weights_of
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


HUGE = 10**400
POINT = {"point_coords": [[1, 2]], "point_labels": [1]}


@pytest.mark.parametrize(
    "prompt",
    [
        {"point_coords": [[HUGE, 1]], "point_labels": [1]},
        {"point_coords": [[10**5000, 1]], "point_labels": [1]},
        {"point_coords": [[1, 2]], "point_labels": [HUGE]},
        {"box": [0, 0, HUGE, 1]},
        {"box": {}},
        {"box": {"x0": 1, "y0": 2, "x1": 3, "y1": 4}},
        {"box": np.zeros((2, 2))},
        {"box": [1 + 2j, 0, 3, 4]},
        {"box": np.array(["2020-01-01"] * 4, "M8[D]")},
        {"box": np.zeros(1, [("x0", float), ("y0", float)])},
        {"box": np.ma.masked_array([0, 0, 9, 9], mask=[0, 0, 0, 1])},
        {"box": np.broadcast_to(np.float32(1), (10**9, 10**3))},
        {"box": "0 0 9 9"},
        {"box": b"abcd"},
        {"box": object()},
        {"box": lambda: 1},
        {"box": [[1], [2, 3]]},
        {"box": [None] * 4},
        {"point_coords": [], "point_labels": []},
        {"point_coords": {}, "point_labels": {}},
        {"point_coords": np.broadcast_to(0.5, (10**10, 2)), "point_labels": [1]},
        {"point_coords": [[1, 2]], "point_labels": np.broadcast_to(1, 10**11)},
        {"mask_input": np.broadcast_to(np.float32(0), (1, 10**6, 10**6))},
        {"mask_input": []},
        {"mask_input": {"logits": 1}},
        {"mask_input": np.full((1, 64, 64), 1e33)},
        {"mask_input": np.full((1, 64, 64), np.inf, np.float16)},
    ],
    ids=lambda prompt: f"{next(iter(prompt))}-{type(list(prompt.values())[0]).__name__}",
)
def test_hostile_prompts_are_refused_in_one_line(predictor, prompt):
    """OverflowError, TypeError, and lists that took the memory of the machine."""
    with pytest.raises(ValueError, match=r"^(point_coords|point_labels|box|mask_input) ") as error:
        predictor.predict(**prompt)
    assert len(str(error.value)) < 400 and str(error.value).isprintable()
    columns = {"box": "boxes", "mask_input": "mask_inputs"}
    with pytest.raises(ValueError, match=r"^(point_coords|point_labels|box|boxes|mask_input) "):
        predictor.predict_batch(**{columns.get(k, k): [v] for k, v in prompt.items()})


@pytest.mark.parametrize(
    "wanted", ["False", "", 2, -1, 0.0, [], [True], (), {}, np.array([True, False]), HUGE, object()]
)
def test_multimask_output_is_true_or_false(predictor, wanted):
    """Anything was taken by its truth."""
    message = "multimask_output is .*; expected True or False"
    for call in (predictor.predict, predictor.predict_batch, predictor.predict_each):
        given = POINT if call == predictor.predict else {k: [v] for k, v in POINT.items()}
        with pytest.raises(ValueError, match=message):
            call(**given, multimask_output=wanted)


@pytest.mark.parametrize("wanted, count", [(True, 3), (1, 3), (np.True_, 3), (np.int64(0), 1),
                                           (False, 1), (np.False_, 1), (None, 4)])  # fmt: skip
def test_what_is_true_and_false(predictor, wanted, count):
    assert predictor.predict(**POINT, multimask_output=wanted)[0].shape[0] == count
    empty = predictor.predict_batch(boxes=[], multimask_output=wanted)
    assert empty[0].shape[:2] == (0, count)


def nan_in(model, name):
    weights = dict(weights_of(model))
    weights[name] = mx.full(weights[name].shape, float("nan"))
    model.load_weights(list(weights.items()))
    return model


def test_answers_without_numbers_name_the_likeliest_reason(small_sam, wide_photograph):
    """NaN was returned, as scores and empty masks."""
    clone = copy.deepcopy(small_sam)
    predictor = SamPredictor(clone)
    predictor.set_image(wide_photograph)
    nan_in(clone, "mask_decoder.iou_token.weight")
    with pytest.raises(ValueError, match="answer holds NaN or infinite values: so do its weights"):
        predictor.predict(**POINT)
    generator = SamAutomaticMaskGenerator(clone, points_per_side=1)
    generator.predictor = predictor
    with pytest.raises(ValueError, match="so do its weights; load a sound file"):
        generator.generate(predictor.get_image_embedding())
    nan_in(clone, "image_encoder.pos_embed")
    with pytest.raises(ValueError, match="so do its weights"):
        SamPredictor(clone).set_image(wide_photograph)


def test_what_is_too_large_for_float16_is_named(small_sam, wide_photograph):
    model = copy.deepcopy(small_sam)
    model.load_weights([(n, w.astype(mx.float16)) for n, w in weights_of(model).items()])
    predictor = SamPredictor(model)
    predictor.set_image(wide_photograph)
    assert np.isfinite(predictor.predict(**POINT)[1]).all()
    with pytest.raises(ValueError, match="float16 is too small for it; load the model with dtype"):
        predictor.predict(mask_input=np.full((1, 64, 64), 1e6, np.float32))


@pytest.mark.parametrize("name", ["return_logits", "hq_token_only"])
@pytest.mark.parametrize("wanted", ["False", "no", 2, [], {}, np.array([True]), float("nan")])
def test_other_flags_are_true_or_false(predictor, name, wanted):
    """A text was taken for True, a list without entries for False."""
    for call in (predictor.predict, predictor.predict_batch, predictor.predict_each):
        given = POINT if call == predictor.predict else {k: [v] for k, v in POINT.items()}
        with pytest.raises(ValueError, match=f"{name} is .*; expected True or False"):
            call(**given, **{name: wanted})


def test_errors_of_other_libraries_are_cut(predictor):
    class Failing:
        def __array__(self, *_, **__):
            raise KeyError("two\nlines " * 10_000)

    with pytest.raises(ValueError, match="^point_coords is of type .*of which numpy says") as error:
        predictor.predict(Failing(), [1])
    assert len(str(error.value)) < 400 and str(error.value).isprintable()


def test_the_positional_encoding_is_made_again_for_other_weights(small_sam):
    encoder = copy.deepcopy(small_sam).prompt_encoder
    first = encoder.kept_dense_pe()
    assert encoder.kept_dense_pe() is first
    assert mx.array_equal(first, encoder.get_dense_pe())
    encoder.pe_layer.load_weights(
        [
            (
                "positional_encoding_gaussian_matrix",
                mx.random.normal((2, encoder.pe_layer.frequencies.shape[1])),
            )
        ]
    )
    second = encoder.kept_dense_pe()
    assert mx.array_equal(second, encoder.get_dense_pe()) and not mx.array_equal(second, first)
    encoder.set_dtype(mx.float16)
    assert encoder.kept_dense_pe().dtype == mx.float16
    assert "_kept" not in weights_of(encoder)
