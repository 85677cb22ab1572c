"""Pictures that change or vanish while they are served, and names that disks and files dislike."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS, Page, png  # isort: skip  first: it skips all where it must

from starlette.testclient import TestClient

from sam_mlx.web.application import application
from sam_mlx.web.backend import Backend
from sam_mlx.web.names import clean_path, free_name, names_of, stem_of

EDIT = {"erase": False, "radius": 3, "path": [[5, 5]]}
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467.png"
NAMES = [
    "a\nb\x1b[31m.png", "x" * 251 + ".png", FAMILY, ".hidden.png", 'a<b>:"|?*.png', "con.png",
    " .png", "\u202egnp.exe.png", "e\u0301.png", "\u00e9.png", "A.png", "a.png",
    "\U0001f469\u200d\U0001f52c" * 20 + ".png",
]  # fmt: skip


def served(nano, *paths):
    backend = Backend(nano, "nano", list(paths))
    return backend, TestClient(application(backend), base_url="http://127.0.0.1:8000")


def exported(client, session):
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"{session}/export").content))
    assert archive.testzip() is None
    return archive


def test_pictures_of_any_name_are_kept_apart_and_exported_under_names_that_exist(nano, tmp_path):
    made = []
    for name in [*NAMES, os.fsdecode(b"bytes\xff.png")]:
        path = tmp_path / name
        path.write_bytes(png(np.full((9, 9, 3), len(made))))
        made.append(path)
    backend, client = served(nano, *made)
    page = Page(client)
    pictures = client.get(page.session).json()["pictures"]
    names = [picture["name"] for picture in pictures]
    assert len(set(names)) == len(made)
    for number, picture in enumerate(pictures):
        at = f"{page.session}/pictures/{picture['id']}/objects"
        assert client.post(at, json={"edits": [EDIT], "name": str(number)}).status_code == 201
        for name in ("masks", "coco", "labelmap"):
            at = f"{page.session}/pictures/{picture['id']}/export/{name}"
            assert client.get(at).status_code == 200
    archive = exported(client, page.session)
    images = json.loads(archive.read("annotations.json"))["images"]
    assert sorted(image["file_name"] for image in images) == sorted(names)
    real = {path.name for path in made}
    assert len([name for name in names if name in real]) == len(NAMES) - 2
    for entry in archive.namelist():
        assert all(
            len(part.encode()) <= 255 and part.strip(" .") == part for part in entry.split("/")
        )
        assert not any(char in entry for char in '<>:"|?*\\\n')
    assert len([name for name in archive.namelist() if name.endswith("_labels.png")]) == len(made)
    backend.close()


def test_pictures_of_two_folders_with_the_same_names(nano, tmp_path):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "a.png")
        paths[-1].write_bytes(png(np.zeros((9, 9, 3))))
    backend, client = served(nano, *paths)
    page = Page(client)
    for picture in ("p1", "p2"):
        at = f"{page.session}/pictures/{picture}/objects"
        assert client.post(at, json={"edits": [EDIT]}).status_code == 201
    archive = exported(client, page.session)
    images = json.loads(archive.read("annotations.json"))["images"]
    assert [image["file_name"] for image in images] == ["one/a.png", "two/a.png"]
    assert {"one/a_labels.png", "two/a_labels.png"} <= set(archive.namelist())
    added = [page.client.post(f"{page.session}/pictures?name=b.png&folder={folder}",
                              content=png(np.zeros((9, 9, 3)))).json()["name"]
             for folder in ("three", "four", "four", "")]  # fmt: skip
    assert added == ["b.png", "four/b.png", "four/b 2.png", "b 2.png"]
    backend.close()


def test_names():
    assert clean_path("../../etc/passwd") == "etc/passwd" and clean_path("//../") == "picture"
    assert stem_of(".hidden.png") == "hidden" and stem_of("con.png") == "_con"
    assert stem_of("one/a.b.png") == "one/a.b" and stem_of("...") == "picture"
    assert free_name("a.png", "", ["a.png", "a 2.png"]) == "a 3.png"
    assert names_of([]) == []


@pytest.fixture
def copied(nano, tmp_path):
    path = tmp_path / "coins.png"
    path.write_bytes(COINS.read_bytes())
    backend, client = served(nano, path, COINS)
    page = Page(client).ready()
    page.click()
    client.post(f"{page.session}/pictures/p2/objects", json={"edits": [EDIT]})
    yield path, page
    backend.close()


def test_a_picture_that_vanishes_keeps_its_objects_and_the_rest_is_exported(copied):
    path, page = copied
    path.unlink()
    found = page.client.get(page.picture).json()
    assert found["notice"] == "the picture's file is gone" and len(found["objects"]) == 1
    for at in ("image", "thumbnail", "export/cutout"):
        assert page.client.get(f"{page.picture}/{at}").status_code == 404
    assert page.click(name="another")["area"] > 0  # of the embedding that is there
    assert page.export("coco").status_code == 200
    archive = exported(page.client, page.session)
    assert len(json.loads(archive.read("annotations.json"))["annotations"]) == 3
    assert "the picture's file is gone" in archive.read("left out.txt").decode()
    saved = page.client.get(f"{page.session}/file")
    opened = page.client.post("/api/sessions/file", content=saved.content).json()["session"]
    pictures = page.client.get(f"/api/sessions/{opened}").json()["pictures"]
    assert [len(picture["objects"]) for picture in pictures] == [2, 1]
    assert page.client.get(f"/api/sessions/{opened}/pictures/p1/image").status_code == 404


def test_a_picture_that_changes_to_another_size_is_refused_with_a_sentence(copied):
    path, page = copied
    path.write_bytes(png(np.zeros((40, 30, 3))))
    assert "changed on disk" in page.client.get(page.picture).json()["notice"]
    for at in ("image", "export/cutout"):
        answer = page.client.get(f"{page.picture}/{at}")
        assert answer.status_code == 415 and "30 x 40 pixels instead of" in answer.json()["error"]
    assert page.export("labelmap").status_code == 200
    archive = exported(page.client, page.session)
    assert "30 x 40" in archive.read("left out.txt").decode()
    page.client.post(f"{page.picture}/encode")
    while (found := page.client.get(page.picture).json())["encoding"]:
        pass
    assert not found["ready"] and "30 x 40" in found["error"]


def test_a_picture_that_changes_at_the_same_size_is_encoded_again(copied):
    path, page = copied
    before = page.predict().json()
    flipped = np.asarray(Image.open(COINS).convert("RGB"))[::-1]
    path.write_bytes(png(flipped))
    assert "changed on disk" in page.client.get(page.picture).json()["notice"]
    after = page.ready().predict().json()
    assert after["masks"] != before["masks"]
