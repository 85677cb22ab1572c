"""What is sent: pictures and session files, whole, cut off, wrong, and made to hurt."""

import io
import json
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS, Page, bomb, png  # isort: skip  first: it skips all where it must

from sam_mlx import masks as M
from sam_mlx.web import archive, validate
from sam_mlx.web.names import clean_name


def refused(answer, status, words):
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"], answer.text


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_pictures_are_known_by_their_content(page, form):
    added = page.add(png(np.zeros((12, 9, 3)), form), "text.txt")
    assert added.status_code == 201, added.text
    assert (added.json()["width"], added.json()["height"]) == (9, 12)


def eps():
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "EPS")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 400, "no body"),
        (b"GIF89a", 415, "cannot read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no format that Pillow knows"),
        (b"<html><script>alert(1)</script>", 415, "no format"),
        (b"\x7fELF" + bytes(100), 415, "no format"),
        (COINS.read_bytes()[:20], 415, "cannot read"),
    ],
)
def test_what_is_not_a_picture_is_refused(page, data, status, words):
    refused(page.add(data, "picture.png"), status, words)


def test_what_would_start_another_program_is_refused(page):
    refused(page.add(eps()), 415, "the file is EPS; expected AVIF, BMP")


@pytest.mark.parametrize("size", [(8000, 7000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_its_pixels_are_made(page, size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)  # what makes pixels
    answer = page.add(bomb(*size))
    assert answer.status_code in (413, 415)
    assert "make it smaller" in answer.json()["error"], answer.text


def test_a_picture_that_is_cut_off_says_so_where_it_is_decoded(page):
    data = COINS.read_bytes()
    added = page.add(data[: len(data) // 2])
    assert added.status_code == 201
    page.picture = f"{page.session}/pictures/{added.json()['id']}"
    refused(page.client.get(f"{page.picture}/image"), 415, "cannot read")
    page.client.post(f"{page.picture}/encode")
    while (found := page.client.get(page.picture).json())["encoding"]:
        pass
    assert not found["ready"] and "cannot read" in found["error"]


def test_uploads_are_bounded_while_they_come(page, server):
    server.store.max_bytes = 1000
    refused(page.add(bytes(1001)), 413, "more than 1000 bytes")

    answer = page.client.post(f"{page.session}/pictures", content=iter([bytes(600)] * 2))
    refused(answer, 413, "more than 1000 bytes")  # of which no length was declared
    assert not list(server.store.folder.iterdir())


def test_json_is_bounded(page):
    answer = page.client.post(f"{page.picture}/predict", content=b" " * (17 << 20))
    refused(answer, 413, "more than")


def test_the_store_is_bounded_and_emptied(page, server):
    data = png(np.random.default_rng(0).integers(0, 255, (40, 40, 3)))
    first = page.add(data).json()["id"]
    assert len(list(server.store.folder.iterdir())) == 1
    assert page.add(data).status_code == 201  # the same again: kept once
    assert len(list(server.store.folder.iterdir())) == 1
    server.store.room = len(data)
    refused(page.add(png(np.zeros((40, 40, 3)))), 413, "no room")
    for name in (first, "p3"):
        assert page.client.delete(f"{page.session}/pictures/{name}").status_code == 204
    other = png(np.zeros((40, 40, 3)))  # for which removed ones make room, if nobody restores them
    assert page.client.post(f"{page.session}/pictures/p3/restore").status_code == 200
    refused(page.add(other), 413, "no room")
    assert page.client.delete(f"{page.session}/pictures/p3").status_code == 204
    assert page.add(other).status_code == 201
    assert [path.read_bytes() for path in server.store.folder.iterdir()] == [other]
    assert page.client.post(f"{page.session}/pictures/p3/restore").status_code == 404
    page.client.delete(page.session)
    assert not list(server.store.folder.iterdir())


@pytest.fixture
def full_disk():
    """No file of this process may be longer than 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_leaves_nothing(page, server, full_disk):
    data = png(np.random.default_rng(0).integers(0, 255, (40, 40, 3)))
    refused(page.add(data), 507, "disk has no room")
    refused(page.client.post("/api/sessions/file", content=data), 507, "disk has no room")
    assert not list(server.store.folder.iterdir())
    path = [[x, 30 + (x * 37) % 180] for x in range(0, 250, 5)]
    edits = [{"erase": False, "radius": 2, "path": path}]
    page.client.post(f"{page.picture}/objects", json={"edits": edits})
    refused(page.export("geojson"), 507, "disk has no room")
    assert page.client.get(page.session).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\x\\y.png", "y.png"), ("a\0\r\nb", "ab"),
        ("..", "picture"), (None, "picture"), ("\u202egnp.exe", "gnp.exe"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ('a<b>"|?*.png', 'a<b>"|?*.png'), (".hidden.png", ".hidden.png"), (". .", "picture"),
        ("\U0001f469\u200d\U0001f52c.png", "\U0001f469\u200d\U0001f52c.png"),
        ("a\udcff.png", "a\ufffd.png"), ("\U0001f469" * 100, "\U0001f469" * 63),
    ],
)  # fmt: skip
def test_names_are_no_paths(given, kept):
    assert clean_name(given) == kept


# Session files.


def test_a_session_file_brings_all_back(page):
    masks = page.ready().automatic()
    page.click(name="coin", colour="#abcdef")
    page.click(
        box=[10, 10, 60, 60], hidden=True, multimask=True, choice=1,
        edits=[{"erase": False, "radius": 3, "path": [[5, 5], [9, 9]]}],
    )  # fmt: skip
    page.client.post(f"{page.picture}/objects", json={"automatic": masks[2]["id"]})
    page.add(png(np.zeros((9, 9, 3))), "black.png")
    saved = page.client.get(f"{page.session}/file")
    assert "session.sam-mlx.zip" in saved.headers["content-disposition"]
    opened = page.client.post("/api/sessions/file", content=saved.content)
    assert opened.status_code == 201
    before = page.client.get(page.session).json()
    at = f"/api/sessions/{opened.json()['session']}"
    after = page.client.get(at).json()
    assert after["pictures"] == before["pictures"]
    state = {"automatic": None, "points": [[138, 53]], "labels": [1]}
    page.client.put(f"{at}/pictures/p1/objects/o3", json=state)
    state = {"automatic": masks[2]["id"], "points": [], "labels": []}
    undone = page.client.put(f"{at}/pictures/p1/objects/o3", json=state).json()
    assert undone["mask"] == masks[2]["mask"]


def test_session_files_of_the_first_format_are_read(page):
    """first_session.json was written when the field ``automatic`` had another name."""
    text = (Path(__file__).parent / "first_session.json").read_bytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("session.json", text)
        archive.writestr("pictures/0", COINS.read_bytes())
    answer = page.client.post("/api/sessions/file", content=file.getvalue())
    assert answer.status_code == 201, answer.text
    page.picture = f"/api/sessions/{answer.json()['session']}/pictures/p1"
    objects = page.client.get(page.picture).json()["objects"]
    saved = json.loads(text)["pictures"][0]["objects"]
    assert [found["automatic"] for found in objects] == [None, None, "8-1-2", None]
    for found, before in zip(objects, saved, strict=True):
        same = found.keys() & before.keys() - {"mask"}
        assert len(same) > 10 and all(found[name] == before[name] for name in same)
        np.testing.assert_array_equal(*M.decode_rle([found["mask"], before["mask"]]))
    taken = page.ready().automatic()[2]  # of the same model and picture, so the same mask
    assert objects[2]["mask"] == taken["mask"] and taken["id"] == "8-2-2"


def test_searches_of_an_opened_session_do_not_take_the_ids_that_its_objects_have(page):
    masks = page.ready().automatic()
    page.client.post(f"{page.picture}/objects", json={"automatic": masks[2]["id"]})
    saved = page.client.get(f"{page.session}/file").content
    opened = page.client.post("/api/sessions/file", content=saved).json()["session"]
    page.picture = f"/api/sessions/{opened}/pictures/p1"
    again = page.ready().automatic()
    assert {mask["id"] for mask in again}.isdisjoint(mask["id"] for mask in masks)


def altered(page, change=None, **entries):
    """A session file with something else in it."""
    page.ready().click()
    source = zipfile.ZipFile(io.BytesIO(page.client.get(f"{page.session}/file").content))
    found = {name: source.read(name) for name in source.namelist()}
    if change:
        saved = json.loads(found["session.json"])
        change(saved)
        found["session.json"] = json.dumps(saved).encode()
    found.update({name.replace("__", "/"): data for name, data in entries.items()})
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in found.items():
            if data is not None:
                new.writestr(name, data)
    return page.client.post("/api/sessions/file", content=target.getvalue())


def of_object(**values):
    return lambda saved: saved["pictures"][0]["objects"][0].update(values)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda s: s.update(format="sam_mlx.web 9"), 400, "a newer sam_mlx may have written it"),
        (lambda s: s.pop("format"), 400, "has format null"),
        (lambda s: s.update(pictures=1), 400, "expected array"),
        (lambda s: s.pop("pictures"), 400, "lacks pictures"),
        (lambda s: s["pictures"].append({"name": "x", "objects": []}), 400, "lacks pictures/1"),
        (of_object(mask={"size": [9, 9], "counts": "1"}), 400, "another size"),
        (of_object(mask={"size": [256, 256], "counts": "1"}), 400, "not a session file"),
        (of_object(mask={"size": [256, 256], "counts": "\u00e9" * 9}), 400, "not a session file"),
        (of_object(mask={"size": [1 << 24] * 2, "counts": "1"}), 400, "another size"),
        (of_object(mask={"size": [256], "counts": "1"}), 400, "another size"),
        (of_object(colour="#zzzzzz"), 400, "colour"),
        (of_object(labels=[]), 400, "labels"),
        (of_object(box=[3, 3, 1, 1]), 400, "box"),
        (of_object(automatic="../x"), 400, "automatic mask"),
        (lambda s: s["pictures"][0].update(value_range=[1]), 400, "has 1 entries"),
        (lambda s: s["pictures"][0].update(value_range=[5, 5]), 400, "not a session file"),
        (of_object(path="/etc/passwd"), 400, "has \"path\""),
        (of_object(edits=[{"erase": True, "radius": -1, "path": [[1, 1]]}]), 400, "radius"),
    ],
)  # fmt: skip
def test_a_malformed_session_file_is_refused(page, change, status, words):
    refused(altered(page, change), status, words)


def test_entries_of_a_session_file(page, server):
    refused(altered(page, **{"session.json": None}), 400, "lacks session.json")
    refused(altered(page, **{"session.json": b"{"}), 400, "session.json is not JSON")
    refused(altered(page, pictures__0=None), 400, "lacks pictures/0")
    refused(altered(page, pictures__0=b"no picture"), 415, "cannot read")
    refused(altered(page, pictures__0=bomb(100_000, 100_000)), 415, "smaller")
    assert altered(page, **{"../../evil": b"x", "/etc/evil": b"x"}).status_code == 201
    server.store.max_bytes = 200_000
    refused(altered(page, pictures__0=bytes(10_000_000)), 413, "pictures/0")  # a bomb of zip's


def test_what_is_not_a_zip(page):
    whole = page.client.get(f"{page.session}/file").content
    for data in (b"PK\x03\x04", b"x" * 100, whole[:-30], whole[: len(whole) // 2]):
        refused(page.client.post("/api/sessions/file", content=data), 400, "session file")
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            damaged[at] = rng.integers(256)
        answer = page.client.post("/api/sessions/file", content=bytes(damaged))
        assert answer.status_code < 500, answer.text


def test_a_json_bomb_in_a_session_file(page, monkeypatch):
    monkeypatch.setattr(archive, "MAX_JSON_BYTES", 1000)
    refused(altered(page, **{"session.json": b" " * 100_000}), 413, "session.json")


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (b'{"format": "sam_mlx.web 4", "pictures": [' + b"[]," * 3_000_000 + b"0]}", 413, "values"),
        (b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested more than 32 deep"),
        (b'{"a": "' + b'\\"[[' * 50_000 + b'", "b": ' + b'{"c":' * 50_000, 400, "nested"),
    ],
    ids=["values", "depth", "depth after text"],
)  # fmt: skip
def test_json_is_bounded_before_it_is_built(page, text, status, words, monkeypatch):
    assert len(text) > validate.SMALL
    loads = json.loads

    def small(text, **options):
        assert len(text) < validate.SMALL, "it was built"
        return loads(text, **options)

    monkeypatch.setattr(json, "loads", small)
    refused(altered(page, **{"session.json": text}), status, words)


def test_brackets_in_text_are_not_depth():
    text = json.dumps({"a": '[{"\\' * 20_000, "b": [[["\\"]]], "c": "]" * 70_000})
    assert validate.parse(text.encode()) == json.loads(text)


def test_work_that_is_too_large_for_a_session_file_is_not_written(page, monkeypatch):
    page.ready().click()
    monkeypatch.setattr(archive, "MAX_VALUES", 10)
    refused(page.client.get(f"{page.session}/file"), 413, "stays kept")


def test_sessions_are_bounded_and_the_idle_go_first(client, server, monkeypatch):
    from sam_mlx.web import open_sessions, sessions

    monkeypatch.setattr(open_sessions, "MAX_SESSIONS", 2)
    first, second = Page(client), Page(client)
    refused(client.post("/api/sessions"), 503, "too many sessions")
    assert client.post("/api/sessions").headers["retry-after"] == "1"
    server.sessions.get(first.session.rpartition("/")[2]).used -= 2 * sessions.IDLE_SECONDS
    Page(client)
    assert client.get(first.session).status_code == 404
    assert client.get(second.session).status_code == 200
