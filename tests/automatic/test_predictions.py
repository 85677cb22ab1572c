"""Saved answers and embeddings are checked before they become indices and sizes."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sam_mlx import ImageEmbedding, MaskPredictions, SamAutomaticMaskGenerator, SamPredictor
from tests.support.automatic import squares


@pytest.fixture(scope="module")
def generator():
    return SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=3)


@pytest.fixture(scope="module")
def embedding(generator):
    return generator.predictor.embed(squares(80, 100))


@pytest.fixture(scope="module")
def state(generator):
    return generator.predict(squares(80, 100), keep_iou=0)


CHANGES = {
    "image_size": [np.array([80]), np.array([80.0, 100]), np.array([-80, 100]), np.array([20, 20])],
    "model_size": [np.array(0), np.array(1 << 40), np.array([320]), np.array(1.5)],
    "keep_iou": [np.array(np.nan), np.array(1)],
    "crop_boxes": [np.array([[0, 0, 0, 80]]), np.array([[0, 0, 101, 80]]), np.zeros((0, 4), int),
                   np.array([[-1, 0, 100, 80]]), np.zeros((1, 5), int)],
    "stretched": [np.array(2), np.array([True])],
    "crop": [np.full(9, 1), np.full(9, -1), np.zeros(8, int), np.zeros(9), np.full(9, 1 << 62)],
    "points": [np.full((9, 2), np.nan), np.zeros((9, 3)), np.zeros((8, 2)), np.zeros((9, 2), int)],
    "predicted_iou": [np.zeros(10, np.float32), np.zeros((9, 1), np.float32)],
    "logits": [np.zeros((9, 4, 5), np.float32), np.zeros((9, 0, 0), np.float32),
               np.zeros((9, 4, 4), np.int32), np.zeros((9, 4), np.float32)],
}  # fmt: skip


@pytest.mark.parametrize(("name", "i"), [(n, i) for n, c in CHANGES.items() for i in range(len(c))])
def test_parts_that_do_not_fit_are_refused(name, i, state, tmp_path):
    state.save(tmp_path / "state")
    arrays = load_file(tmp_path / "state") | {name: CHANGES[name][i]}
    save_file(arrays, tmp_path / "state", {"format": "sam_mlx.MaskPredictions"})
    with pytest.raises(ValueError, match=r"state does not hold mask predictions: \w+"):
        MaskPredictions.load(tmp_path / "state")


def test_half_precision_is_saved_and_restored(state, generator, tmp_path):
    for dtype in (mx.bfloat16, mx.float16):
        half = MaskPredictions(**{**vars(state), "logits": state.logits.astype(dtype)})
        half.save(tmp_path / "state")
        loaded = MaskPredictions.load(tmp_path / "state")
        assert mx.array_equal(loaded.logits.astype(mx.float32), half.logits.astype(mx.float32))
        assert len(generator.select(loaded)) == len(generator.select(half))


TEXTS = {
    "original_size": ["[80]", "[80, 0]", "[80.0, 100]", "[true, 3]", '"ab"', "{}", "[", "[[1], 2]"],
    "input_size": ["[0, 320]", "null", "[1e9, 2]"],
}


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in TEXTS.items() for t in texts])
def test_embeddings_with_other_sizes_are_refused(name, text, tmp_path):
    texts = {"original_size": "[80, 100]", "input_size": "[256, 320]", "fingerprint": "x"}
    metadata = {"format": "sam_mlx.ImageEmbedding", **texts, name: text}
    save_file({"features": np.zeros((1, 2, 2, 3), np.float32)}, tmp_path / "e", metadata)
    with pytest.raises(ValueError, match="e is not an image embedding"):
        ImageEmbedding.load(tmp_path / "e")


@pytest.mark.parametrize(
    ("features", "input_size"),
    [
        (np.zeros((1, 40, 40, 64), np.float32), (256, 320)),
        (np.zeros((2, 40, 40, 128), np.float32), (256, 320)),
        (np.zeros((1, 40, 40, 128), np.float32), (320, 320)),
    ],
)
def test_embeddings_that_were_altered_are_not_set(features, input_size):
    predictor = SamPredictor.from_pretrained("nano")
    embedding = ImageEmbedding(mx.array(features), (80, 100), input_size, predictor.fingerprint)
    with pytest.raises(ValueError, match="the embedding has features"):
        predictor.set_image_embedding(embedding)


@pytest.mark.parametrize("shape, dtype", [((40, 40), np.float32), ((1, 2, 2, 3), np.int32)])
def test_features_of_another_kind_are_refused(shape, dtype, tmp_path):
    metadata = {"format": "sam_mlx.ImageEmbedding", "fingerprint": "x"}
    sizes = {"original_size": "[80, 100]", "input_size": "[256, 320]"}
    save_file({"features": np.zeros(shape, dtype)}, tmp_path / "e", metadata | sizes)
    with pytest.raises(ValueError, match="features are"):
        ImageEmbedding.load(tmp_path / "e")


@pytest.mark.slow
def test_a_progress_function_may_use_the_predictor(generator):
    """It is called between two batches, and nothing of the call is in the object."""
    image = squares(80, 100)
    options = dict(points_per_side=3, points_per_batch=2, pred_iou_thresh=0.0)
    own = SamAutomaticMaskGenerator(generator.predictor.model, **options)
    expected = own.generate(image)
    seen = []

    def report(done: int, total: int) -> None:
        seen.append((done, total))
        own.predictor.set_image(squares(50, 40))
        own.predictor.predict([[5, 5]], [1])

    records = own.generate(image, progress=report)
    assert seen[-1] == (9, 9) and len(seen) > 3
    assert len(records) == len(expected) > 0
    for record, other in zip(records, expected):
        assert (record["segmentation"] == other["segmentation"]).all()


def test_a_progress_function_may_stop_the_run(generator):
    def stop(done: int, total: int) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        generator.generate(squares(80, 100), progress=stop)
    assert isinstance(generator.generate(squares(80, 100)), list)


def test_answers_are_taken_apart_and_joined(state):
    parts = [state[:2], state[2:2], state[2:]]
    assert [len(part.logits) for part in parts] == [2, 0, len(state.logits) - 2]
    joined = MaskPredictions.join(parts)
    for name in CHANGES:
        np.testing.assert_array_equal(getattr(joined, name), getattr(state, name))


WRONG_PARTS = [
    ("crop", np.full(9, 7)),
    ("crop", np.zeros(8, int)),
    ("crop", np.zeros(9)),
    ("crop", [0] * 9),
    ("logits", mx.zeros((4, 80, 80))),
    ("logits", mx.full((9, 80, 80), float("nan"))),
    ("logits", mx.zeros((9, 80, 80), mx.int32)),
    ("logits", None),
    ("points", np.zeros((3, 2))),
    ("predicted_iou", np.full(9, np.nan, np.float32)),
    ("predicted_iou", np.zeros(2, np.float32)),
    ("image_size", np.array([10**6, 10**6])),
    ("image_size", np.array([90, 100])),
    ("image_size", np.array([80, 300])),
    ("model_size", np.array(10**9)),
    ("crop_boxes", np.array([[0, 0, 50, 50]])),
    ("crop_boxes", np.array([[0, 0, 10**6, 10**6]])),
]


@pytest.mark.parametrize(("name", "part"), WRONG_PARTS)
def test_parts_put_together_by_hand_are_checked(name, part, state, generator):
    """Foreign memory was read where the parts are of different lengths."""
    with pytest.raises(ValueError, match=r"\w+ (is|are|names|leave|do|would|hold)"):
        generator.select(replace(state, **{name: part}))
    changed = state.crop.copy()
    inside = replace(state, crop=changed)
    changed[:] = 99  # after it was made
    with pytest.raises(ValueError, match="crop names crops that are not there"):
        generator.select(inside)
    with pytest.raises(ValueError, match="predictions is .*expected what predict returns"):
        generator.select({"logits": 1})


def test_a_larger_image_size_alone_is_refused(state, tmp_path):
    state.save(tmp_path / "state")
    for size in ([90, 100], [80, 101], [10**6, 10**6]):
        arrays = load_file(tmp_path / "state") | {"image_size": np.array(size)}
        save_file(arrays, tmp_path / "other", {"format": "sam_mlx.MaskPredictions"})
        with pytest.raises(ValueError, match=r"(do not cover the image|image_size would take)"):
            MaskPredictions.load(tmp_path / "other")


def test_the_home_folder(state, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("~/a", "~no_user"):
        state.save(name)
        assert len(MaskPredictions.load(name).crop) == len(state.crop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "~no_user"]


BY_HAND = [
    {"original_size": (10**6, 10**6)},
    {"original_size": (0, 100)},
    {"original_size": (80.0, 100)},
    {"original_size": (80, 100, 3)},
    {"original_size": None},
    {"original_size": (10**400, 1)},
    {"input_size": "ab"},
    {"input_size": (-256, 320)},
    {"features": np.zeros((1, 40, 40, 128), np.float32)},
    {"features": mx.full((1, 40, 40, 128), float("nan"))},
    {"features": mx.zeros((1, 40, 40, 128), mx.int32)},
    {"features": mx.zeros((40, 40))},
    {"features": None},
    {"fingerprint": 5},
    {"other_features": []},
    {"value_range": (3, 1)},
]


@pytest.mark.parametrize("change", BY_HAND, ids=str)
def test_embeddings_made_by_hand_are_checked(change, generator, embedding):
    embedding = replace(embedding, **change)
    with pytest.raises(ValueError, match=r"size|features|image_embedding|fingerprint|value_range"):
        SamPredictor(generator.predictor.model).set_image_embedding(embedding)
    with pytest.raises(ValueError, match=r"\w"):
        generator.predict(embedding)


@pytest.mark.parametrize("value", [None, 3, "embedding", np.zeros((1, 40, 40, 128)), {}])
def test_what_is_no_embedding_is_named(value, generator):
    with pytest.raises(ValueError, match="is not an ImageEmbedding, which embed returns"):
        generator.predictor.set_image_embedding(value)


@pytest.mark.slow
def test_a_picture_may_change_while_it_is_searched(generator):
    """A progress function that drew into it had the later crops searched in the drawing."""
    image = squares(80, 100)
    options = dict(points_per_side=2, crop_n_layers=1, pred_iou_thresh=0.0)
    own = SamAutomaticMaskGenerator(generator.predictor.model, **options)
    expected = own.predict(image)

    def erase(done: int, total: int) -> None:
        image[:] = 0

    found = own.predict(image, progress=erase)
    assert not image.any()
    np.testing.assert_array_equal(found.logits, expected.logits)


@pytest.mark.parametrize("keep_iou", [[], "0.5", float("nan"), True, 10**400, np.zeros(2)])
def test_keep_iou_is_a_number(generator, keep_iou):
    with pytest.raises(ValueError, match="keep_iou is .*; expected a number"):
        generator.predict(squares(80, 100), keep_iou=keep_iou)
