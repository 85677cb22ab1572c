"""Our own API: pictures in three ways, masks in four forms, everything, and its document."""

import base64
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from PIL import Image
from starlette.testclient import TestClient

from tests.support.serve import CLICK, COINS, coins  # isort: skip  first: it skips all where it must

from sam_mlx import InstanceSegmenter, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.automatic.options import thresholds_of
from sam_mlx.interop import from_label_studio
from sam_mlx.masks import decode_rle
from sam_mlx.serve.application import application
from sam_mlx.serve.backend import Backend
from sam_mlx.serve.tools import TOOLS, document
from sam_mlx.tuner.data.polygons import fill
from sam_mlx.web.validate import check
from tests.support.web import png

ROOT = Path(__file__).parents[2]
ASKED = {"points": [CLICK], "labels": [1]}


def segment(client, **given):
    answer = client.post("/v1/segment", json={"picture": coins(), **ASKED} | given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_masks_of_a_click_are_the_predictors_in_every_form(client, coin):
    expected, score = coin
    for form, mask_of in {
        "rle": lambda rle: decode_rle([rle])[0],
        "coco": lambda rle: decode_rle([rle])[0],
        "png": lambda text: np.array(Image.open(io.BytesIO(base64.b64decode(text)))),
        "polygons": lambda regions: fill([np.array(r) for g in regions for r in g], (256, 256)),
    }.items():
        (found,) = segment(client, format=form)["masks"]
        assert (mask_of(found[form]) == expected).all(), form
        assert found["score"] == pytest.approx(score, abs=1e-6)
        assert found["area"] == expected.sum()
        x, y, w, h = found["box"]
        assert expected[y : y + h, x : x + w].sum() == expected.sum()


def test_all_three_masks_and_other_prompts(client, nano):
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    masks, scores, _ = predictor.predict([CLICK], [1])
    found = segment(client, multimask=True)["masks"]
    order = np.argsort(-scores)
    assert [m["score"] for m in found] == pytest.approx(scores[order], abs=1e-6)
    for i, one in zip(order, found):
        assert (decode_rle([one["rle"]])[0] == masks[i]).all()
    prompt = dict(point_coords=[CLICK, [10, 10]], point_labels=[1, 0], box=[110, 28, 165, 82])
    (mask,), _, _ = predictor.predict(**prompt, multimask_output=False)
    (one,) = segment(client, points=prompt["point_coords"], labels=[1, 0], box=prompt["box"])[
        "masks"
    ]
    assert (decode_rle([one["rle"]])[0] == mask).all()


def test_a_picture_by_upload_hash_and_address(client):
    sent = client.post("/v1/pictures", content=COINS.read_bytes())
    assert sent.status_code == 201
    about = sent.json()
    assert (about["width"], about["height"]) == (256, 256)
    expected = segment(client)
    assert about["picture"] == expected["picture"]  # the same file: the same hash
    for picture in (about["picture"], about["address"], f"http://localhost:8000{about['address']}",
                    f"data:image/png;base64,{coins()}"):  # fmt: skip
        assert segment(client, picture=picture) == expected
    assert client.get(about["address"]).json() == about
    assert client.get(f"/v1/pictures/{'0' * 64}").status_code == 404


def test_tolerance_leaves_corners_out(client, coin):
    exact = segment(client, format="polygons")["masks"][0]["polygons"]
    fewer = segment(client, format="polygons", tolerance=1)["masks"][0]["polygons"]
    assert sum(map(len, fewer[0])) < sum(map(len, exact[0])) / 2
    mask = fill([np.array(ring) for ring in fewer[0]], (256, 256))
    assert (mask & coin[0]).sum() / (mask | coin[0]).sum() > 0.95


def test_everything_is_the_generators(client, nano):
    answer = client.post("/v1/everything", json={"picture": coins(), "points_per_side": 4})
    generator = SamAutomaticMaskGenerator(nano, points_per_side=4, **thresholds_of(nano.config))
    expected = generator.generate(COINS)
    assert answer.status_code == 200 and len(expected) > 3
    found = answer.json()["masks"]
    assert len(found) == len(expected)
    for one, record in zip(found, expected):
        assert (decode_rle([one["rle"]])[0] == record["segmentation"]).all()
    refused = client.post("/v1/everything", json={"picture": coins(), "mode": "instances"})
    assert refused.status_code == 400 and "no instance decoder" in refused.json()["error"]


def test_each_of_several_models_answers_for_itself(nano):
    """In every protocol that has a place for a model's name: its own masks, its own embeddings."""
    other = Sam(nano.config)
    other.load_weights([(k, v * 1.03) for k, v in tree_flatten(nano.parameters())])
    models = {"nano": nano, "other": other}
    scores = {}
    for name, sam in models.items():
        predictor = SamPredictor(sam)
        predictor.set_image(COINS)
        scores[name] = predictor.predict([CLICK], [1])[1].max()
    assert abs(scores["nano"] - scores["other"]) > 1e-3
    backend = Backend(models)
    mark = {"type": "point", "data": CLICK, "label": 1}
    prompt = {"b64img": coins(), "point_coords": [CLICK], "point_labels": [1], "type": "vit_t",
              "multimask_output": True}  # fmt: skip
    with TestClient(application(backend, TOOLS), base_url="http://localhost") as client:
        assert client.get("/health").json()["models"] == [*models]
        for name in [None, *models]:
            named = {} if name is None else {"model": name}
            about = segment(client, **named)
            expected = scores[name or "nano"]  # the first is the usual one
            assert about["model"] == (name or "nano")
            assert about["masks"][0]["score"] == pytest.approx(expected, abs=1e-6)
            if name is None:
                continue
            body = {"model": name, "image": coins(), "params": {"marks": [mark]}}
            (shape, *_) = client.post("/v1/predict", json=body).json()["data"]["shapes"]
            assert shape["score"] == pytest.approx(min(expected, 1), abs=1e-6)
            features = client.post("/sam/", json=prompt | {"checkpoint_url": f"file:{name}"}).json()
            found = max(feature["properties"]["quality"] for feature in features)
            assert found == pytest.approx(expected, abs=1e-6)
    assert [len(model.embeddings._kept) for model in backend.models.values()] == [1, 1]
    backend.close()


def test_a_model_with_an_instance_decoder_finds_by_it(drawn_coins):
    """Our API, X-AnyLabeling without marks, and Label Studio's predictions of a task."""
    expected = InstanceSegmenter(drawn_coins).generate(COINS)
    assert len(expected) > 5
    backend = Backend({"lm": drawn_coins})
    config = (
        '<View><Image name="x" value="$i"/><BrushLabels name="b" toName="x"><Label value="c"/>'
        "</BrushLabels></View>"
    )
    task = {"id": 1, "data": {"i": f"data:image/png;base64,{coins()}"}}
    with TestClient(application(backend, TOOLS), base_url="http://localhost") as client:
        for mode in ({}, {"mode": "instances"}):
            answer = client.post("/v1/everything", json={"picture": coins(), **mode}).json()
            masks = decode_rle([one["rle"] for one in answer["masks"]])
            assert (masks == np.array([r["segmentation"] for r in expected])).all()
        body = {"tasks": [task], "label_config": config}
        (found,) = client.post("/predict", json=body).json()["results"]
        records = from_label_studio(found["result"])
        assert (decode_rle([r["segmentation"] for r in records]) == masks).all()
        body = {"model": "lm", "image": coins(), "params": {"marks": []}}
        shapes = client.post("/v1/predict", json=body).json()["data"]["shapes"]
        assert len(shapes) >= len(expected)
    backend.close()


@pytest.fixture(scope="module")
def drawn_coins():
    pytest.importorskip("skimage", reason="instances need scikit-image")
    from tests.support.instances import nano_that_knows_coins

    return nano_that_knows_coins(np.array(Image.open(COINS).convert("RGB")))


def test_a_picture_that_comes_again_is_not_decoded_again(client, backend, monkeypatch):
    from sam_mlx.web.store import Content

    count = 0
    pixels = Content.pixels

    def counted(self):
        nonlocal count
        count += 1
        return pixels(self)

    monkeypatch.setattr(Content, "pixels", counted)
    for point in ([20, 20], [138, 53], [200, 200]):
        segment(client, points=[point])
    assert count == 1
    assert len(list(backend.pictures.store.folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"picture": "0" * 64}, 404, "send it first"),
        ({"picture": "/v1/pictures/nothing"}, 404, "send it first"),
        ({"picture": "not base64!"}, 400, "not base64"),
        ({"picture": ""}, 400, "empty"),
        ({"picture": base64.b64encode(b"text").decode()}, 415, "picture"),
        ({"picture": "data:image/png,plain"}, 400, "not base64"),
        ({"model": "other"}, 404, "nano"),
        ({"points": []}, 400, "labels"),
        ({"points": [], "labels": []}, 400, "prompt is empty"),
        ({"points": [[1, 2, 3]]}, 400, "points"),
        ({"box": [5, 5, 1, 1]}, 400, "x0 <= x1"),
        ({"format": "tiff"}, 400, "format"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
def test_what_is_wrong_is_said(client, given, status, said):
    answer = client.post("/v1/segment", json={"picture": coins(), **ASKED} | given)
    assert answer.status_code == status and said in answer.json()["error"], answer.text


def test_other_bodies(client):
    assert client.post("/v1/segment", content=b"{").status_code == 400
    assert client.post("/v1/segment", content=b"[1]").status_code == 400
    assert client.post("/v1/segment", content=b"\xff").status_code == 400
    assert client.get("/v1/segment").status_code == 405
    assert client.get("/nothing").json() == {"error": "there is no such address"}
    assert client.post("/v1/pictures", content=b"").status_code == 400


def test_pictures_are_bounded(nano):
    backend = Backend({"nano": nano}, max_pixels=100, max_bytes=2000)
    with TestClient(application(backend, TOOLS), base_url="http://localhost") as client:
        bomb = base64.b64encode(png(np.zeros((400, 400)))).decode()
        answer = client.post("/v1/segment", json={"picture": bomb, **ASKED})
        assert answer.status_code == 413 and "400 x 400" in answer.json()["error"]
        for body in (bomb * 10, "A" * 10_000_000):
            answer = client.post("/v1/segment", json={"picture": body, **ASKED})
            assert answer.status_code == 413, answer.text
        assert client.post("/v1/pictures", content=b"x" * 2001).status_code == 413
        assert list(backend.pictures.store.folder.iterdir()) == []
    backend.close()


def test_the_example_in_the_docs(live, tmp_path, monkeypatch):
    """The ten lines run as they are, but for the address and the picture."""
    text = (ROOT / "docs" / "serve.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "truck.jpg").write_bytes(COINS.read_bytes())
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code.replace("http://localhost:8000", live).replace("[500, 375]", "[138, 53]"), found)
    assert found["mask"].shape == (256, 256) and found["mask"].sum() > 1000


def test_the_document_is_the_one_in_docs():
    stored = json.loads((ROOT / "docs" / "serve-api.json").read_text())
    assert stored == document(), "python -m sam_mlx.serve.tools > docs/serve-api.json"
    names = [e.handler.__name__ for tool in TOOLS for e in tool.endpoints]
    assert len(names) == len(set(names))


def test_answers_have_the_forms_that_the_document_gives(client):
    schemas = document()["components"]["schemas"]
    sent = client.post("/v1/pictures", content=COINS.read_bytes()).json()
    check(sent, schemas["SentPicture"])
    check(client.get("/health").json(), schemas["Health"])
    for form in ("rle", "coco", "png", "polygons"):
        answer = segment(client, format=form)
        (mask,) = answer.pop("masks")
        check(answer | {"masks": []}, resolved(schemas["Masks"], schemas))
        check(mask, resolved(schemas["Mask"], schemas))


def resolved(schema, schemas):
    """A schema with those that it names put in."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return resolved(schemas[schema["$ref"].rpartition("/")[2]], schemas)
        return {k: resolved(v, schemas) for k, v in schema.items()}
    return schema


def test_a_client_of_another_kind(live):
    assert httpx.get(f"{live}/health").json()["status"] == "UP"
