"""The predictor's own behaviour; its numbers are compared in test_parity.py."""

import math
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sam_mlx import SamPredictor, decoding, show
from tests.support.budgets import limited
from tests.support.prompts import CLICK


@pytest.mark.parametrize(
    "size",
    [(384, 640), (700, 1200), (1080, 320), (479, 640), (1, 1), (1, 77), (77, 1), (3, 2), (1, 700)],
)
def test_odd_sizes(small, size, originals):
    reference, model = small
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    points = {"point_coords": np.array([[size[1] / 2, size[0] / 3]]), "point_labels": np.array([1])}
    masks, *rest = predictor.predict(**points)
    assert masks.shape == (3, *size)
    if size == (1, 700):  # the original rounds the height to nothing
        return
    expected, *expected_rest = originals.meta_predictor(reference, image).predict(**points)
    assert masks.shape == expected.shape
    for ours, original in zip(rest, expected_rest):
        np.testing.assert_allclose(ours, original, atol=2e-5)


def test_accepts_what_people_have(small_sam, photograph, tmp_path):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    predictor = SamPredictor(small_sam)
    features = []
    for image in (
        photograph,
        Image.fromarray(photograph),
        tmp_path / "photograph.png",
        str(tmp_path / "photograph.png"),
        np.dstack([photograph, np.full(photograph.shape[:2], 9, np.uint8)]),
    ):
        predictor.set_image(image)
        features.append(np.array(predictor.features))
    predictor.set_image(photograph[..., ::-1], image_format="BGR")
    features.append(np.array(predictor.features))
    for other in features[1:]:
        np.testing.assert_array_equal(other, features[0])


def test_lists_are_as_good_as_arrays(predictor):
    for ours, expected in zip(
        predictor.predict([[200, 130]], [1], [10, 20, 300, 200]),
        predictor.predict(**CLICK, box=np.array([10.0, 20, 300, 200])),
    ):
        np.testing.assert_array_equal(ours, expected)


def test_box_may_have_a_leading_axis(predictor):
    """Meta's notebooks pass boxes as (1, 4)."""
    a = predictor.predict(box=np.array([[10, 20, 300, 200]]))
    b = predictor.predict(box=np.array([10, 20, 300, 200]))
    np.testing.assert_array_equal(a[2], b[2])


def test_logits_feed_back(predictor):
    _, scores, logits = predictor.predict(**CLICK)
    best = logits[scores.argmax()][None]
    masks, _, _ = predictor.predict(**CLICK, mask_input=best, multimask_output=False)
    assert masks.shape[0] == 1


def test_ragged_batch_equals_single_calls(predictor):
    rng = np.random.default_rng(0)
    mask = rng.normal(size=(1, 64, 64)).astype(np.float32) * 4
    prompts = [
        ([[20.0, 30]], [1], None, None),
        ([[20.0, 30], [100, 90], [7, 8], [300, 250], [1, 1]], [1, 0, 1, -1, 1], None, None),
        ([[200.0, 130]], [1], [10, 20, 300, 200], None),
        ([[200.0, 130], [50, 60]], [1, 0], [10, 20, 300, 200], None),
        (None, None, [10, 20, 300, 200], None),
        ([[20.0, 30], [22.0, 31]], [0, 1], None, mask),
        ([[20.0, 30]], [1], None, mask),
        (None, None, None, mask),
        (None, None, None, None),
    ]
    batch = predictor.predict_batch(*map(list, zip(*prompts)))
    assert batch[0].shape == (9, 3, *predictor.original_size)
    for i, prompt in enumerate(prompts):
        masks, scores, logits = predictor.predict(*prompt)
        # Measured 3e-7: the same sums in another order.
        np.testing.assert_allclose(batch[1][i], scores, atol=2e-6)
        np.testing.assert_allclose(batch[2][i], logits, atol=1e-5)
        assert (batch[0][i] != masks).mean() < 1e-4


def test_batch_takes_arrays(predictor):
    coords = np.array([[[20.0, 30]], [[100, 90]], [[200, 30]]])
    masks, scores, logits = predictor.predict_batch(coords, np.ones((3, 1)), multimask_output=False)
    assert masks.shape == (3, 1, *predictor.original_size)
    assert scores.shape == (3, 1) and logits.shape == (3, 1, 64, 64)


def test_each_of_many(predictor):
    coords = np.random.default_rng(0).uniform(0, 300, (7, 1, 2))
    whole = predictor.predict_batch(coords, np.ones((7, 1)), return_logits=True)
    with limited(prompts=3):
        each = predictor.predict_each(coords, np.ones((7, 1)), return_logits=True)
    embedding, taken = predictor.get_image_embedding(), [next(each)]
    predictor.reset_image()
    taken += each  # of the image that was current when they were asked for
    predictor.set_image_embedding(embedding)
    for i in range(3):
        np.testing.assert_allclose([t[i] for t in taken], whole[i], atol=1e-5)
    assert list(predictor.predict_each(boxes=np.zeros((0, 4)))) == []
    with pytest.raises(ValueError, match="point_labels"):
        predictor.predict_each(coords, np.full((7, 1), 5))


def test_each_holds_a_few(predictor):
    """Masks of 40 prompts would be more than is ever allocated."""
    boxes = np.tile([20.0, 20, 90, 90], (40, 1))
    one = 3 * 4 * math.prod(predictor.original_size)
    tracemalloc.start()
    with limited(prompts=2):
        for _ in predictor.predict_each(boxes=boxes, return_logits=True):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2 * one <= peak < 8 * one


def test_more_prompts_than_are_decoded_at_once(predictor):
    coords = np.random.default_rng(0).uniform(0, 300, (7, 1, 2))
    whole = predictor.predict_batch(coords, np.ones((7, 1)))
    with limited(decoder_bytes=3 * 40 * 16 * 16 * 64):
        parts = predictor.predict_batch(coords, np.ones((7, 1)))
    np.testing.assert_allclose(parts[2], whole[2], atol=1e-5)


def test_before_and_after_an_image(small_sam, photograph):
    predictor = SamPredictor(small_sam)
    for call in (lambda: predictor.predict(**CLICK), predictor.get_image_embedding):
        with pytest.raises(RuntimeError, match="call set_image"):
            call()
    predictor.set_image(photograph)
    assert predictor.is_image_set
    with pytest.raises(ValueError, match="no pixels"):
        predictor.set_image(np.zeros((0, 0, 3), np.uint8))
    assert predictor.original_size == (512, 512)  # a refused image changes nothing
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="call set_image"):
        predictor.predict(**CLICK)


def test_the_last_answer_is_shown(small_sam, photograph, tmp_path):
    predictor = SamPredictor(small_sam)
    with pytest.raises(RuntimeError, match="no picture to show: call set_image"):
        predictor.show()
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    for picture in (photograph, tmp_path / "photograph.png"):
        predictor.set_image(picture)
        assert (np.asarray(predictor.show()) == photograph).all()
        box = [10, 20, 300, 200]
        for prompt in ({"point_coords": [[200, 130]], "point_labels": [1]}, {"box": box}):
            masks, scores, _ = predictor.predict(**prompt)
            expected = show(photograph, masks[scores.argmax()], **prompt)
            assert (np.asarray(predictor.show()) == np.asarray(expected)).all()
    predictor.set_image(photograph)
    assert (np.asarray(predictor.show()) == photograph).all()
    predictor.set_image_embedding(predictor.get_image_embedding())
    with pytest.raises(RuntimeError, match=r"sam_mlx.show\(picture, masks\)"):
        predictor.show()


@pytest.mark.parametrize("multimask, C", [(True, 3), (False, 1)])
def test_no_prompts_give_no_masks(predictor, multimask, C):
    """A detector that found nothing."""
    height, width = predictor.original_size
    for prompts in (
        {"boxes": np.zeros((0, 4))},
        {"boxes": []},
        {"point_coords": [], "point_labels": []},
    ):
        masks, scores, logits = predictor.predict_batch(**prompts, multimask_output=multimask)
        assert masks.shape == (0, C, height, width) and masks.dtype == bool
        assert scores.shape == (0, C) and scores.dtype == np.float32
        assert logits.shape == (0, C, 64, 64) and logits.dtype == np.float32


def test_prompts_without_any_part_are_all_answered(predictor):
    expected = predictor.predict()
    for boxes in ([None] * 4, [None] * 400):
        batch = predictor.predict_batch(boxes=boxes)
        for ours, one in zip(batch, expected):
            assert ours.shape == (len(boxes), *one.shape)
            assert all((x == one).all() for x in ours)
    mixed = predictor.predict_batch(boxes=[None, [10, 20, 300, 200], None])
    np.testing.assert_allclose(mixed[2][0], expected[2], atol=1e-5)
    np.testing.assert_array_equal(mixed[2][0], mixed[2][2])


def test_predict_never_mixes_two_pictures(small_sam, photograph, wide_photograph):
    """While another thread sets one picture and the other."""
    predictor = SamPredictor(small_sam)
    pictures = photograph, wide_photograph
    expected = {}
    for picture in pictures:
        predictor.set_image(picture)
        expected[picture.shape[:2]] = predictor.predict(**CLICK)
    done = threading.Event()

    def set_images():
        while not done.is_set():
            for picture in pictures:
                predictor.set_image(picture)

    with ThreadPoolExecutor(1) as pool:
        setting = pool.submit(set_images)
        results = [predictor.predict(**CLICK) for _ in range(30)]
        done.set()
        setting.result()
    for masks, scores, logits in results:
        want = expected[masks.shape[1:]]
        np.testing.assert_allclose(scores, want[1], atol=1e-6)
        np.testing.assert_allclose(logits, want[2], atol=1e-5)


def test_a_long_prompt_does_not_make_others_long(predictor, monkeypatch):
    """99 prompts of a point beside one of 1000 were 100 of 1000."""
    lengths = []
    real = decoding.decode_in_parts

    def noted(model, features, points, *rest):
        lengths.append(points[1].shape)
        return real(model, features, points, *rest)

    monkeypatch.setattr(decoding, "decode_in_parts", noted)
    numbers = np.random.default_rng(0)
    counts = [1, 2, 3, 1, 60, 1]
    coords = [numbers.uniform(0, 100, (n, 2)) for n in counts]
    masks, scores, _ = predictor.predict_batch(coords, [np.ones(n, int) for n in counts])
    assert sorted(lengths) == [(1, 60), (2, 3), (3, 1)]
    for i, n in enumerate(counts):
        expected = predictor.predict(coords[i], np.ones(n, int))
        np.testing.assert_allclose(scores[i], expected[1], atol=2e-6)
        assert (masks[i] != expected[0]).mean() < 1e-4


def test_prompts_have_a_longest(predictor, monkeypatch):
    monkeypatch.setattr("sam_mlx.prompts.MAX_POINTS", 3)
    predictor.predict(np.ones((3, 2)), [1] * 3)
    with pytest.raises(ValueError, match="has 4 points; a prompt takes up to 3"):
        predictor.predict(np.ones((4, 2)), [1] * 4)
