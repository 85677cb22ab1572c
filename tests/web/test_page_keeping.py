"""The page in a browser: nothing is lost when the server, the network, a tab or the disk fails."""

import io
import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import COINS, Tab  # isort: skip  first: it skips all where it must

from sam_mlx.web import keeping
from sam_mlx.web.backend import Backend
from sam_mlx.web.server import bind, configuration
from tests.support.web import until

SENTENCE = "The server does not respond"


class Site:
    """A server that keeps work on disk, and may be ended and started again at its address."""

    def __init__(self, nano, folder, chromium):
        self.nano, self.folder, self.chromium = nano, folder, chromium
        self.port = 0
        self.tabs = []
        self.start()

    def start(self):
        import uvicorn

        self.backend = Backend(self.nano, "nano", [COINS], folder=self.folder)
        listening = bind("127.0.0.1", self.port)
        self.port = listening.getsockname()[1]
        self.running = uvicorn.Server(configuration(self.backend, "127.0.0.1", None))
        self.thread = threading.Thread(target=self.running.run, args=([listening],), daemon=True)
        self.thread.start()
        until(lambda: self.running.started)
        for tab in self.tabs:
            tab.server = self.backend

    def stop(self):
        self.running.should_exit = True
        self.thread.join(10)
        self.backend.close()

    def tab(self, context=None):
        """The page in a window of its own, or in another tab of a window."""
        options = {"viewport": {"width": 1100, "height": 760}, "reduced_motion": "reduce"}
        context = context or self.chromium.new_context(**options)
        tab = Tab(context.new_page(), self.backend)
        self.tabs.append(tab)
        return tab.open(f"http://127.0.0.1:{self.port}/")

    def second(self, tab):
        """Another tab with the same session, as browsers make it by Duplicate."""
        new = Tab(tab.page.context.new_page(), self.backend)
        kept = tab.page.evaluate("() => ({...sessionStorage})")
        new.page.add_init_script(f"Object.assign(sessionStorage, {json.dumps(kept)})")
        self.tabs.append(new)
        return new.open(f"http://127.0.0.1:{self.port}/")


@pytest.fixture
def site(nano, tmp_path, chromium):
    site = Site(nano, tmp_path / "sessions", chromium)
    yield site
    for tab in site.tabs:
        tab.page.context.close()
    site.stop()


def saved(tab):
    tab.page.wait_for_selector("#saved[data-saved=true]", timeout=20_000)
    return tab


def not_saved(tab, words):
    tab.page.wait_for_selector(f"#saved[data-saved=false]:has-text('{words}')", timeout=20_000)
    return tab


def painted(tab, *corners):
    tab.press("b")
    tab.page.mouse.move(*tab.at(*corners[0]))
    tab.page.mouse.down()
    for corner in corners[1:]:
        tab.page.mouse.move(*tab.at(*corner))
    tab.page.mouse.up()
    tab.page.keyboard.press("v")


@pytest.mark.slow
def test_an_open_page_goes_on_when_the_server_comes_back(site):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    site.stop()
    not_saved(tab, SENTENCE)
    painted(tab, (30, 100), (60, 100))  # the model is gone, the brush works
    tab.page.keyboard.press("Enter")
    assert tab.names() == ["Object 1", "Object 2"]
    site.start()
    saved(tab)
    assert [o.name for o in tab.objects] == ["Object 1", "Object 2"]
    tab.click(65, 50)  # the picture is encoded again
    assert len(saved(tab).objects) == 3


def test_an_open_page_without_work_goes_on_too(site):
    tab = site.tab()
    site.stop()
    not_saved(tab, SENTENCE)
    site.start()
    saved(tab)
    assert len(saved(tab.ready().click(138, 53)).objects) == 1


def test_a_session_that_the_server_has_lost_is_made_again(site):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    site.stop()
    for path in site.folder.glob("*.json"):
        path.unlink()
    not_saved(tab, SENTENCE)
    site.start()
    saved(tab)
    objects = {p.name: len(p.objects) for p in tab.session.pictures.values()}
    assert objects == {"coins.png": 1} and tab.names() == ["Object 1"]


def test_work_is_offered_to_a_page_that_is_opened_later(site):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    mask = tab.masks[0]
    tab.page.close()
    site.stop()
    site.start()
    tab = site.tab()
    assert "1 object in 1 picture" in tab.text("#earlier-list")
    tab.page.get_by_role("button", name="coins.png 1 object").click()
    tab.page.wait_for_selector(".object-name")
    np.testing.assert_array_equal(tab.masks[0], mask)
    assert tab.names() == ["Object 1"]
    # Somebody who begins anew finds it in the menu later.
    other = site.tab()
    assert not other.page.locator("#earlier").is_visible()  # it is open in another window
    other.page.click("#export")
    other.page.get_by_role("menuitem", name="Earlier work").click()
    other.page.wait_for_selector("#earlier-list :has-text('open in another window')")


def test_earlier_work_is_deleted_after_a_question(site):
    saved(site.tab().click(138, 53)).page.close()
    site.stop()
    site.start()
    tab = site.tab()
    delete = tab.page.get_by_role("button", name="Delete the work on coins.png")
    delete.click()
    tab.page.click("#ask-no")
    assert len(list(site.folder.glob("*.json"))) == 1
    delete.click()
    tab.page.click("#ask-yes")
    tab.page.wait_for_selector("#earlier-list li", state="detached")
    assert list(site.folder.glob("*.json")) == []


def test_offline_for_a_while(site):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    tab.page.context.set_offline(True)
    tab.page.locator(".object-name").first.fill("penny")
    tab.page.keyboard.press("Enter")
    painted(tab, (30, 100), (60, 100))
    not_saved(tab, SENTENCE)
    tab.page.click("#export")
    tab.page.get_by_role("menuitem", name="COCO").click()
    tab.page.wait_for_selector("#toast.error:has-text('Not everything is saved')")
    tab.page.context.set_offline(False)
    saved(tab)
    assert [o.name for o in tab.objects] == ["penny", "Object 2"]
    assert "penny" in tab.download("Outlines GeoJSON")[1].decode()


@contextmanager
def full_disk(monkeypatch):
    def full(name, text):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "write_text", full)
        yield


def test_a_full_disk_is_said_and_everything_written_later(site, monkeypatch):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    with full_disk(monkeypatch):
        tab.click(65, 50).press("Enter")
        not_saved(tab, "No space left on device")
        assert len(tab.names()) == 2 and tab.ink(65, 50)[3] > 0
        tab.press("Control+z", "Control+z")
        tab.press("Control+Shift+z", "Control+Shift+z")
        assert tab.download("COCO")[1]  # the server has it all in memory
    saved(tab)
    tab.page.close()
    site.stop()
    (path,) = site.folder.glob("*.json")
    assert [len(json.loads(line)["objects"]) for line in path.read_text().splitlines()[1:]] == [2]
    site.start()


@pytest.mark.slow
def test_a_server_that_ends_with_a_full_disk_gets_it_all_again(site, monkeypatch):
    tab = saved(site.tab().click(138, 53).press("Enter"))
    with full_disk(monkeypatch):
        tab.page.get_by_role("button", name="Delete Object 1").click()
        tab.click(65, 50)
        not_saved(tab, "No space left on device")
        site.stop()
    site.start()
    saved(tab)
    assert [o.name for o in tab.objects] == tab.names() == ["Object 2"]


def test_leaving_with_unsaved_work_asks(site):
    tab = saved(site.tab().click(138, 53))
    asked = []
    tab.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    session = tab.session
    with tab.page.expect_event("close"):
        tab.page.close(run_before_unload=True)
    until(lambda: session.left)  # its room is given back
    assert asked == []
    tab = site.tab()
    tab.page.click("#earlier-new")
    tab.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    tab.page.context.set_offline(True)
    painted(tab, (30, 100), (60, 100))
    tab.page.close(run_before_unload=True)
    until(lambda: tab.page.wait_for_timeout(50) or asked)
    assert asked == ["beforeunload"]


def test_one_refused_object_blocks_no_other(site, monkeypatch):
    from sam_mlx.web.errors import Refusal
    from sam_mlx.web.routes import objects

    change = objects.change

    def strict(before, given, size):
        if given.get("name") == "bad":
            raise Refusal(400, "the name is bad")
        return change(before, given, size)

    monkeypatch.setattr(objects, "change", strict)
    tab = saved(site.tab().click(138, 53).press("Enter"))
    tab.page.locator(".object-name").first.fill("bad")
    tab.page.keyboard.press("Enter")
    not_saved(tab, "bad: The name is bad")
    tab.click(65, 50).press("Enter")
    tab.page.get_by_role("button", name="Hide Object 2").click()
    tab.settled()
    assert [(o.name, o.hidden) for o in tab.objects] == [("Object 1", False), ("Object 2", True)]
    tab.page.click("#export")
    tab.page.get_by_role("menuitem", name="COCO").click()
    tab.page.wait_for_selector("#toast.error:has-text('Not everything is saved')")
    tab.page.locator(".object-name").first.fill("good")
    tab.page.keyboard.press("Enter")
    saved(tab)
    assert [o.name for o in tab.objects] == ["good", "Object 2"]


def test_a_long_stroke_is_saved(site):
    tab = site.tab().press("b")
    tab.page.evaluate("""() => {
      const stage = document.getElementById("stage");
      const box = stage.getBoundingClientRect();
      const send = (type, i) => {
        const angle = i / 40;
        const radius = 20 + i / 40;
        const at = { clientX: box.left + box.width / 2 + radius * Math.cos(angle),
                     clientY: box.top + box.height / 2 + radius * Math.sin(angle) };
        const pen = { pointerId: 1, button: 0, bubbles: true };
        stage.dispatchEvent(new PointerEvent(type, { ...at, ...pen }));
      };
      stage.setPointerCapture = () => {};
      send("pointerdown", 0);
      for (let i = 1; i < 9000; i++) send("pointermove", i);
      send("pointerup", 9000);
    }""")
    saved(tab.settled())
    (found,) = tab.objects
    assert sum(len(edit["path"]) for edit in found.edits) > 1000
    assert tab.masks[0].sum() > 10_000


@pytest.mark.slow
def test_two_tabs_of_one_session_see_each_others_changes(site):
    first = saved(site.tab().click(138, 53).press("Enter"))
    second = site.second(first)
    assert second.names() == ["Object 1"]
    second.click(65, 50).press("Enter")
    first.page.bring_to_front()
    first.page.wait_for_selector(".object >> nth=1")
    assert first.names() == ["Object 1", "Object 2"] and first.ink(65, 50)[3] > 0
    first.page.locator(".object-name").first.fill("penny")
    first.page.keyboard.press("Enter")
    second.page.bring_to_front()
    until(lambda: second.page.wait_for_timeout(50) or second.names() == ["penny", "Object 2"])
    # A deletion elsewhere; undo here does not undo what was done there.
    second.page.get_by_role("button", name="Delete penny").click()
    second.settled()
    first.page.bring_to_front()
    until(lambda: first.page.wait_for_timeout(50) or first.names() == ["Object 2"])
    first.press("Control+z", "Control+z")
    saved(first)
    assert [o.name for o in first.objects] == first.names() == ["Object 2"]
    # Both change one object while they know nothing of each other: nothing is lost.
    second.page.context.set_offline(True)
    painted(second, (30, 100), (60, 100))
    second.page.get_by_role("button", name="Choose Object 2").click()
    painted(second, (90, 100), (120, 100))
    first.server.sessions.get(first.session.id).drop(first.picture, first.objects[0].id)
    second.page.context.set_offline(False)
    saved(second)
    assert len(first.objects) == 2 and sorted(len(o.edits) for o in first.objects) == [1, 1]


def picture(width: int, height: int, value: int) -> dict:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (value, 90, 40)).save(file, "PNG")
    return {"name": f"{value}.png", "mimeType": "image/png", "buffer": file.getvalue()}


def test_removing_a_picture_with_objects_asks_and_is_undone(site):
    tab = site.tab().click(138, 53).press("Enter")
    tab.page.locator("#files").set_input_files([picture(300, 200, 10)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)")
    tab.page.get_by_role("button", name="coins.png", exact=True).click()
    tab.page.wait_for_selector(".object-name")
    remove = tab.page.get_by_role("button", name="Remove coins.png")
    remove.click()
    assert "1 object in it" in tab.text("#ask-text")
    tab.page.click("#ask-no")
    assert len(tab.session.pictures) == 2
    remove.click()
    tab.page.click("#ask-yes")
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)", state="detached")
    assert len(tab.session.pictures) == 1
    tab.page.locator("#toast").get_by_role("button", name="Undo", exact=True).click()
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)")
    assert [p.name for p in tab.session.pictures.values()] == ["coins.png", "10.png"]
    assert tab.names() == ["Object 1"] == [o.name for o in tab.objects]
    tab.press("Control+z")  # with its undo
    assert saved(tab).objects == []


def test_opening_a_session_asks_and_leads_back(site):
    tab = site.tab().click(138, 53).press("Enter")
    name, data = tab.download("Save the session")
    tab.click(65, 50).press("Enter")
    file = {"name": name, "mimeType": "application/zip", "buffer": data}
    tab.page.locator("#session-file").set_input_files(file)
    assert "2 objects here stay saved" in tab.text("#ask-text")
    tab.page.click("#ask-no")
    assert len(tab.names()) == 2
    tab.page.locator("#session-file").set_input_files(file)
    tab.page.click("#ask-yes")
    tab.page.wait_for_selector("text=The session was opened")
    assert len(tab.ready().names()) == 1
    tab.page.get_by_role("button", name="Go back").click()
    tab.page.wait_for_selector(".object >> nth=1")
    assert len(saved(tab).objects) == 2
