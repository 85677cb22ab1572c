"""Every line of the API, as a page uses it."""

import base64
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS, Page, png  # isort: skip  first: it skips all where it must

from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx import masks as M
from sam_mlx.images import load_image
from sam_mlx.web.automatic import SEARCHED, defaults
from sam_mlx.web.endpoints import ENDPOINTS, document
from sam_mlx.web.model import POINTS_AT_ONCE
from sam_mlx.web.validate import Refusal, check

ROOT = Path(__file__).parents[2]


@pytest.fixture
def predictor(nano):
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    return predictor


def test_a_session_begins_with_the_pictures_of_the_command_line(client):
    begun = client.post("/api/sessions")
    assert begun.status_code == 201
    assert begun.json()["model"] == {"name": "nano", "device": "cpu", "dtype": "float32"}
    found = client.get(f"/api/sessions/{begun.json()['session']}").json()
    assert found["selected"] is None
    (picture,) = found["pictures"]
    assert picture == {
        "id": "p1", "name": "coins.png", "width": 256, "height": 256, "tiles": None,
        "ready": False, "encoding": None, "done": False, "error": None,
        "notice": None, "objects": [],
    }  # fmt: skip


def test_a_session_begins_with_the_thresholds_of_the_model(client, nano):
    begun = client.post("/api/sessions").json()["automatic"]
    assert begun == {
        "points_per_side": 32, "max_points_per_side": 128, "pred_iou_thresh": 0.85,
        "stability_score_thresh": 0.9, "box_nms_thresh": 0.7, "min_mask_region_area": 0,
        "min_pred_iou_thresh": 0.5, "min_stability_score_thresh": 0.5, "mode": "amg",
        "center_distance_threshold": 0.5, "boundary_distance_threshold": 0.5,
        "foreground_threshold": 0.5, "min_size": 0,
    }  # fmt: skip
    meta = defaults(replace(nano.config, variant="vit_b"))
    assert (meta["pred_iou_thresh"], meta["stability_score_thresh"]) == (0.88, 0.95)


def test_encoding_says_how_far_it_is_and_is_shared(page):
    begun = page.client.post(f"{page.picture}/encode")
    assert begun.status_code == 202 and 0 <= begun.json()["encoding"]["done"] < 1
    page.ready()
    assert page.client.get(page.picture).json()["encoding"] is None
    other = Page(page.client)
    assert other.client.get(other.picture).json()["ready"]
    assert other.client.get(other.session).json()["selected"] is None
    assert page.client.get(page.session).json()["selected"] == "p1"


def test_small_masks_are_the_predictors_low_resolution_logits(page, predictor):
    """A square picture: every cell of the logits is over it."""
    answer = page.ready().predict(request=7).json()
    masks, scores, logits = predictor.predict([[138, 53]], [1])
    assert answer["request"] == 7 and answer["best"] == scores.argmax()
    for got, mask, score, x in zip(answer["masks"], masks, scores, logits):
        assert got["score"] == score
        steps = np.frombuffer(base64.b64decode(got["logits"]["data"]), np.int8)
        drawn = steps.reshape(got["logits"]["shape"])
        np.testing.assert_array_equal(drawn > 0, x > 0)
        inside = np.abs(x) < 31
        assert np.abs(drawn / 4 - x)[inside].max() <= 0.25
        assert abs(got["area"] - mask.sum()) < 0.03 * mask.sum() + 10


def test_small_masks_cover_pictures_that_are_not_square(page):
    picture = np.asarray(Image.open(COINS).convert("RGB"))[:150]
    added = page.add(png(picture)).json()
    page.picture = f"{page.session}/pictures/{added['id']}"
    found = page.ready().predict().json()
    mask = M.decode_rle([page.click()["mask"]])[0]
    best = found["masks"][found["best"]]["logits"]
    drawn = np.frombuffer(base64.b64decode(best["data"]), np.int8).reshape(best["shape"])
    assert best["shape"] == [94, 160]
    shown = resized(drawn, (150, 256))
    overlap = (shown & mask).sum() / (shown | mask).sum()
    assert overlap > 0.97


def resized(drawn, size):
    """As the page draws it: bilinear, set above 0."""
    image = Image.fromarray(drawn.astype(np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)) > 0


@pytest.mark.parametrize(
    "given",
    [
        {"points": [], "labels": []},
        {"points": [[1, 2]], "labels": []},
        {"points": [[1]], "labels": [1]},
        {"points": [[1, "2"]], "labels": [1]},
        {"points": [[1, 1e9]], "labels": [1]},
        {"points": [[1, True]], "labels": [1]},
        {"labels": [2]},
        {"box": [9, 9, 1, 1]},
        {"box": [1, 2, 3]},
        {"multimask": 1},
        {"points": [[1, 1]] * 257, "labels": [1] * 257},
        {"nonsense": 1},
    ],
)
def test_what_is_malformed_is_refused_with_a_sentence(page, given):
    answer = page.ready().predict(**given)
    assert answer.status_code == 400
    assert 10 < len(answer.json()["error"]) < 200


@pytest.mark.parametrize(
    "text", [b"[", b"[]", b'{"points": [[NaN, 1]], "labels": [1]}', b"[" * 100000, b"\xff",
             b'{"points": [[1e999, 1]], "labels": [1]}', b'{"request": ' + b"9" * 5000 + b"}"]
)  # fmt: skip
def test_what_is_not_json_is_refused(page, text):
    answer = page.client.post(f"{page.picture}/predict", content=text)
    assert answer.status_code == 400 and answer.json()["error"]


def test_a_picture_that_is_not_encoded_is_not_ready(page):
    assert page.predict().status_code == 409
    assert (
        page.client.post(f"{page.picture}/objects", json={"box": [1, 2, 30, 40]}).status_code == 409
    )
    assert page.client.post(f"{page.picture}/automatic").status_code == 409


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"choice": 0},
        {"points": [[138, 53], [20, 20]], "labels": [1, 0]},
        {"points": [], "labels": [], "box": [120, 30, 160, 75]},
        {"box": [120, 30, 160, 75], "multimask": True, "choice": 2},
    ],
)
def test_the_exported_mask_is_the_predictors_and_so_is_that_of_the_python_lines(
    page, predictor, given, tmp_path, monkeypatch
):
    added = page.ready().click(**given)
    points, box = added["points"], added["box"]
    three = len(points) == 1 and box is None if added["multimask"] is None else added["multimask"]
    masks, scores, _ = predictor.predict(
        points or None, added["labels"] or None, box, multimask_output=three
    )
    expected = masks[scores.argmax() if added["choice"] is None else added["choice"]]
    exported = np.asarray(Image.open(io.BytesIO(page.export("masks").content)))
    np.testing.assert_array_equal(exported, expected * np.uint8(255))
    np.testing.assert_array_equal(M.decode_rle([added["mask"]])[0], expected)
    np.testing.assert_array_equal(run_lines(page, added["id"], tmp_path, monkeypatch), expected)


def run_lines(page, chosen, folder, monkeypatch):
    lines = page.client.get(f"{page.picture}/python?object={chosen}").text
    (folder / "coins.png").write_bytes(COINS.read_bytes())
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(lines, names)
    return np.asarray(names["mask"], bool)


EDITS = [
    {"erase": True, "radius": 4, "path": [[138, 53], [150, 60.5]]},
    {"erase": False, "radius": 6.5, "path": [[20, 30]]},
]


def test_edits_are_strokes_on_the_mask(page, tmp_path, monkeypatch):
    before = M.decode_rle([page.ready().click()["mask"]])[0]
    put = page.client.put(f"{page.picture}/objects/o1", json={"edits": EDITS}).json()
    after = M.decode_rle([put["mask"]])[0]
    expected = M.brush(M.brush(before, EDITS[0]["path"], 4, erase=True), [[20, 30]], 6.5)
    np.testing.assert_array_equal(after, expected)
    assert put["area"] == after.sum() != before.sum()
    np.testing.assert_array_equal(run_lines(page, "o1", tmp_path, monkeypatch), after)
    undone = page.client.put(f"{page.picture}/objects/o1", json={"edits": []}).json()
    np.testing.assert_array_equal(M.decode_rle([undone["mask"]])[0], before)


def test_strokes_come_one_after_another_and_go_again(page):
    """However an object came to its edits, its mask is that of all of them."""
    page.ready().click()
    at = f"{page.picture}/objects/o1"
    more = [*EDITS, {"erase": True, "radius": 2, "path": [[20, 30], [25, 30]]}]
    for edits in (more[:1], more[:2], more, more[:1], more[1:], [], more, more):
        put = page.client.put(at, json={"edits": edits}).json()
        fresh = page.click(edits=edits)
        assert put["mask"] == fresh["mask"]
    page.client.put(at, json={"points": [[60, 60]], "labels": [1]})
    fresh = page.click(points=[[60, 60]], edits=more)
    assert page.client.get(page.picture).json()["objects"][0]["mask"] == fresh["mask"]


def test_strokes_are_bounded(page):
    wide = {"erase": False, "radius": 10000, "path": [[0, 0], [256, 256]] * 2500}
    answer = page.client.post(f"{page.picture}/objects", json={"edits": [wide] * 8})
    assert answer.status_code == 400 and "smaller strokes" in answer.json()["error"]


def test_the_python_lines_load_the_model_as_the_server_did(nano, tmp_path, monkeypatch):
    from starlette.testclient import TestClient

    from sam_mlx.web.application import application
    from sam_mlx.web.backend import Backend

    options = {"image_size": 240, "dtype": None}
    model = Sam.from_pretrained("nano", **options)
    server = Backend(model, "nano", [COINS, tmp_path, Path(__file__)], options=options)
    with TestClient(application(server), base_url="http://localhost") as client:
        page = Page(client)
        added = page.ready().click()
        lines = run_lines(page, "o1", tmp_path, monkeypatch)
        np.testing.assert_array_equal(lines, M.decode_rle([added["mask"]])[0])
    server.close()
    assert [line.partition(":")[0] for line in server.left_out] == [str(tmp_path), __file__]


def test_the_range_of_samples_is_the_servers(nano, tmp_path, monkeypatch):
    from starlette.testclient import TestClient

    from sam_mlx.web.application import application
    from sam_mlx.web.backend import Backend

    deep = np.asarray(Image.open(COINS).convert("L")).astype(np.uint16) * 30
    Image.fromarray(deep).save(tmp_path / "deep.png")
    server = Backend(nano, "nano", [tmp_path / "deep.png"], value_range=(0.0, 7650.0))
    with TestClient(application(server), base_url="http://localhost") as client:
        page = Page(client)
        added = page.ready().click()
        lines = client.get(f"{page.picture}/python?object=o1").text
        assert "set_image('deep.png', value_range=(0.0, 7650.0))" in lines
        mask = run_lines(page, "o1", tmp_path, monkeypatch)
        np.testing.assert_array_equal(mask, M.decode_rle([added["mask"]])[0])
        shown = Image.open(io.BytesIO(client.get(f"{page.picture}/image").content))
        expected = load_image(deep, value_range=(0, 7650))
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), expected)
        saved = client.get(f"{page.session}/file").content
    server.close()
    # A session goes on as it was, whatever the server is that opens it.
    for other in (None, (0.0, 255.0)):
        server = Backend(nano, "nano", [tmp_path / "deep.png"], value_range=other)
        with TestClient(application(server), base_url="http://localhost") as client:
            at = client.post("/api/sessions/file", content=saved).json()["session"]
            page = Page(client)
            page.picture = f"/api/sessions/{at}/pictures/p1"
            shown = Image.open(io.BytesIO(client.get(f"{page.picture}/image").content))
            np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), expected)
            again = page.ready().click()
            assert again["mask"] == added["mask"]
            again = client.get(f"/api/sessions/{at}/file").content
            with zipfile.ZipFile(io.BytesIO(again)) as archive:
                (picture,) = json.loads(archive.read("session.json"))["pictures"]
            assert picture["value_range"] == [0.0, 7650.0]
            # The same file without the range is another picture.
            added_now = page.add((tmp_path / "deep.png").read_bytes(), "deep.png").json()
            at = f"/api/sessions/{page.session.rpartition('/')[2]}/pictures/{added_now['id']}"
            assert client.get(f"{at}/image").content != client.get(f"{page.picture}/image").content
        server.close()


def test_an_object_of_the_brush_alone(page, tmp_path, monkeypatch):
    answer = page.client.post(f"{page.picture}/objects", json={"edits": EDITS})
    mask = M.decode_rle([answer.json()["mask"]])[0]
    np.testing.assert_array_equal(mask, M.brush(np.zeros((256, 256), bool), [[20, 30]], 6.5))
    np.testing.assert_array_equal(run_lines(page, "o1", tmp_path, monkeypatch), mask)


def test_objects_are_named_hidden_and_removed_without_another_mask(page):
    added = page.ready().click(name="one", colour="#123456")
    assert (added["id"], added["name"], added["colour"]) == ("o1", "one", "#123456")
    put = page.client.put(
        f"{page.picture}/objects/o1", json={"name": "two", "hidden": True, "colour": "#abcdef"}
    ).json()
    changes = {"name": "two", "hidden": True, "colour": "#abcdef"}
    assert put == added | changes | {"version": added["version"] + 1}
    assert page.client.get(page.picture).json()["objects"] == [put]
    wrong = page.client.put(f"{page.picture}/objects/o1", json={"colour": "#12345g"})
    assert wrong.status_code == 400
    assert page.client.delete(f"{page.picture}/objects/o1").status_code == 204
    assert page.client.delete(f"{page.picture}/objects/o1").status_code == 404
    assert page.click()["id"] == "o2"


def test_automatic_masks_are_selected_as_the_generator_does(page, nano, predictor):
    masks = page.ready().automatic()
    generator = SamAutomaticMaskGenerator(
        nano, points_per_side=8, points_per_batch=POINTS_AT_ONCE, output_mode="uncompressed_rle"
    )
    state = generator.predict(predictor.get_image_embedding(), keep_iou=SEARCHED["pred_iou_thresh"])
    by_id = {mask["id"]: mask for mask in masks}
    for iou, stability, nms, area in [
        (0.5, 0.5, 1.0, 0), (0.85, 0.9, 0.7, 0), (0.7, 0.8, 0.3, 0), (0.6, 0.5, 0.9, 60),
        (0.99, 0.5, 0.7, 0),
    ]:  # fmt: skip
        given = {
            "pred_iou_thresh": iou, "stability_score_thresh": stability, "box_nms_thresh": nms,
            "min_mask_region_area": area,
        }  # fmt: skip
        records = generator.select(state, **given)
        found = page.select(**given).json()
        changed = {mask["id"]: mask for mask in found["changed"]}
        got = [{**by_id, **changed}[i]["mask"] for i in found["ids"]]
        assert got == [record["segmentation"] for record in records]
        assert bool(changed) == (area > 0)
    assert len(masks) > 20
    given = defaults(nano.config)
    given = {name: given[name] for name in ("pred_iou_thresh", "stability_score_thresh")}
    assert (
        page.select().json()
        == page.select(**given).json()
        != page.select(pred_iou_thresh=0.5, stability_score_thresh=0.5).json()
    )


def test_an_automatic_mask_becomes_an_object(page, tmp_path, monkeypatch):
    masks = page.ready().automatic()
    added = page.client.post(f"{page.picture}/objects", json={"automatic": masks[3]["id"]}).json()
    assert added["mask"] == masks[3]["mask"] and added["score"] == masks[3]["score"]
    lines = run_lines_of_automatic(page, tmp_path, monkeypatch)
    np.testing.assert_array_equal(lines, M.decode_rle([masks[3]["mask"]])[0])
    moved = page.client.put(
        f"{page.picture}/objects/o1", json={"points": [[138, 53]], "labels": [1]}
    )
    assert moved.json()["automatic"] is None and moved.json()["mask"] != added["mask"]
    assert page.client.delete(f"{page.picture}/automatic").status_code == 204
    assert page.client.get(f"{page.picture}/automatic").status_code == 404
    state = {"automatic": masks[3]["id"], "points": [], "labels": []}
    undone = page.client.put(f"{page.picture}/objects/o1", json=state).json()
    assert undone["mask"] == added["mask"]
    for wrong in ("8-1-99999", "8-2-0", "", "x"):
        answer = page.client.post(f"{page.picture}/objects", json={"automatic": wrong})
        assert answer.status_code == 404


def run_lines_of_automatic(page, folder, monkeypatch):
    lines = page.client.get(f"{page.picture}/python?object=o1").text
    (folder / "coins.png").write_bytes(COINS.read_bytes())
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(lines, names)
    return names["mask"]


def test_small_regions_of_an_automatic_mask(page, tmp_path, monkeypatch):
    masks = page.ready().automatic()
    found = page.select(pred_iou_thresh=0.5, stability_score_thresh=0.5, min_mask_region_area=60)
    changed = found.json()["changed"][0]
    given = {"automatic": changed["id"], "min_mask_region_area": 60}
    added = page.client.post(f"{page.picture}/objects", json=given).json()
    assert added["mask"] == changed["mask"]
    before = next(mask for mask in masks if mask["id"] == changed["id"])
    assert before["mask"] != changed["mask"]
    lines = run_lines_of_automatic(page, tmp_path, monkeypatch)
    np.testing.assert_array_equal(lines, M.decode_rle([added["mask"]])[0])


def test_a_search_can_be_stopped_and_asked_too_early(page):
    page.ready()
    assert page.client.get(f"{page.picture}/automatic").status_code == 404
    begun = page.client.post(f"{page.picture}/automatic", json={"points_per_side": 128})
    assert begun.status_code == 202 and begun.json() == {"done": 0, "masks": None}
    assert page.select().status_code == 409
    assert page.predict().status_code == 200  # during the search
    assert page.client.get(f"{page.picture}/automatic").json()["masks"] is None
    assert page.client.delete(f"{page.picture}/automatic").status_code == 204
    assert len(page.automatic()) > 20
    assert page.select(pred_iou_thresh=0.4).status_code == 400


def test_every_format_of_every_object(page):
    page.ready()
    assert page.export("masks").status_code == 404
    page.click(name='coin <&> "one"')
    page.click(points=[[60, 60]], name="two")
    both = M.decode_rle([o["mask"] for o in page.client.get(page.picture).json()["objects"]])
    with zipfile.ZipFile(io.BytesIO(page.export("masks").content)) as archive:
        assert sorted(archive.namelist()) == ["0.png", "1.png", "metadata.csv"]
        for i in range(2):
            mask = np.asarray(Image.open(archive.open(f"{i}.png")))
            np.testing.assert_array_equal(mask > 0, both[i])
    one = np.asarray(Image.open(io.BytesIO(page.export("masks", "o2").content)))
    np.testing.assert_array_equal(one > 0, both[1])
    cut = np.asarray(Image.open(io.BytesIO(page.export("cutout").content)))
    np.testing.assert_array_equal(cut[..., 3] > 0, both.any(axis=0))
    coins = np.asarray(Image.open(COINS).convert("RGB"))
    np.testing.assert_array_equal(cut[..., :3], coins * both.any(axis=0)[..., None])
    labels = np.asarray(Image.open(io.BytesIO(page.export("labelmap").content)))
    np.testing.assert_array_equal(labels, M.label_map(both, (256, 256)))
    coco = page.export("coco").json()
    assert coco["images"][0]["file_name"] == "coins.png" and len(coco["annotations"]) == 2
    np.testing.assert_array_equal(
        M.decode_rle([a["segmentation"] for a in coco["annotations"]]), both
    )
    assert [f["properties"]["name"] for f in page.export("geojson").json()["features"]] == [
        'coin <&> "one"', "two"
    ]  # fmt: skip
    assert "coin &lt;&amp;&gt;" in page.export("svg").text
    assert page.export("pdf").status_code == 404
    assert page.export("masks", "o9").status_code == 404
    with zipfile.ZipFile(io.BytesIO(page.client.get(f"{page.session}/export").content)) as archive:
        assert sorted(archive.namelist()) == [
            "annotations.json", "coins.geojson", "coins.svg", "coins/0.png", "coins/1.png",
            "coins/metadata.csv", "coins_classes.png", "coins_cutout.png", "coins_labels.png",
            "data.yaml", "labelme/coins.json", "labels/coins.txt",
        ]  # fmt: skip
        assert len(json.loads(archive.read("annotations.json"))["annotations"]) == 2


def test_two_pictures_of_one_name_are_apart_in_the_zip(page):
    page.ready().click()
    second = page.add(
        png(np.asarray(Image.open(COINS).convert("RGB"))[:, ::-1]), "coins.png"
    ).json()
    page.picture = f"{page.session}/pictures/{second['id']}"
    page.ready().click()
    with zipfile.ZipFile(io.BytesIO(page.client.get(f"{page.session}/export").content)) as archive:
        assert {"coins/0.png", "coins 2/0.png"} <= set(archive.namelist())
        dataset = json.loads(archive.read("annotations.json"))
        assert len(dataset["annotations"]) == 2
        names = ["coins.png", "coins 2.png"]
        assert [image["file_name"] for image in dataset["images"]] == names
        found = [json.loads(archive.read(f"{Path(name).stem}.geojson")) for name in names]
        assert [collection["file_name"] for collection in found] == names


def test_names_of_files_are_no_headers(page):
    added = page.add(png(np.zeros((9, 9, 3))), "../a%0d%0aX-Evil: 1/b%22;ä.png").json()
    assert added["name"] == 'b";ä.png'
    page.picture = f"{page.session}/pictures/{added['id']}"
    page.client.post(f"{page.picture}/objects", json={"edits": EDITS})
    where = page.export("masks").headers["content-disposition"]
    coded = "b_%3B%C3%A4_mask.png"
    assert where == f"attachment; filename=\"b_;__mask.png\"; filename*=UTF-8''{coded}"


def test_pictures_are_shown_as_exif_says(page):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    added = page.add(png(pixels, "JPEG", exif=exif, quality=95), "turned.jpg").json()
    assert (added["width"], added["height"]) == (20, 40)
    at = f"{page.session}/pictures/{added['id']}"
    shown = page.client.get(f"{at}/image")
    image = np.asarray(Image.open(io.BytesIO(shown.content)))
    assert shown.headers["content-type"] == "image/png" and image.shape == (40, 20, 3)
    assert image[:18].mean() > 250 and image[22:].mean() < 5
    thumbnail = Image.open(io.BytesIO(page.client.get(f"{at}/thumbnail").content))
    assert thumbnail.format == "JPEG" and thumbnail.size == (20, 40)
    assert page.client.delete(at).status_code == 204
    assert page.client.get(at).status_code == 404


def test_two_sessions_know_nothing_of_each_other(page):
    page.ready().click()
    other = Page(page.client)
    assert other.client.get(other.picture).json()["objects"] == []
    other.click(name="theirs")
    assert [o["name"] for o in page.client.get(page.picture).json()["objects"]] == ["object 1"]
    assert page.client.delete(page.session).status_code == 204
    assert page.client.get(page.session).status_code == 404
    assert page.client.get(page.picture).status_code == 404
    assert len(other.client.get(other.picture).json()["objects"]) == 1


def test_the_document_is_the_api(server, client):
    from sam_mlx.web.application import routes

    routed = {
        (method, route.path)
        for route in routes(server)
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api")
    }
    documented = {
        (method.upper(), path)
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert routed == documented == {(e.method, e.path) for e in ENDPOINTS}
    stored = json.loads((ROOT / "docs" / "web-api.json").read_text())
    assert stored == document(), "python -m sam_mlx.web.endpoints > docs/web-api.json"
    assert client.get("/api/openapi.json").json() == document()


def resolve(schema):
    """A schema with those that it refers to in their places."""
    if isinstance(schema, list):
        return [resolve(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolve(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return {k: resolve(v) for k, v in schema.items()}


def test_answers_are_as_the_document_says(page):
    schemas = document()["components"]["schemas"]

    def fits(answer, name):
        assert answer.status_code < 300, answer.text
        check(answer.json(), resolve(schemas[name]))

    fits(page.client.post("/api/sessions"), "Session")
    page.ready()
    fits(page.predict(), "Prediction")
    fits(page.client.post(f"{page.picture}/objects", json={"box": [1, 2, 30, 40]}), "Object")
    fits(page.client.get(page.picture), "Picture")
    fits(page.client.get(page.session), "Pictures")
    page.automatic()
    fits(page.client.get(f"{page.picture}/automatic"), "Automatic")
    fits(page.select(pred_iou_thresh=0.6, min_mask_region_area=50), "AutomaticSelection")
    saved = page.client.get(f"{page.session}/file").content
    fits(page.client.post("/api/sessions/file", content=saved), "Session")
    with pytest.raises(Refusal):
        check({"error": 1}, schemas["Error"])


def test_unknown_addresses_and_methods(client):
    assert client.get("/api/nothing").status_code == 404
    assert client.put("/api/sessions").status_code == 405
    assert all(
        client.get(p).json()["error"] for p in ("/api/nothing", "/page/x.py", "/page/..%2fapp.py")
    )


def test_files_of_the_page_come_with_their_types(client):
    from sam_mlx.web.application import PAGE, TYPES

    for path in PAGE.iterdir() if PAGE.is_dir() else ():
        answer = client.get(f"/page/{path.name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-type"].startswith(TYPES[path.suffix])
