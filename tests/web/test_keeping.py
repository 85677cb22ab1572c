"""Work on disk: written after every change, and there again after any end of the server."""

import io
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.web import CLICK, COINS, Page, png  # isort: skip  first: it skips all where it must

from starlette.testclient import TestClient

from sam_mlx.web import keeping, open_sessions, sessions
from sam_mlx.web.application import TROUBLE, application
from sam_mlx.web.backend import Backend
from sam_mlx.web.keeping import Keeper
from sam_mlx.web.kept_files import session_in
from sam_mlx.web.store import Store

EDIT = {"erase": False, "radius": 3, "path": [[5, 5], [9, 9]]}
CLASS = {"id": 3, "name": "coin", "colour": "#abcdef"}


@pytest.fixture
def start(nano, tmp_path):
    """Starts servers one after another, with the same data folder."""
    running = []

    def start(pictures=(COINS,), **options):
        if running:
            running.pop().close()
        running.append(Backend(nano, "nano", list(pictures), folder=tmp_path / "data", **options))
        client = TestClient(application(running[0]), base_url="http://127.0.0.1:8000")
        client.backend = running[0]
        return client

    yield start
    for server in running:
        server.close()


def again(client, page):
    """The same page at another server."""
    page.client = client
    return page


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_all_work_is_there_again_after_the_server_ends(start, tmp_path):
    page = Page(start()).ready()
    page.client.put(f"{page.session}/classes", json={"classes": [CLASS]})
    page.click(name="one", colour="#123456", hidden=True, category=3, edits=[EDIT])
    masks = page.automatic()
    page.client.post(f"{page.picture}/objects", json={"automatic": masks[2]["id"]})
    page.client.delete(f"{page.picture}/objects/o1")
    page.click(box=[10, 10, 60, 60], multimask=True, choice=1)
    added = page.add(png(np.arange(300).reshape(10, 10, 3)), "small.png").json()
    small = f"{page.session}/pictures/{added['id']}"
    page.client.post(f"{small}/objects", json={"edits": [EDIT]})
    before = page.client.get(page.session).json()
    image = page.client.get(f"{small}/image").content

    page = again(start(), page)
    after = page.client.get(page.session).json()
    assert [p.pop("ready") for p in before["pictures"]] == [True, False]
    assert [p.pop("ready") for p in after["pictures"]] == [False, False]
    assert after == before
    assert page.client.get(f"{small}/image").content == image
    # What was there goes on: new objects get other ids, masks are the same, undo is possible.
    assert page.ready().click()["id"] not in {o["id"] for o in before["pictures"][0]["objects"]}
    state = {"automatic": masks[2]["id"], "points": [], "labels": []}
    page.client.put(f"{page.picture}/objects/o2", json=CLICK)
    assert (
        page.client.put(f"{page.picture}/objects/o2", json=state).json()["mask"] == masks[2]["mask"]
    )


@pytest.mark.parametrize("change", ["classes", "pictures/p1"])
def test_what_is_said_of_pictures_without_objects_is_kept_too(start, change):
    """Classes before the first object, and pictures with nothing to label."""
    page, given = Page(start()), {"classes": [CLASS]} if change == "classes" else {"done": True}
    assert page.client.put(f"{page.session}/{change}", json=given).status_code == 200
    before = page.client.get(page.session).json()
    assert again(start(), page).client.get(page.session).json() == before


def test_a_change_is_on_disk_when_it_is_answered(start, tmp_path, monkeypatch):
    page = Page(start()).ready()
    path = tmp_path / "data" / f"{page.session.rpartition('/')[2]}.json"
    assert not path.exists()  # without work there is nothing to keep
    for change in (
        lambda: page.click(name="one"),
        lambda: page.client.put(f"{page.picture}/objects/o1", json={"name": "two"}),
        lambda: page.add(png(np.zeros((9, 9, 3))), "small.png"),
        lambda: page.client.put(f"{page.picture}/objects", json={"removed": ["o1"]}),
        lambda: page.client.delete(f"{page.session}/pictures/p2"),
    ):
        before = path.read_text() if path.exists() else None
        change()
        assert path.read_text() != before
        head, *pictures = map(json.loads, path.read_text().splitlines())
        shown = page.client.get(page.session).json()
        assert head["revision"] == shown["revision"]
        names = [[o["name"] for o in p["objects"]] for p in shown["pictures"]]
        assert [[o["name"] for o in p["objects"]] for p in pictures] == names


def test_a_page_on_this_machine_is_told_where_its_work_is(start, tmp_path):
    app = start().app
    for host, is_told in (("127.0.0.1", True), ("::1", True), ("192.168.1.9", False)):

        async def from_host(scope, receive, send, host=host):
            await app({**scope, "client": (host, 5)}, receive, send)

        client = TestClient(from_host, base_url="http://127.0.0.1:8000")
        told = client.post("/api/sessions").json()
        place = str(tmp_path / "data" / f"{told['session']}.json")
        assert told["file"] == (place if is_told else None)


def test_files_are_the_users_own(start, tmp_path):
    page = Page(start()).ready()
    page.click()
    page.add(png(np.zeros((9, 9, 3))))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    kept = page.session.rpartition("/")[2]
    inside = [name for name in files(tmp_path / "data") if not name.endswith(".lock")]
    assert inside[0] == f"{kept}.json" and inside[1].startswith(f"{kept}.json.pictures/")
    assert len(inside) == 2
    page.client.delete(page.session)
    assert files(tmp_path / "data") == []


def test_earlier_work_is_offered_and_gone_on_with(start, tmp_path):
    page = Page(start()).ready()
    page.click()
    assert [one["open"] for one in page.client.get("/api/sessions").json()["sessions"]] == [True]
    page.client.post(f"{page.session}/leave")
    (one,) = page.client.get("/api/sessions").json()["sessions"]
    assert not one["open"]

    other = tmp_path / "other.png"
    other.write_bytes(png(np.zeros((9, 9, 3))))
    client = start([COINS, other])
    Page(client)  # has no work, so it is not offered
    (one,) = client.get("/api/sessions").json()["sessions"]
    assert (one["objects"], one["pictures"], one["names"]) == (1, 1, ["coins.png"])
    assert one["related"] and not one["open"]
    resumed = client.post(f"/api/sessions/{one['session']}/resume").json()
    assert f"/api/sessions/{resumed['session']}" == page.session
    found = client.get(page.session).json()["pictures"]
    assert [p["name"] for p in found] == ["coins.png", "other.png"]  # the new one comes along
    assert [len(p["objects"]) for p in found] == [1, 0]

    (one,) = start([other]).get("/api/sessions").json()["sessions"]
    assert one["related"]  # it has this picture by now
    third = tmp_path / "third.png"
    third.write_bytes(png(np.zeros((9, 9, 3))))
    (one,) = start([third]).get("/api/sessions").json()["sessions"]
    assert not one["related"]
    (one,) = start([COINS], is_default=True).get("/api/sessions").json()["sessions"]
    assert one["related"]


def test_a_picture_that_was_removed_does_not_come_back(start, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(png(np.zeros((9, 9, 3))))
    page = Page(start([COINS, other])).ready()
    page.click()
    page.client.delete(f"{page.session}/pictures/p2")
    page = again(start([COINS, other]), page)
    assert [p["id"] for p in page.client.get(page.session).json()["pictures"]] == ["p1"]


def test_a_removed_picture_is_restored_with_its_objects_at_its_place(start):
    page = Page(start()).ready()
    page.add(png(np.zeros((9, 9, 3))), "small.png")
    added = page.click()
    page.client.delete(page.picture)
    assert page.client.get(page.picture).status_code == 404
    assert page.client.post(f"{page.picture}/restore").json()["objects"] == [added]
    shown = page.client.get(page.session).json()["pictures"]
    assert [p["id"] for p in shown] == ["p1", "p2"]
    assert page.client.post(f"{page.picture}/restore").status_code == 404


def test_the_users_file(start, tmp_path):
    file = tmp_path / "work.json"
    page = Page(start(file=file)).ready()
    page.click()
    other = Page(page.client)
    assert other.session == page.session  # of all pages
    assert file.is_file() and not (tmp_path / "data").exists()
    assert page.client.get("/api/sessions").json()["sessions"] == []
    assert page.client.delete(page.session).status_code == 409
    page = Page(start(file=file))
    assert page.session == other.session
    assert len(page.client.get(page.picture).json()["objects"]) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "sam_mlx.web.kept 99"}', "PK\x03\x04"]
)
def test_a_users_file_of_another_kind_is_refused_and_stays(start, tmp_path, text):
    file = tmp_path / "work.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="not a file that --session wrote"):
        start(file=file)
    assert file.read_text() == text
    with pytest.raises(FileNotFoundError, match="no such folder"):
        start(file=tmp_path / "missing" / "work.json")


def test_two_servers_do_not_write_one_session(start, nano, tmp_path):
    file = tmp_path / "work.json"
    page = Page(start(file=file)).ready()
    page.click()
    with pytest.raises(OSError, match="in use by another sam-mlx web"):
        Backend(nano, "nano", [COINS], folder=tmp_path / "data", file=file)
    page = Page(start()).ready()
    page.click()
    second = Backend(nano, "nano", [COINS], folder=tmp_path / "data")
    with TestClient(application(second), base_url="http://127.0.0.1:8000") as client:
        assert client.get("/api/sessions").json()["sessions"] == []
        answer = client.get(page.session)
        assert answer.status_code == 409 and "in use" in answer.json()["error"]
    second.close()
    assert page.client.get(page.session).status_code == 200


def test_a_full_disk_is_said_and_the_work_written_once_there_is_room(start, monkeypatch):
    page = Page(start()).ready()
    page.click(name="one")

    def full(name, text):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "write_text", full)
        answer = page.client.put(
            f"{page.picture}/objects", json={"objects": [{"id": "a", **CLICK}]}
        )
        assert answer.status_code == 200 and len(answer.json()["objects"]) == 1
        assert "No%20space%20left" in answer.headers[TROUBLE]
        assert "No%20space" in page.client.get(f"{page.session}/changes").headers[TROUBLE]
        page.client.post(f"{page.session}/leave")
        assert page.export("coco").status_code == 200
    assert TROUBLE not in page.client.get(f"{page.session}/changes").headers
    page = again(start(), page)
    assert len(page.client.get(page.picture).json()["objects"]) == 2


@pytest.mark.parametrize("line", [0, 1])
def test_a_damaged_file_is_not_opened_and_stays(start, tmp_path, line):
    page = Page(start()).ready()
    page.click()
    (path,) = (tmp_path / "data").glob("*.json")
    client = start()
    lines = path.read_text().splitlines()
    lines[line] = lines[line][: len(lines[line]) // 2]
    path.write_text("\n".join(lines))
    assert client.get(page.session).status_code == 400
    assert path.read_text() == "\n".join(lines)


def test_ids_that_are_not_ours_lead_nowhere(start, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    client = start()
    for name in ("..%2fsecret", "%2e%2e%2fsecret", "a" * 300, "x"):
        assert client.get(f"/api/sessions/{name}").status_code == 404


# What is written.


@pytest.fixture
def written(monkeypatch):
    """The lengths of what is written; sessions of more than 4000 bytes are large."""
    lengths, write = [], keeping.write_text

    def counted(name, text):
        lengths.append(len(text))
        write(name, text)

    monkeypatch.setattr(keeping, "write_text", counted)
    monkeypatch.setattr(keeping, "MAX_WHOLE", 4000)
    return lengths


def work_in(folder, name):
    """What a session's files hold."""
    store = Store()
    session = session_in(folder / f"{name}.json", store)
    found = session.revision, session.classes, [
        (p.id, p.name, p.done, [o.save() for o in p.objects.values()])
        for p in session.pictures.values()
    ]  # fmt: skip
    store.close()
    return found


def test_only_pictures_that_have_changed_are_written(start, tmp_path, written):
    page = Page(start()).ready()
    page.add(png(np.zeros((9, 9, 3))), "small.png")
    small = f"{page.session}/pictures/p2"
    objects = [{"id": f"a{i}", "edits": [EDIT]} for i in range(40)]
    page.client.put(f"{page.picture}/objects", json={"objects": objects})
    (path,) = (tmp_path / "data").glob("*.json")
    whole = path.stat().st_size
    assert written[-1] == whole > 10_000
    del written[:]
    for i in range(30):
        page.client.put(f"{small}/objects", json={"objects": [{"id": "b", "name": str(i)}]})
        page.client.put(f"{page.session}/classes", json={"classes": [CLASS | {"name": f"c{i}"}]})
    assert len(written) == 60 and max(written) < 2000 and path.stat().st_size == whole
    # A process that is killed leaves all of it.
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    revision, (category,), pictures = found = work_in(tmp_path / "killed", path.stem)
    assert category.name == "c29" and len(pictures[0][3]) == 40
    assert pictures[1][3][0]["name"] == "29"
    (head,) = Keeper(Store(), tmp_path / "killed").listed()
    assert (head["objects"], head["revision"]) == (41, revision)
    # One that ends leaves one file, for which changes of before mean nothing.
    page.client.put(f"{small}/objects", json={"removed": ["b"]})
    page = again(start(), page)
    assert [one.name for one in (tmp_path / "data").iterdir() if one.suffix == ".changes"] == []
    newest = work_in(tmp_path / "data", path.stem)
    assert newest[2][0] == found[2][0] and newest[2][1][3] == []
    shutil.copytree(tmp_path / "killed" / f"{path.name}.changes", Path(f"{path}.changes"))
    assert work_in(tmp_path / "data", path.stem) == newest
    # What was there is in the one file again when the session goes on.
    page.client.put(f"{small}/objects", json={"objects": [{"id": "d", "edits": [EDIT]}]})
    assert not Path(f"{path}.changes").exists()


def test_changes_stay_smaller_than_the_file(start, tmp_path, written):
    page = Page(start()).ready()
    objects = [{"id": f"a{i}", "edits": [EDIT]} for i in range(40)]
    page.client.put(f"{page.picture}/objects", json={"objects": objects})
    (path,) = (tmp_path / "data").glob("*.json")
    page.add(png(np.zeros((9, 9, 3))), "small.png")
    changes = Path(f"{path}.changes")
    for i in range(60):
        one = {"objects": [{"id": f"b{i}", "edits": [EDIT]}]}
        page.client.put(f"{page.session}/pictures/p2/objects", json=one)
        assert len(list(changes.glob("*"))) <= 1
        assert sum(p.stat().st_size for p in changes.glob("*")) <= path.stat().st_size
    page.client.delete(f"{page.session}/pictures/p2")
    assert not changes.exists()  # pictures have come or gone: all is written
    path.unlink()
    page.client.put(f"{page.picture}/objects", json={"removed": ["a1"]})
    assert len(work_in(tmp_path / "data", path.stem)[2][0][3]) == 39
    page.client.delete(page.session)
    assert files(tmp_path / "data") == []


CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
from sam_mlx.web import keeping
from sam_mlx.web.sessions import Session
from sam_mlx.web.store import Store

keeping.MAX_WHOLE = 3000
store = Store()
keeper = keeping.Keeper(store, Path(sys.argv[1]))
session = keeper.read("session1") or Session("session1")
for i in range(len(session.pictures), 8):
    session.add(f"{i}.png", store.of_source(Path(f"{i}.png"), (9, 9), None))
mask = {"size": [9, 9], "counts": "a2"}
while True:
    number = session.revision + 1
    picture = session.pictures[f"p{number % 8 + 1}"]
    found = picture.objects.get("a") or replace(picture.new_object(), id="a", mask=mask)
    session.put(picture, replace(found, name=f"{number} " + "x" * (number % 190)))
    keeper.write(session)
    print(session.revision, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, pytest.param(333, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_while_it_writes_loses_nothing(tmp_path, lines):
    folder = tmp_path / "data"
    for _ in range(2):
        command = [sys.executable, "-c", CHILD, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            told = [int(child.stdout.readline()) for _ in range(lines)][-1]
            child.kill()
            told = max([told, *map(int, child.stdout.read().split("\n")[:-1])])
        revision, _, pictures = work_in(folder, "session1")
        assert revision >= told
        newest = {
            int(objects[0]["name"].split()[0]): name for name, *_, objects in pictures if objects
        }
        assert max(newest) >= told
        assert all(name == f"p{number % 8 + 1}" for number, name in newest.items())


# Saving many objects at once.


def save(page, *objects, removed=()):
    body = {"objects": list(objects), "removed": list(removed)}
    return page.client.put(f"{page.picture}/objects", json=body)


def test_objects_are_saved_by_their_ids_however_often(page):
    page.ready()
    for _ in range(2):  # the answer of the first may have been lost
        answer = save(
            page, {"id": "a", **CLICK, "name": "one"}, {"id": "b", "edits": [EDIT]}
        ).json()
        assert [found["id"] for found in answer["objects"]] == ["a", "b"]
    shown = page.client.get(page.picture).json()["objects"]
    assert shown == answer["objects"]
    assert save(page, removed=["a"]).json()["objects"] == []
    assert save(page, removed=["a"]).status_code == 200
    assert [o["id"] for o in page.client.get(page.picture).json()["objects"]] == ["b"]


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        ({"edits": [EDIT | {"path": [[1, 1]] * 5442}]}, 400, "5442"),
        ({"points": [[1, 1]], "labels": []}, 400, "label"),
        ({"name": "x" * 300}, 400, "name"),
        ({"automatic": "8-1-0"}, 404, "search again"),
        ({"id": "../x"}, 400, "id"),
        ({"id": None}, 400, "id"),
        ({"nonsense": 1}, 400, "nonsense"),
    ],
)
def test_one_that_is_refused_keeps_no_other_from_being_saved(page, bad, status, words):
    page.ready()
    answer = save(page, {"id": "a", **CLICK}, {"id": "b", **bad}, {"id": "c", "edits": [EDIT]})
    assert answer.status_code == 200
    assert [found["id"] for found in answer.json()["objects"]] == ["a", "c"]
    (refused,) = answer.json()["refused"]
    assert refused["status"] == status and words in refused["error"]
    assert [o["id"] for o in page.client.get(page.picture).json()["objects"]] == ["a", "c"]


def test_a_fault_of_the_servers_own_keeps_no_other_from_being_saved(page, monkeypatch):
    from sam_mlx.web.routes import objects

    page.ready()
    change = objects.change

    def fails(before, given, size):
        if given.get("name") == "bad":
            raise RuntimeError("/secret")
        return change(before, given, size)

    monkeypatch.setattr(objects, "change", fails)
    answer = save(page, {"id": "a", "name": "bad"}, {"id": "b", "edits": [EDIT]}).json()
    (refused,) = answer["refused"]
    assert refused["status"] == 500 and "secret" not in refused["error"]
    assert [found["id"] for found in answer["objects"]] == ["b"]


def test_pages_of_one_session_learn_what_others_have_changed(page):
    page.ready()
    since = page.client.get(page.session).json()["revision"]

    def changes(since):
        return page.client.get(f"{page.session}/changes?since={since}").json()

    assert changes(since)["pictures"] == []
    answer = save(page, {"id": "a", **CLICK}).json()
    assert answer["before"] == since < answer["revision"]
    (picture,) = changes(since)["pictures"]
    assert picture["objects"] == answer["objects"]
    assert changes(answer["revision"])["pictures"] == []
    page.add(png(np.zeros((9, 9, 3))))
    found = changes(answer["revision"])
    assert [p["id"] for p in found["pictures"]] == ["p2"] and found["ids"] == ["p1", "p2"]
    assert len(changes(10**9)["pictures"]) == 2  # of a server that knew more
    assert len(changes("x")["pictures"]) == 2


# Sessions whose pages were closed.


def test_closed_pages_give_their_sessions_back(start, monkeypatch):
    monkeypatch.setattr(open_sessions, "MAX_SESSIONS", 3)
    client = start()
    pages = [Page(client) for _ in range(3)]
    pages[0].ready().click()
    assert client.post("/api/sessions").status_code == 503
    client.post(f"{pages[0].session}/leave")
    Page(client)  # the 257th visitor
    assert client.post("/api/sessions").status_code == 503
    client.post(f"{pages[1].session}/leave")
    found = client.get(pages[0].session).json()  # it is read from disk again
    assert len(found["pictures"][0]["objects"]) == 1
    assert client.get(pages[1].session).status_code == 404


def test_pages_that_are_gone_without_a_word_give_their_sessions_back(start, monkeypatch):
    monkeypatch.setattr(open_sessions, "MAX_SESSIONS", 1)
    client = start()
    page = Page(client).ready()
    page.click()
    monkeypatch.setattr(sessions, "AWAY_SECONDS", -1)
    assert client.post("/api/sessions").status_code == 201


def test_pictures_of_closed_pages_give_their_room_back(start):
    client = start()
    page, rng = Page(client), np.random.default_rng(0)
    first, second = (png(rng.integers(0, 255, (40, 40, 3))) for _ in range(2))
    page.add(first)
    client.backend.store.room = len(first) + len(second) - 1
    other = Page(client)
    assert other.add(second).status_code == 413
    client.post(f"{page.session}/leave")
    assert other.add(second).status_code == 201
    shown = client.get(f"{page.session}/pictures/p2/image")  # kept on disk
    np.testing.assert_array_equal(pixels(shown.content), pixels(first))


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))
