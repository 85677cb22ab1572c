"""The whole model's own checks; its numbers are compared in modeling/test_parity.py."""

import copy
import pickle
import warnings
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import InstanceSegmenter, Sam, SamAutomaticMaskGenerator, SamPredictor
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


def test_labels_given_to_the_prompt_encoder_itself(small_sam):
    """They read foreign memory: MLX does not check indices."""
    encoder, coords = small_sam.prompt_encoder, mx.zeros((1, 1, 2))
    for label in (2, 5, 1000, 1 << 30, -3):
        with pytest.raises(ValueError, match="labels hold .*expected 1"):
            encoder((coords, mx.array([[label]])))
    last = encoder.embed_tokens(coords, mx.array([[3]]))[0]
    for label in (4, 1000, (1 << 31) - 1):
        assert mx.array_equal(encoder.embed_tokens(coords, mx.array([[label]]))[0], last)


NAN = float("nan")
BAD_PROMPTS = [
    ({"boxes": mx.zeros((2, 2))}, r"boxes has shape \(2, 2\)"),
    ({"boxes": mx.zeros((1, 1, 4))}, r"boxes has shape \(1, 1, 4\)"),
    ({"boxes": mx.full((1, 4), NAN)}, "boxes holds NaN"),
    ({"boxes": np.zeros((1, 4))}, "boxes is of type ndarray"),
    ({"points": (mx.zeros((1, 2, 2)), mx.ones((1, 1)))}, "point coordinates has shape"),
    ({"points": (mx.zeros((1, 2, 3)), mx.ones((1, 2)))}, "point coordinates has shape"),
    ({"points": (mx.zeros((2, 2)), mx.ones((2,)))}, "labels has shape"),
    ({"points": (mx.full((1, 1, 2), float("inf")), mx.ones((1, 1)))}, "holds NaN or infinite"),
    ({"points": ([[[1, 2]]], [[1]])}, "labels is of type list"),
    ({"masks": mx.zeros((1, 1, 60, 60))}, r"masks has shape \(1, 1, 60, 60\)"),
    ({"masks": mx.zeros((1, 64, 64))}, "masks has shape"),
    ({"masks": mx.full((1, 1, 64, 64), NAN)}, "masks holds NaN"),
    ({"image_embedding": mx.zeros((1, 8, 8, 64))}, "image_embedding has shape"),
    ({"image_embedding": mx.zeros((3, 16, 16, 64))}, "is of 3 images"),
    ({"image_embedding": mx.full((1, 16, 16, 64), NAN)}, "image_embedding holds NaN"),
]


@pytest.mark.parametrize(("change", "message"), BAD_PROMPTS, ids=str)
def test_prompts_of_other_forms_are_refused(small_sam, change, message):
    """Boxes (2, 2) were taken for one box, NaN came back as NaN."""
    given = {"image_embedding": mx.zeros((1, 16, 16, 64)), **change}
    with pytest.raises(ValueError, match=message):
        small_sam.predict_masks(**given)


def test_images_without_numbers_are_refused(small_sam):
    with pytest.raises(ValueError, match="images holds NaN"):
        small_sam.encode_image(mx.full((1, 128, 128, 3), NAN))


@pytest.mark.slow
def test_functions_that_mlx_traces_are_not_checked(small_sam):
    """Values are not known there; labels index within their table all the same."""
    features, boxes = mx.zeros((1, 16, 16, 64)), mx.array([[1.0, 2, 30, 40]])
    points = mx.zeros((1, 1, 2)), mx.ones((1, 1))

    def decode(boxes, coords, labels):
        return small_sam.predict_masks(features, (coords, labels), boxes)[1]

    expected = decode(boxes, *points)
    np.testing.assert_allclose(mx.compile(decode)(boxes, *points), expected, atol=1e-5)
    gradient = mx.grad(lambda b: decode(b, *points).sum())(boxes)
    assert mx.isfinite(gradient).all()


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": None}, {"encoder": "vit"}, {"decoders": None}, {"decoders": []},
        {"decoders": ("sam",)}, {"image_size": 0}, {"image_size": 1 << 40},
        {"pixel_std": (0, 1, 1)},
        {"pixel_mean": (float("nan"),) * 3}, {"prompt_dim": 7}, {"multimask_outputs": 65535},
        {"decoder_depth": 10**9}, {"variant": "\x1b[31m"},
    ],
    ids=str,
)  # fmt: skip
def test_configs_made_in_python_are_checked(small_sam, change):
    """Only those from files were."""
    with pytest.raises(ValueError, match=f"^{next(iter(change))[:7]}"):
        Sam(replace(small_sam.config, **change))


@pytest.mark.parametrize("kind", [SamPredictor, SamAutomaticMaskGenerator, InstanceSegmenter])
def test_a_name_where_a_model_belongs_names_from_pretrained(kind):
    """It was taken, and failed at the first picture."""
    with pytest.raises(TypeError, match=rf"{kind.__name__}.from_pretrained\('nano'\)"):
        kind("nano")
    with pytest.raises(TypeError, match=f"{kind.__name__} takes a Sam, not None"):
        kind(None)
