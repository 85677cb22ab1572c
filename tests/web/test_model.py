"""What the server asks the model, and what it keeps of the answers."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS, png, until  # isort: skip  first: it skips all where it must

from sam_mlx import Sam, SamPredictor
from sam_mlx.machine.cache import Cache
from sam_mlx.masks import decode_rle
from sam_mlx.web import backend as backend_module
from sam_mlx.web import model as M
from sam_mlx.web.backend import Backend
from tests.support.hq import hq_nano


@pytest.fixture
def decoded(monkeypatch):
    """What the decoder was asked: numbers of points, and whether for three masks."""
    asked = []

    def decode(model, features, prompts, three):
        asked.append((len(prompts[0].points[1]), three))
        return decode_prompts(model, features, prompts, three)

    decode_prompts = M.decode_prompts
    monkeypatch.setattr(M, "decode_prompts", decode)
    return asked


def test_a_click_is_decoded_once(page, decoded):
    """A page asks for masks to draw and for the exact one, in either order."""
    page.ready()
    assert page.predict(multimask=None).status_code == 200
    added = page.click(multimask=None)
    assert decoded == [(1, True)]
    page.client.put(f"{page.picture}/objects/{added['id']}", json={"choice": 0})
    assert decoded == [(1, True)]
    both = {"points": [[138, 53], [20, 20]], "labels": [1, 0]}
    page.client.put(f"{page.picture}/objects/{added['id']}", json=both)
    page.predict(multimask=None, **both)
    assert decoded == [(1, True), (2, False)]
    page.predict(points=[[138, 53.5]])
    page.predict(labels=[0])
    page.predict(multimask=False)
    assert len(decoded) == 5


def test_answers_are_those_of_the_picture(page, decoded):
    page.ready().predict()
    added = page.add(png(np.zeros((90, 120, 3)))).json()
    page.picture = f"{page.session}/pictures/{added['id']}"
    mask = page.ready().click()["mask"]
    assert len(decoded) == 2 and mask["size"] == [90, 120]


def test_what_the_tests_model_remembers_is_its_own(nano):
    """It encodes each picture once for all tests (``tests/support/remembering.py``)."""
    own, side = Sam.from_pretrained("nano"), nano.config.image_size
    for _ in range(2):
        image = mx.random.normal((1, side, side, 3))
        for _ in range(2):
            np.testing.assert_array_equal(nano.encode_image(image), own.encode_image(image))


@pytest.mark.parametrize("size", [(256, 256), (256, 150), (90, 256), (1, 300), (1200, 900)])
@pytest.mark.parametrize("three", [True, False])
def test_exact_masks_are_the_predictors_also_of_kept_answers(nano, size, three):
    picture = np.asarray(Image.open(COINS).convert("RGB").resize(size))
    model = M.Model(nano, "nano", {})
    model.encode("key", picture)
    predictor = SamPredictor(nano)
    predictor.set_image(picture)
    prompt = {"point_coords": [[size[0] / 2, size[1] / 5]], "point_labels": [1]}
    masks, scores, _ = predictor.predict(**prompt, multimask_output=three)
    picture = model.encoded("key")
    shown = model.answer(picture, prompt, three)
    assert [mask["score"] for mask in shown] == scores.tolist()
    for choice in (None, *range(len(masks))):
        record = model.mask(picture, prompt, three, choice)
        expected = masks[scores.argmax() if choice is None else choice]
        np.testing.assert_array_equal(decode_rle([record["segmentation"]])[0], expected)


def test_sam_hq_shows_one_mask():
    model = M.Model(hq_nano(), "hq", {})
    picture = np.asarray(Image.open(COINS).convert("RGB"))
    model.encode("key", picture)
    prompt = {"point_coords": [[138, 53]], "point_labels": [1]}
    model.predictor.set_image(picture)
    masks, scores, _ = model.predictor.predict(**prompt)
    shown = model.answer(model.encoded("key"), prompt, True)
    assert [mask["score"] for mask in shown] == scores.tolist()
    for choice in (None, 0, 2):  # a page may remember the third of three
        record = model.mask(model.encoded("key"), prompt, True, choice)
        np.testing.assert_array_equal(decode_rle([record["segmentation"]])[0], masks[0])
    assert len(model.automatic(model.encoded("key"), 4, lambda done: None)) > 0


def test_a_model_of_lazy_weights(nano):
    """They are computed by the thread that made them, which has their streams."""
    backend = Backend(Sam(nano.config), "nano", [COINS])
    content = backend.sessions.create().picture("p1").content
    backend.encode(content, "a")
    until(lambda: content.encoding is None)
    assert content.error is None and content.key in backend.model.embeddings
    backend.close()


def test_an_unexpected_error_is_told_to_the_terminal_alone(server, monkeypatch, caplog):
    def fail(*given):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(server.model, "encode", fail)
    content = server.sessions.create().picture("p1").content
    server.encode(content, "a")
    until(lambda: content.encoding is None)
    assert content.error == "the server failed; its terminal says why"
    assert "RuntimeError: /secret/path" in caplog.text


def test_a_picture_is_being_encoded_until_it_is_said_why_that_failed(server, monkeypatch):
    monkeypatch.setattr(server.model, "encode", lambda *given: 1 / 0)
    content, during = server.sessions.create().picture("p1").content, []

    def report(error):
        during.append(content.encoding)
        return "failed"

    monkeypatch.setattr(backend_module, "reported", report)
    server.encode(content, "a")
    until(lambda: content.encoding is None)
    assert content.error == "failed" and during[0] is not None


def test_values_are_kept_up_to_a_number_of_bytes_and_the_least_used_go():
    kept = Cache(max_bytes=20)
    kept.put("a", 1, 10)
    kept.put("b", 2, 10)
    assert kept.get("a") == 1
    kept.put("c", 3, 10)
    assert "a" in kept and "c" in kept and kept.nbytes == kept.max_bytes == 20
    assert kept.get("b") is None
    kept.put("a", 4, 20)
    assert kept.get("a") == 4 and "c" not in kept
    kept.put("d", 5, 100)
    assert "d" in kept and "a" not in kept and kept.nbytes == 100
