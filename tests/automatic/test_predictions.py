"""Saved answers and embeddings are checked before they become indices and sizes."""

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
