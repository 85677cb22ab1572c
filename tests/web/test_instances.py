"""Automatic masks by the model's instance decoder, asked of the server."""

import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("scipy")

from tests.support.web import COINS, Page  # isort: skip  first: it skips without the extra web

from starlette.testclient import TestClient

from sam_mlx import InstanceSegmenter, Sam
from sam_mlx.masks import decode_rle
from sam_mlx.web.application import application
from sam_mlx.web.backend import Backend
from sam_mlx.web.model import segmenter_of
from tests.support.instances import nano_that_knows_coins


@pytest.fixture(scope="module")
def coins():
    return np.array(Image.open(COINS).convert("RGB"))


@pytest.fixture(scope="module")
def nano(coins):
    return nano_that_knows_coins(coins)


SHARES = "center_distance_threshold", "boundary_distance_threshold", "foreground_threshold"
CHOICES = [
    {},
    {"foreground_threshold": 0.9},
    {"center_distance_threshold": 0.8, "boundary_distance_threshold": 0.3, "min_size": 800},
]


@pytest.mark.slow
def test_masks_are_the_segmenters(page, nano, coins):
    page.ready()
    begun = page.client.post("/api/sessions").json()["automatic"]
    assert begun["mode"] == "ais" and [begun[name] for name in SHARES] == [0.5] * 3
    assert begun["min_size"] == 0
    masks = page.automatic()
    segmenter = InstanceSegmenter(nano, output_mode="uncompressed_rle")
    counts = []
    for choice in CHOICES:
        expected = segmenter.select(segmenter.predict(coins), **choice)
        answer = page.select(**choice)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        got = {mask["id"]: mask for mask in found["changed"]}
        assert list(got) == found["ids"] and len(got) == len(expected)
        for mask, record in zip(got.values(), expected):
            assert mask["mask"] == record["segmentation"] and mask["area"] == record["area"]
            assert mask["score"] == record["predicted_iou"] and mask["stability"] == 0
        counts.append(len(got))
    assert page.select().json()["changed"] == masks and len(masks) > 15
    assert counts[2] < counts[0]


@pytest.mark.slow
def test_other_thresholds_need_no_model(page, nano, monkeypatch):
    page.ready().automatic()
    monkeypatch.setattr(type(nano), "encode_features", None)
    monkeypatch.setattr(type(nano.instance_decoder), "__call__", None)
    few = page.select(foreground_threshold=0.95).json()["ids"]
    assert few != page.select().json()["ids"]


def test_an_instance_becomes_an_object(page, tmp_path, monkeypatch, nano):
    page.ready().automatic()
    few = page.select(foreground_threshold=0.87, min_size=50).json()["changed"]
    for choice in range(12):  # others are looked at meanwhile
        page.select(min_size=choice)
    added = page.client.post(f"{page.picture}/objects", json={"automatic": few[3]["id"]}).json()
    assert added["mask"] == few[3]["mask"] and added["score"] == few[3]["score"]
    lines = page.client.get(f"{page.picture}/python?object=o1").text
    assert "InstanceSegmenter.from_pretrained(" in lines
    (tmp_path / "coins.png").write_bytes(COINS.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sam_mlx.Sam.load", lambda *args: nano)
    names: dict = {}
    exec(lines, names)
    np.testing.assert_array_equal(names["mask"], decode_rle([few[3]["mask"]])[0])
    for wrong in ("50.50.50.0-1-99999", "50.50.50.0-9-0", "8-1-0", "50.50.999.0-1-0", "", "x"):
        answer = page.client.post(f"{page.picture}/objects", json={"automatic": wrong})
        assert answer.status_code == 404, wrong


def test_a_session_file_keeps_them(page, client):
    page.ready().automatic()
    chosen = page.select(min_size=20).json()["ids"][2]
    added = page.client.post(f"{page.picture}/objects", json={"automatic": chosen}).json()
    saved = client.get(f"{page.session}/file").content
    session = client.post("/api/sessions/file", content=saved).json()["session"]
    (picture,) = client.get(f"/api/sessions/{session}").json()["pictures"]
    assert picture["objects"] == [added]


def test_what_is_refused(page):
    page.ready()
    assert page.select().status_code == 404  # not searched
    page.automatic()
    wrong = page.select(pred_iou_thresh=0.5)
    assert wrong.status_code == 400
    assert wrong.json()["error"].startswith("pred_iou_thresh: this model's masks have the thresh")
    assert page.select(foreground_threshold=1.5).status_code == 400
    assert page.select(min_size=-1).status_code == 400


def test_an_embedding_that_was_dropped(page, server):
    """The maps stay; without them the page has to encode again."""
    page.ready().automatic()
    server.model.embeddings._kept.clear()
    assert page.select(min_size=7).status_code == 200
    server.model._maps._kept.clear()
    assert page.select(min_size=8).status_code == 409
    page.ready()
    assert page.select(min_size=8).status_code == 200


def test_without_scikit_image_points_are_searched(nano, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    segmenter, remark = segmenter_of(nano)
    assert segmenter is None and "with a grid of points, without the decoder: instances" in remark


def test_a_model_without_the_decoder_has_other_thresholds():
    server = Backend(Sam.from_pretrained("nano"), "nano", [COINS])
    with TestClient(application(server), base_url="http://127.0.0.1:8000") as client:
        page = Page(client)
        assert client.post("/api/sessions").json()["automatic"]["mode"] == "amg"
        page.ready().automatic()
        wrong = page.select(min_size=3)
        assert wrong.status_code == 400
        assert wrong.json()["error"].startswith("min_size: this model's masks have the thresholds")
    server.close()
