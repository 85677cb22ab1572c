"""Who may ask the server, and what it survives: tokens, hosts, fuzzed bodies, large pictures."""

import asyncio
import base64
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.support.serve import CLICK, COINS, coins, serving  # isort: skip  it skips all where it must

from sam_mlx.serve.application import application
from sam_mlx.serve.tools import TOOLS, document
from sam_mlx.web.store import Content, Store
from tests.support.web import bomb, png

TOKEN = "t0ken-t0ken"
HOST = {"host": "192.168.0.9:8000"}


def status(backend, path="/health", headers=None, host="0.0.0.0", token=TOKEN):
    with TestClient(application(backend, TOOLS, host, token), base_url="http://x") as client:
        return client.get(path, headers=HOST | (headers or {})).status_code


def basic(password):
    return {"authorization": "Basic " + base64.b64encode(f"user:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "headers",
    [{"token": TOKEN}, {"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Token {TOKEN}"},
     basic(TOKEN)],
)  # fmt: skip
def test_the_token_in_every_place(backend, headers):
    assert status(backend, headers=headers) == 200


def test_the_token_in_the_address(backend):
    assert status(backend, f"/health?token={TOKEN}") == 200
    assert status(backend, f"/token/{TOKEN}/health") == 200
    assert status(backend, f"/token/{TOKEN}/sam/version/") == 200
    assert status(backend, f"/token/{TOKEN}/nothing") == 404


@pytest.mark.parametrize(
    "headers",
    [{}, {"token": "wrong"}, {"token": ""}, {"authorization": "Bearer wrong"}, basic("wrong"),
     {"authorization": "Basic ?"}, {"authorization": "Basic"}, {"token": b"\xe9"},
     {"cookie": f"sam_mlx_80={TOKEN}"}],
)  # fmt: skip
def test_wrong_tokens(backend, headers):
    for path in ("/health", "/token/wrong/health", f"/token/{TOKEN}", "/health?token=wrong", "/x"):
        assert status(backend, path, headers) == 403, path


def test_foreign_hosts_and_origins(backend):
    good = {"token": TOKEN}
    assert status(backend, headers=good | {"host": "evil.example"}) == 403
    assert status(backend, headers=good | {"origin": "http://evil.example"}) == 403
    local = {"host": "127.0.0.1", "token": None}
    assert status(backend, headers={"host": "localhost:8000"}, **local) == 200
    assert status(backend, headers={"host": "evil.example"}, **local) == 403
    foreign = {"host": "localhost:8000", "origin": "http://localhost:3000"}
    assert status(backend, headers=foreign, **local) == 403


from hypothesis import given

from tests.support.fuzz import from_document, of_each, requests

SCHEMA = from_document(document())
ENDPOINTS = [endpoint for tool in TOOLS for endpoint in tool.endpoints]


def asked(endpoint):
    name = endpoint.handler.__name__
    return pytest.param(endpoint, id=name, marks=[pytest.mark.slow] if name == "everything" else [])


@pytest.mark.parametrize("endpoint", [asked(e) for e in ENDPOINTS])
def test_no_request_is_too_much(client, endpoint):
    """Bodies that schemathesis makes by the document, and against it; half with a real picture."""
    count = 0

    @of_each(25)
    @given(requests(SCHEMA, endpoint))
    def ask(case):
        nonlocal count
        count += 1
        body = case.body if isinstance(case.body, (dict, list, str, int, float)) else None
        if count % 2 and isinstance(body, dict):
            body |= {k: coins() for k in ("picture", "image", "b64img") if k in body}
            body |= (
                {"points_per_side": 2} if "b64img" in body and "point_coords" not in body else {}
            )
            body.pop("crop_n_layers", None)
        path = case.formatted_path if "{" not in case.formatted_path else "/v1/pictures/x"
        given = {"content": body} if isinstance(body, str) else {"json": body}
        answer = client.request(endpoint.method, path, params=plain(case.query), **given)
        assert answer.status_code not in (500, 502), answer.text
        if answer.status_code >= 400:
            assert len(answer.text) < 1000

    ask()


def plain(query):
    return {k: str(v) for k, v in (query or {}).items()}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"image": 5}', b"[" * 100_000,
     b'{"a": 1e999}', b'{"points": NaN}', b'{"tasks": [[]]}', b'{"b64img": {}}'],
)  # fmt: skip
def test_bodies_that_are_none_of_a_tool(client, body):
    for endpoint in ENDPOINTS:
        if isinstance(endpoint.body, dict):
            answer = client.request(endpoint.method, endpoint.path, content=body)
            assert answer.status_code < 500, (endpoint.path, answer.text)


# A picture's place in what each tool sends.
WITH_PICTURE = {
    "/v1/segment": lambda text: {"picture": text, "points": [CLICK], "labels": [1]},
    "/v1/everything": lambda text: {"picture": text},
    "/v1/predict": lambda text: {"model": "nano", "image": text, "params": {"marks": []}},
    "/sam/": lambda text: {"b64img": text, "type": "vit_t", "bbox": [1, 1, 5, 5]},
    "/sam/automask/": lambda text: {"b64img": text, "type": "vit_t"},
    "/predict": lambda text: {
        "tasks": [{"data": {"i": f"data:image/png;base64,{text}"}}], "label_config":
        '<View><Image name="x" value="$i"/><BrushLabels name="b" toName="x"/></View>',
    },
}  # fmt: skip


@pytest.mark.parametrize("path", WITH_PICTURE)
@pytest.mark.parametrize("size", [(8000, 7000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_before_their_pixels_are_made(client, backend, monkeypatch, path, size):
    """A file of a few bytes that claims to be a huge picture, in every tool's body."""
    monkeypatch.setattr(Image.Image, "load", None)  # what makes pixels
    text = base64.b64encode(bomb(*size)).decode()
    answer = client.post(path, json=WITH_PICTURE[path](text))
    assert answer.status_code in (413, 415) and "make it smaller" in answer.text, answer.text
    assert list(backend.pictures.store.folder.iterdir()) == []


def test_a_picture_is_known_by_its_hash_before_it_is_opened(client, backend, monkeypatch):
    """Whichever tool sends it: its file is opened and decoded once."""
    opened, pixels = [], []
    keep, make = Store.of_bytes, Content.pixels
    monkeypatch.setattr(Store, "of_bytes", lambda *a: opened.append(1) or keep(*a))
    monkeypatch.setattr(Content, "pixels", lambda *a: pixels.append(1) or make(*a))
    marks = {"params": {"marks": [{"type": "point", "data": CLICK, "label": 1}]}}
    for path in ("/v1/segment", "/v1/predict", "/sam/", "/v1/segment"):
        body = WITH_PICTURE[path](coins()) | (marks if path == "/v1/predict" else {})
        assert client.post(path, json=body).status_code == 200
    assert len(opened) == len(pixels) == 1
    assert len(backend.model().embeddings._kept) == 1


@pytest.mark.slow
def test_a_large_picture_with_every_click_stops_nobody(backend):
    """One client sends new pictures of 24 megapixels; others click on one that is known."""
    random = np.random.default_rng(0)
    large = random.integers(0, 256, (40, 60, 3)).astype(np.uint8).repeat(100, 0).repeat(100, 1)
    stop, errors = threading.Event(), []
    ask = {"points": [CLICK], "labels": [1], "format": "coco"}

    with serving(backend) as address:

        def send():
            with httpx.Client(base_url=address, timeout=120) as client:
                for i in range(100):
                    if stop.is_set():
                        return
                    large[i] = i
                    picture = base64.b64encode(png(large, "JPEG")).decode()
                    answer = client.post("/v1/segment", json=ask | {"picture": picture})
                    if answer.status_code != 200:
                        errors.append(answer.text)

        thread = threading.Thread(target=send)
        with httpx.Client(base_url=address, timeout=120) as client:
            key = client.post("/v1/pictures", content=COINS.read_bytes()).json()["picture"]
            client.post("/v1/segment", json=ask | {"picture": key})
            thread.start()
            taken, end = [], time.monotonic() + 4
            while time.monotonic() < end or len(taken) < 10:
                start = time.monotonic()
                answer = client.post("/v1/segment", json=ask | {"picture": key})
                assert answer.status_code == 200, answer.text
                taken.append(time.monotonic() - start)
            stop.set()
        thread.join(120)
    assert errors == []
    assert len(taken) >= 10


def test_clicks_of_others_do_not_hold_up_a_new_picture(backend):
    """However many wait: each that is answered is followed by the next."""
    model = backend.model()
    content = backend.pictures.of_file(png(np.full((30, 40), 7)))
    stop = threading.Event()

    def click():
        time.sleep(0.005)
        if not stop.is_set():
            backend.queue.submit(click, f"client {threading.get_ident()} {time.monotonic()}")

    for i in range(20):
        backend.queue.submit(click, f"client {i}")
    try:
        assert backend.encode(model, content).future.result(60).key == content.key
    finally:
        stop.set()


def test_a_client_that_leaves_is_forgotten(backend, monkeypatch):
    """A picture on its way for nobody is not encoded."""
    begun, go_on = threading.Event(), threading.Event()
    pixels = Content.pixels

    def slow(self):
        begun.set()
        go_on.wait(30)
        return pixels(self)

    monkeypatch.setattr(Content, "pixels", slow)
    model, content = backend.model(), backend.pictures.of_text(coins())
    share, other = backend.encode(model, content), backend.encode(model, content)
    assert share.future is other.future
    begun.wait(30)
    share.drop()
    assert not share.work.stopped.is_set()  # somebody else waits
    other.drop()
    go_on.set()
    with pytest.raises(Exception):  # noqa: B017, PT011
        other.future.result(30)
    assert content.key not in model.embeddings


def test_the_memory_of_models_is_shared(nano):
    from sam_mlx.machine.budget import budget
    from sam_mlx.serve.backend import Backend

    backend = Backend({"a": nano, "b": nano})
    most = [model.embeddings.max_bytes for model in backend.models.values()]
    assert sum(most) <= budget().embedding_bytes
    backend.add_model("c", nano, "c")
    assert [m.embeddings.max_bytes for m in backend.models.values()] == [
        budget().embedding_bytes // 3
    ] * 3
    backend.close()


def test_many_at_once(live):
    async def run():
        async with httpx.AsyncClient(base_url=live, timeout=120) as client:
            bodies = [
                {"picture": coins(), "points": [[5 * i, 100]], "labels": [1]} for i in range(40)
            ]
            return await asyncio.gather(*(client.post("/v1/segment", json=b) for b in bodies))

    assert [answer.status_code for answer in asyncio.run(run())] == [200] * 40
