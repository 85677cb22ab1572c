"""Label Studio's protocol: requests as it writes them, where pictures may come from, training."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.support.serve import CLICK, COINS, coins  # isort: skip  first: it skips all where it must

from sam_mlx import SamPredictor
from sam_mlx.interop import from_label_studio, to_label_studio
from sam_mlx.masks import decode_rle
from sam_mlx.serve.label_studio.config import read
from sam_mlx.serve.label_studio.context import prompt_of
from sam_mlx.serve.label_studio.media import Media, origin_of
from sam_mlx.serve.label_studio.projects import Projects
from sam_mlx.serve.label_studio.training import Training
from sam_mlx.web.errors import Refusal
from tests.support.web import until

TAGS = {"brushlabels": "BrushLabels", "bitmasklabels": "BitmaskLabels",
        "polygonlabels": "PolygonLabels"}  # fmt: skip
DATA = f"data:image/png;base64,{coins()}"


def config(*kinds, labels=("Coin", "Other")):
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    tags = "".join(f'<{TAGS[k]} name="{k}-tag" toName="img">{inside}</{TAGS[k]}>' for k in kinds)
    smart = "".join(
        f'<{tag} name="{tag}" toName="img" smart="true">{inside}</{tag}>'
        for tag in ("KeyPointLabels", "RectangleLabels")
    )
    return f'<View><Image name="img" value="$image"/>{tags}{smart}</View>'


def region(kind, label="Coin", positive=True, **value):
    return {"original_width": 256, "original_height": 256, "image_rotation": 0,
            "value": {**value, kind: [label]}, "is_positive": positive, "id": "a", "to_name": "img",
            "from_name": "k", "type": kind, "origin": "manual"}  # fmt: skip


def key_point(x, y, **given):
    return region("keypointlabels", x=x / 2.56, y=y / 2.56, width=0.3, **given)


def ask(client, context=None, labels=None, image=DATA, **given):
    body = {
        "tasks": [{"id": 1, "data": {"image": image}}],
        "model_version": "x", "project": "7.1700000000",
        "label_config": labels or config("brushlabels"),
        "params": {"login": None, "password": None,
                   "context": None if context is None else {"result": context}},
    } | given  # fmt: skip
    return client.post("/predict", json=body)


def masks_of(answer):
    assert answer.status_code == 200, answer.text
    (one,) = answer.json()["results"]
    records = from_label_studio(one["result"])
    return [decode_rle([record["segmentation"]])[0] for record in records]


@pytest.fixture
def predictor(nano):
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    return predictor


def test_the_life_of_a_project(client):
    assert client.get("/health").json()["status"] == "UP"
    setup = {
        "project": "7.1700000000", "schema": config("brushlabels"), "access_token": "abc",
        "hostname": "http://localhost:8080", "extra_params": None,
    }  # fmt: skip
    assert client.post("/setup", json=setup).json() == {"model_version": "sam_mlx nano"}
    chosen = setup | {"extra_params": '{"model": "nano"}'}
    assert client.post("/setup", json=chosen).status_code == 200
    other = client.post("/setup", json=setup | {"extra_params": '{"model": "vit_h"}'})
    assert other.status_code == 404 and "nano" in other.json()["error"]
    assert client.post("/setup", json=setup | {"extra_params": "{"}).status_code == 400
    client.post("/setup", json=setup)
    assert client.post("/validate", json={"config": config("brushlabels")}).status_code == 200
    assert client.get("/versions").json()["versions"] == ["sam_mlx nano"]
    for event in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", None):
        assert client.post("/webhook", json={"action": event}).status_code == 201
    refused = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 7}})
    assert refused.status_code == 501 and "--train-into" in refused.json()["error"]
    assert client.post("/job_status", json={"job": "x"}).json() == {"job_status": "unknown"}
    assert client.post("/duplicate_model", json={"project_src": "1.2"}).status_code == 200
    assert client.post("/delete", json={"project": "7.1700000000"}).status_code == 200


@pytest.mark.parametrize("kind", list(TAGS))
def test_a_key_point(client, coin, kind):
    answer = ask(client, [key_point(*CLICK)], config(kind))
    (one,) = answer.json()["results"]
    for found in one["result"]:
        assert found["type"] == kind and found["from_name"] == f"{kind}-tag"
        assert found["to_name"] == "img" and found["value"][kind] == ["Coin"]
    masks = masks_of(answer)
    found = np.logical_or.reduce(masks)
    if kind == "polygonlabels":
        assert (found & coin[0]).sum() / (found | coin[0]).sum() > 0.95
    else:
        assert len(masks) == 1 and (found == coin[0]).all()
    assert one["score"] == pytest.approx(min(coin[1], 1), abs=1e-6)
    assert one["model_version"] == answer.json()["model_version"] == "sam_mlx nano"


def test_several_points_a_rectangle_and_the_label(client, predictor):
    context = [
        key_point(*CLICK, label="Other"),
        key_point(115, 33, positive=False, label="Other"),
        region("rectanglelabels", "Other", x=110 / 2.56, y=28 / 2.56, width=55 / 2.56,
               height=54 / 2.56),
    ]  # fmt: skip
    percent = np.array([[*CLICK], [115, 33]]) / 2.56 * 2.56
    box = np.array([110, 28, 165, 82]) / 2.56 * 2.56
    (mask,), _, _ = predictor.predict(percent, [1, 0], box, multimask_output=False)
    answer = ask(client, context)
    assert (masks_of(answer)[0] == mask).all()
    assert answer.json()["results"][0]["result"][0]["value"]["brushlabels"] == ["Other"]


def test_a_stroke(client, coin):
    stroke = np.zeros((1, 256, 256), bool)
    stroke[0, 50:56, 126:150] = True
    (drawn,) = to_label_studio(stroke, "b", "img", "Coin")
    (found,) = masks_of(ask(client, [drawn | {"is_positive": True}]))
    assert (found & coin[0]).sum() / (found | coin[0]).sum() > 0.9
    prompt = prompt_of([drawn], (256, 256))
    assert 2 <= len(prompt.points) <= 8 and set(prompt.labels) == {1}
    assert all(stroke[0, int(y), int(x)] for x, y in prompt.points)


@pytest.mark.slow
def test_without_a_context_everything(client):
    answer = ask(client)
    assert len(masks_of(answer)) > 10
    labels = {tuple(r["value"]["brushlabels"]) for r in answer.json()["results"][0]["result"]}
    assert labels == {("Coin",)}
    two = [{"id": i, "data": {"image": DATA}} for i in (1, 2)]
    assert len(ask(client, tasks=two).json()["results"]) == 2


def test_configurations():
    found = read(config("polygonlabels", "brushlabels"))
    assert (found.image, found.key) == ("img", "image")
    assert [control.kind for control in found.controls] == ["brushlabels", "polygonlabels"]
    apart = config("polygonlabels", labels=("A",)).replace("</View>", "") + (
        '<BrushLabels name="b" toName="img"><Label value="B"/></BrushLabels></View>'
    )
    assert read(apart).control_for("A")[0].kind == "polygonlabels"
    assert read(apart).control_for("B")[0].kind == "brushlabels"
    assert read(apart).control_for(None)[1] == "B"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<View>", "not XML"),
        ("<View/>", "no <Image"),
        ('<View><Image name="i" value="$x"/></View>', "BrushLabels"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View/>', "not one of"),
        ("<View>" * 10_000, "not XML"),
        (config("brushlabels").replace('toName="img"', 'toName="other"'), "BrushLabels"),
    ],
)
def test_configurations_that_do_not_fit(client, text, said):
    answer = ask(client, labels=text)
    assert answer.status_code == 400 and said in answer.json()["error"]


@pytest.mark.parametrize(
    "context",
    [
        [{}],
        [{"type": "keypointlabels", "value": {}}],
        [{"type": "keypointlabels", "value": {"x": "a", "y": 1}}],
        [{"type": "keypointlabels", "value": {"x": 1e300, "y": 1}}],
        [{"type": "choices", "value": {"choices": ["a"]}}],
        [{"type": "brushlabels", "value": {"rle": [1, 2]}}],
    ],
)
def test_damaged_contexts(client, context):
    assert ask(client, context).status_code == 400


# Pictures.


class LabelStudio(BaseHTTPRequestHandler):
    """Its addresses of pictures and tokens."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", self.server.away)
            self.end_headers()
            return
        fits = self.headers.get("Authorization") in self.server.accepted
        data = self.server.files.get(self.path)
        self.send_response(200 if fits and data else 401 if data else 404)
        self.end_headers()
        if fits and data:
            self.wfile.write(data)

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/api/token/refresh/" and given["refresh"].count(".") == 2
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access": "fresh"}')

    def log_message(self, *_):
        pass


@contextmanager
def label_studio(files, accepted=("Token abc", "Bearer fresh"), away=""):
    server = ThreadingHTTPServer(("127.0.0.1", 0), LabelStudio)
    server.files, server.accepted, server.away, server.asked = files, accepted, away, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


UPLOAD = "/data/upload/1/coins.png"


@pytest.fixture
def source(backend):
    with label_studio({UPLOAD: COINS.read_bytes()}) as server:
        backend.tools["label-studio"] = Projects(Media(server.address))
        yield server


def set_up(client, token="abc"):
    given = {"project": "7.1", "schema": config("brushlabels"), "access_token": token}
    client.post("/setup", json=given | {"hostname": "http://evil.example"})


def test_a_picture_is_fetched_once_with_the_projects_token(client, source, coin):
    set_up(client)
    for _ in range(3):
        assert (masks_of(ask(client, [key_point(*CLICK)], image=UPLOAD))[0] == coin[0]).all()
    assert source.asked == [(UPLOAD, "Token abc")]


def test_a_personal_access_token_is_refreshed(client, source, backend):
    backend.tools["label-studio"] = Projects(Media(source.address, token="a.b.c"))
    assert ask(client, [key_point(*CLICK)], image=UPLOAD).status_code == 200
    assert source.asked == [(UPLOAD, "Bearer fresh")]


def test_what_label_studio_refuses_is_said(client, source):
    set_up(client, token="wrong")
    answer = ask(client, [key_point(*CLICK)], image=UPLOAD)
    assert answer.status_code == 502 and "--label-studio-token" in answer.json()["error"]
    answer = ask(client, [key_point(*CLICK)], image="/data/upload/1/none.png")
    assert answer.status_code == 502 and "404" in answer.json()["error"]


@pytest.mark.parametrize(
    "image",
    ["http://169.254.169.254/latest/meta-data", "//evil.example/x.png", "https://evil.example/x",
     "http://localhost:1/x.png", "file:///etc/passwd", "ftp://evil.example/x", "http://["],
)  # fmt: skip
def test_no_request_to_an_address_that_nobody_has_named(client, source, image):
    set_up(client)
    answer = ask(client, [key_point(*CLICK)], image=image)
    assert answer.status_code in (400, 403, 502), answer.text
    assert all(token is None or path.startswith("/") for path, token in source.asked)
    assert not any("evil" in path or "meta-data" in path for path, _ in source.asked)


def test_redirections_and_other_servers(client, backend, coin):
    """Where storage signs addresses: only to what was named, and without the token."""
    with label_studio({"/bucket/coins.png": COINS.read_bytes()}, accepted=(None,)) as bucket:
        away = f"{bucket.address}/bucket/coins.png"
        with label_studio({}, away=away) as server:
            backend.tools["label-studio"] = Projects(Media(server.address))
            set_up(client)
            answer = ask(client, [key_point(*CLICK)], image="/away")
            assert answer.status_code == 403 and "--allow-media" in answer.json()["error"]
            assert bucket.asked == []
            media = Media(server.address, allowed=[bucket.address])
            backend.tools["label-studio"] = Projects(media)
            set_up(client)
            for image in ("/away", away):
                assert (masks_of(ask(client, [key_point(*CLICK)], image=image))[0] == coin[0]).all()
            assert {token for _, token in bucket.asked} == {None}
            ask(client, [key_point(*CLICK)], image="s3://bucket/coins.png")
            name = base64.urlsafe_b64encode(b"s3://bucket/coins.png").decode()
            assert server.asked[-1] == (f"/tasks/1/resolve/?fileuri={name}", "Token abc")


def test_local_files_below_their_root(client, backend, monkeypatch, tmp_path, coin):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a b.png").write_bytes(COINS.read_bytes())
    (tmp_path / "secret.png").write_bytes(COINS.read_bytes())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    monkeypatch.setenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", str(root))
    place = "/data/local-files/?d="
    found = masks_of(ask(client, [key_point(*CLICK)], image=f"{place}a%20b.png"))
    assert (found[0] == coin[0]).all()
    for name in ("../secret.png", "link.png", "/../secret.png", "none.png", ""):
        answer = ask(client, [key_point(*CLICK)], image=place + name)
        assert answer.status_code in (403, 404), name


def test_pictures_that_are_none(client):
    assert ask(client, [key_point(*CLICK)], image="").status_code == 400
    assert ask(client, tasks=[{"id": 1, "data": {"other": "x"}}]).status_code == 400
    assert ask(client, tasks=[{"id": 1, "data": {"image": 5}}]).status_code == 400
    assert ask(client, tasks=[{"id": 1}]).status_code == 400


def test_origins():
    assert origin_of("http://a.b/x") == origin_of("http://A.b:80/y?z") == "http://a.b:80"
    assert origin_of("http://a.b:80@evil.example/") == "http://evil.example:80"
    with pytest.raises(ValueError, match="http"):
        Media("localhost:8080")
    with pytest.raises(ValueError, match="not an address"):
        Media(allowed=["s3.example"])


def test_a_picture_that_is_too_large(client, source, backend):
    backend.pictures.store.max_bytes = 1000
    set_up(client)
    answer = ask(client, [key_point(*CLICK)], image=UPLOAD)
    assert answer.status_code == 413


# Training.


@pytest.fixture
def annotated():
    """An export of two annotated tasks and one without."""
    mask = np.zeros((11, 256, 256), bool)
    mask[0, 29:75, 117:159] = mask[1, 90:130, 100:140] = True
    for i in range(9):  # on all sides, so that each part of the picture has some
        mask[2 + i, 160 + 30 * (i // 3) :, 10 + 80 * (i % 3) :][:25, :40] = True
    regions = to_label_studio(mask, "brushlabels-tag", "img", "Coin")
    image = {"image": UPLOAD}
    tasks = [
        {"id": 1, "data": image, "annotations": [{"result": regions}]},
        {"id": 2, "data": image, "annotations": [
            {"result": regions[:1]}, {"result": regions, "was_cancelled": True}]},
        {"id": 3, "data": image, "annotations": []},
    ]  # fmt: skip
    address = "/api/projects/7/export?exportType=JSON"
    return {UPLOAD: COINS.read_bytes(), address: json.dumps(tasks).encode()}, mask


def test_what_is_exported_for_training(backend, annotated, tmp_path):
    files, masks = annotated
    with label_studio(files) as server:
        media = Media(server.address)
        projects = Projects(media, Training(tmp_path, media, 1))
        project = projects.set_up("7.1", "abc", None)
        count = projects.training.export(backend.pictures, project, 7, tmp_path / "data")
    assert count == 2
    labels = np.array(Image.open(tmp_path / "data" / "labels" / "1.png"))
    assert labels.dtype == np.uint16 and ((labels > 0) == masks.any(axis=0)).all()
    assert (np.array(Image.open(tmp_path / "data" / "labels" / "2.png")) > 0).sum() == masks[
        0
    ].sum()
    picture = np.array(Image.open(tmp_path / "data" / "images" / "1.png"))
    assert (picture == np.array(Image.open(COINS).convert("RGB"))).all()


@pytest.mark.slow
def test_training_serves_the_new_model(client, backend, annotated, tmp_path):
    with label_studio(annotated[0]) as server:
        media = Media(server.address)
        backend.tools["label-studio"] = Projects(media, Training(tmp_path / "trained", media, 2))
        set_up(client)
        event = {"action": "START_TRAINING", "project": {"id": 7, "title": "Coins"}}
        begun = client.post("/webhook", json=event)
        assert begun.status_code == 201, begun.text
        job = begun.json()["job"]
        assert client.post("/webhook", json=event).status_code == 409

        def ended():
            state = client.post("/job_status", json={"job": job}).json()["job_status"]
            return state if state == "done" or state.startswith("failed") else None

        assert until(ended, 300) == "done", (tmp_path / "trained" / job / "log.txt").read_text()
        answer = ask(client, [key_point(*CLICK)], image=UPLOAD)
        assert answer.json()["model_version"] == f"sam_mlx {job}"
        assert masks_of(answer)[0].any()
        assert client.get("/versions").json()["versions"] == ["sam_mlx nano", f"sam_mlx {job}"]
        other = ask(client, [key_point(*CLICK)], image=DATA, project="8.1")
        assert other.json()["model_version"] == "sam_mlx nano"


def test_a_training_that_fails_says_why(client, backend, tmp_path):
    with label_studio({"/api/projects/7/export?exportType=JSON": b"[]"}) as server:
        media = Media(server.address)
        training = Training(tmp_path, media, 1)
        backend.tools["label-studio"] = Projects(media, training)
        set_up(client)
        event = {"action": "START_TRAINING", "project": {"id": 7}}
        job = client.post("/webhook", json=event).json()["job"]
        state = until(lambda: (s := training.status(job)).startswith("failed") and s)
        assert "no annotated masks" in state
    with pytest.raises(Refusal):
        training.export(backend.pictures, backend.tools["label-studio"].get("7"), 7, tmp_path / "d")
