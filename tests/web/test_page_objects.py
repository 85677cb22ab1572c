"""The page in a browser: the list of objects, everything, export, sessions, several pictures."""

import io
import shlex
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import COINS, pixels  # isort: skip  first: it skips all where it must
from sam_mlx.masks import decode_rle
from sam_mlx.tuner.data import open_data

pytestmark = pytest.mark.slow


@pytest.fixture
def two(tab):
    """Two finished objects."""
    return tab.click(138, 53).press("n").click(65, 50).press("Enter")


def test_objects_are_listed_chosen_renamed_hidden_and_deleted(two):
    tab = two
    assert tab.names() == ["Object 1", "Object 2"]
    assert len({found.colour for found in tab.objects}) == 2
    name = tab.page.locator(".object-name").first
    name.fill("penny")
    name.press("Enter")
    tab.page.get_by_role("button", name="Hide penny").click()
    tab.settled()
    assert [(o.name, o.hidden) for o in tab.objects] == [("penny", True), ("Object 2", False)]
    assert tab.ink(138, 53)[3] == 0 < tab.ink(65, 50)[3]
    tab.page.get_by_role("button", name="Show penny").click()
    tab.page.get_by_role("button", name="Choose penny").click()
    tab.click(138, 45)
    assert [len(o.points) for o in tab.objects] == [2, 1]
    tab.page.get_by_role("button", name="Delete Object 2").click()
    tab.settled()
    assert tab.names() == ["penny"] == [o.name for o in tab.objects]
    tab.press("Backspace")
    assert tab.objects == []


def test_an_objects_colour_is_changed(two):
    two.page.locator(".object-colour").first.evaluate("""(input) => {
      input.value = "#112233";
      input.dispatchEvent(new Event("change"));
    }""")
    two.settled()
    assert two.objects[0].colour == "#112233"
    assert two.ink(138, 53)[:3] == pytest.approx([0x11, 0x22, 0x33], abs=2)


def test_opacity_is_set(two):
    two.set("opacity", 1)
    two.settled()
    assert two.ink(138, 53)[3] == 255
    two.page.reload()
    two.ready().settled()
    assert two.page.locator("#opacity").input_value() == "1" and two.ink(138, 53)[3] == 255


@pytest.fixture
def few_points(monkeypatch):
    """The page searches with 16 points a side: a search of 32 takes eight seconds."""
    monkeypatch.setattr("sam_mlx.web.routes.automatic.POINTS_PER_SIDE", 16)


SLIDERS = "pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "min_mask_region_area"


def test_everything_is_filtered_by_sliders_and_taken_over(few_points, tab):
    tab.page.evaluate("""() => {
      const ask = window.fetch;
      window.paths = [];
      window.fetch = (path, options) => {
        if (!path.includes("/changes?")) paths.push(path.split("/").pop());  // asked at any time
        return ask(path, options);
      };
    }""")
    tab.page.click("#automatic-find")
    assert tab.page.locator("#automatic-progress").is_visible()
    tab.page.wait_for_selector("#automatic-count")
    tab.page.wait_for_selector("text=/^[1-9]\\d* of/")
    many = int(tab.text("#automatic-count").split()[0])
    searched = tab.page.evaluate("() => paths.length = 0")
    more = tab.filtered("box_nms_thresh", 0.95, "of")
    fewest = tab.filtered("pred_iou_thresh", 0.95, "of")
    assert more > many > fewest > 0 == searched
    assert set(tab.page.evaluate("() => paths")) == {"select"}  # nothing was searched again
    tab.click(65, 50)
    (found,) = tab.objects
    run = tab.picture.automatic
    record = run.records[run.index_of(found.automatic)]
    np.testing.assert_array_equal(tab.masks[0], decode_rle([record["segmentation"]])[0])
    assert tab.masks[0][50, 65]
    tab.press("Escape")
    assert tab.page.locator("#automatic-find").is_visible() and tab.names() == ["Object 1"]
    tab.press("a")
    tab.page.wait_for_selector("text=/^[1-9]\\d* of/")
    left = int(tab.text("#automatic-count").split()[0])
    assert left < fewest  # what is an object already is left out
    tab.page.get_by_role("button", name="Take all").click()
    tab.settled()
    assert len(tab.objects) == left + 1
    tab.press("Control+z")
    assert len(tab.objects) == 1


def test_sliders_begin_where_the_server_says(few_points, tab):
    def other(route):
        if route.request.method != "POST":
            return route.fallback()
        welcome = route.fetch().json()
        welcome["automatic"] |= {"pred_iou_thresh": 0.88, "min_pred_iou_thresh": 0.6}
        return route.fulfill(status=201, json=welcome)

    tab.page.route("**/api/sessions", other)
    tab.page.evaluate("() => sessionStorage.clear()")
    tab.page.reload()
    tab.ready().page.click("#automatic-find")
    with tab.page.expect_request("**/automatic/select") as asked:
        tab.page.wait_for_selector("#automatic-count")
    given = tab.page.evaluate("() => JSON.parse(sessionStorage.session).automatic")
    assert asked.value.post_data_json == {name: given[name] for name in SLIDERS}
    slider = tab.page.locator("#pred_iou_thresh")
    assert (slider.get_attribute("min"), slider.input_value()) == ("0.6", "0.88")
    assert tab.page.locator("#stability_score_thresh").get_attribute("min") == str(
        given["min_stability_score_thresh"]
    )


def test_everything_is_stopped(tab):
    tab.page.click("#automatic-find")
    tab.page.get_by_role("button", name="Stop").click()
    tab.page.wait_for_selector("#automatic-find")
    tab.page.wait_for_timeout(400)
    assert tab.picture.automatic is None
    assert tab.click(138, 53).names() == ["Object 1"]


FILES = {
    "Masks PNG": "coins_masks.zip",
    "Cut-out with transparency": "coins_cutout.png",
    "COCO annotations": "coins_coco.json",
    "Label map": "coins_labelmap.png",
    "Outlines SVG": "coins_svg.svg",
    "Outlines GeoJSON": "coins_geojson.geojson",
    "All pictures": "sam-mlx.zip",
}


def test_every_format_is_exported(two):
    found = {label: two.download(label) for label in FILES}
    assert {label: name for label, (name, _) in found.items()} == FILES
    labels = pixels(found["Label map"][1])
    np.testing.assert_array_equal(labels > 0, two.masks[0] | two.masks[1])
    alpha = pixels(found["Cut-out with transparency"][1])[..., 3]
    np.testing.assert_array_equal(alpha > 0, labels > 0)
    assert len(zipfile.ZipFile(io.BytesIO(found["All pictures"][1])).namelist()) >= len(FILES) - 1


def test_without_objects_there_is_nothing_to_export(tab):
    tab.page.click("#export")
    assert tab.page.get_by_role("menuitem", name="COCO").is_disabled()
    tab.page.keyboard.press("Escape")
    assert not tab.page.locator("#export-menu").is_visible()


def test_a_mask_and_python_lines_are_copied(window, tmp_path, monkeypatch):
    tab = window(permissions=["clipboard-read", "clipboard-write"])
    tab.click(138, 53)
    tab.page.click("#export")
    tab.page.get_by_role("menuitem", name="Copy Python").click()
    tab.page.wait_for_selector("text=Python lines were copied")
    lines = tab.page.evaluate("() => navigator.clipboard.readText()")
    Image.open(COINS).save(tmp_path / "coins.png")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(lines, names)
    np.testing.assert_array_equal(names["mask"], tab.masks[0])
    tab.press("Control+Shift+C")
    tab.page.wait_for_selector("text=The mask was copied")
    data = tab.page.evaluate("""async () => {
      const [item] = await navigator.clipboard.read();
      return [...new Uint8Array(await (await item.getType("image/png")).arrayBuffer())];
    }""")
    np.testing.assert_array_equal(pixels(bytes(data))[..., 0] > 0, tab.masks[0])


def test_a_line_of_shell_trains_on_the_objects(two, tmp_path):
    name, data = two.download("Train on these")
    line = two.page.locator("dialog.train code").inner_text()
    command, verb, path, *rest = shlex.split(line)
    assert (command, verb, path) == ("sam-mlx", "finetune", f"~/Downloads/{name}")
    assert rest[0] == "--model" and rest[2:] == ["-o", "my-objects"]
    (tmp_path / name).write_bytes(data)
    (found,) = open_data(tmp_path / name)
    np.testing.assert_array_equal(decode_rle(found.read()[1]), two.masks)
    two.page.get_by_role("button", name="Close").click()
    two.page.wait_for_selector("dialog.train", state="detached")  # its close event comes later
    assert two.page.locator("dialog.train").count() == 0


def test_reloading_gives_the_work_back(two):
    masks = two.masks
    two.page.reload()
    two.ready()
    assert two.names() == ["Object 1", "Object 2"]
    assert two.ink(138, 53)[3] > 0 and two.ink(65, 50)[3] > 0
    two.page.get_by_role("button", name="Choose Object 1").click()
    two.page.wait_for_selector("#choices:not([hidden])")  # the three masks are offered again
    two.click(138, 45)
    assert [len(o.points) for o in two.objects] == [2, 1]
    np.testing.assert_array_equal(two.masks[1], masks[1])


def test_another_window_has_its_own_work(two, window):
    assert window().names() == [] and two.names() == ["Object 1", "Object 2"]


def test_a_session_is_saved_and_opened_again(two, window):
    masks = two.masks
    name, data = two.download("Save the session")
    other = window()
    other.page.locator("#session-file").set_input_files(
        {"name": name, "mimeType": "application/zip", "buffer": data}
    )
    other.page.wait_for_selector("text=The session was opened")
    other.ready()
    assert other.names() == ["Object 1", "Object 2"]
    np.testing.assert_array_equal(other.masks, masks)


def picture(width: int, height: int, value: int) -> dict:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (value, 90, 40)).save(file, "PNG")
    return {"name": f"{value}.png", "mimeType": "image/png", "buffer": file.getvalue()}


def test_several_pictures_become_a_strip(two):
    tab = two
    assert not tab.page.locator("#strip").is_visible()
    tab.page.locator("#files").set_input_files([picture(300, 200, 10), picture(90, 200, 20)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)")
    tab.ready()
    assert tab.text("#picture-name") == "10.png" and tab.names() == []
    tab.press("PageUp")
    assert tab.text("#picture-name") == "coins.png" and len(tab.names()) == 2
    tab.page.get_by_role("button", name="20.png", exact=True).click()
    assert tab.text("#picture-name") == "20.png"
    tab.page.get_by_role("button", name="Remove 20.png").click()
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)", state="detached")
    assert tab.text("#picture-name") == "10.png"
    assert [p.name for p in tab.session.pictures.values()] == ["coins.png", "10.png"]


def test_a_neighbour_is_shown_also_where_changes_arrive_before_the_answer(two):
    tab, held = two, []

    def hold(route):
        if route.request.method != "DELETE":
            return route.fallback()
        held.append((route, route.fetch()))

    tab.page.locator("#files").set_input_files([picture(300, 200, 10), picture(90, 200, 20)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)")
    tab.page.get_by_role("button", name="20.png", exact=True).click()
    tab.page.route("**/pictures/*", hold)
    with tab.page.expect_response("**/changes*"):
        tab.page.get_by_role("button", name="Remove 20.png").click()
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)", state="detached")
    assert tab.text("#picture-name") == "10.png"
    ((route, answer),) = held
    route.fulfill(response=answer)
    tab.page.wait_for_selector("text=20.png was removed")
    assert tab.text("#picture-name") == "10.png" and len(tab.session.pictures) == 2


DROP = """([bytes, name]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  return data;
}"""


PASTE = """(clipboardData) => {
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
}"""


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(tab, how):
    given = picture(120, 80, 30)
    data = tab.page.evaluate_handle(DROP, [list(given["buffer"]), given["name"]])
    if how == "drop":
        tab.page.dispatch_event("#stage", "dragenter", {"dataTransfer": data})
        assert tab.page.locator("#drop").is_visible()
        tab.page.dispatch_event("#stage", "drop", {"dataTransfer": data})
    else:
        tab.page.evaluate(PASTE, data)
    tab.page.wait_for_selector("#picture-name:text-is('30.png')")  # not that it is being sent
    assert not tab.page.locator("#drop").is_visible()
    assert tab.ready().picture.size == (80, 120)


def test_a_file_that_is_not_a_picture_is_refused_with_a_sentence(window, site):
    tab = window()
    tab.page.locator("#files").set_input_files(
        {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    tab.page.wait_for_selector("#toast.error.shown")
    assert "picture" in tab.text("#toast") and tab.text("#picture-name") == "coins.png"
    assert len(tab.errors) == 1 and "415" in tab.errors.pop()  # Chromium's own, of the answer


SENT = """async (found) => {
  const { fromServer, toServer } = await import("/page/object.js");
  return toServer(fromServer(found));
}"""


def test_the_page_sends_the_fields_that_the_server_has(two):
    """Declared in object.js and by the server: all of them, and as they are there."""
    two.press("b").drag((30, 100), (60, 100))
    picture = f"/api/sessions/{two.session.id}/pictures/p1"
    ask = "async (path) => (await fetch(path)).json()"
    objects = two.page.evaluate(ask, picture)["objects"]
    paths = two.page.evaluate(ask, "/api/openapi.json")["paths"]
    body = paths["/api/sessions/{session}/pictures/{picture}/objects/{object}"]["put"]
    fields = body["requestBody"]["content"]["application/json"]["schema"]["properties"]
    for found in objects:
        sent = two.page.evaluate(SENT, found)
        assert set(sent) == set(fields)
        assert sent == {name: found[name] for name in fields}
    assert len(objects) == 3 and objects[2]["edits"]


def test_automatic_masks_are_of_one_session_only(few_points, two):
    two.page.click("#automatic-find")
    two.page.wait_for_selector("#automatic-count")
    two.press("Escape")
    assert two.text("#automatic-find") == "Show everything"
    name, data = two.download("Save the session")
    two.page.locator("#session-file").set_input_files(
        {"name": name, "mimeType": "application/zip", "buffer": data}
    )
    two.page.click("#ask-yes")
    two.page.wait_for_selector("text=The session was opened")
    assert two.ready().text("#automatic-find") == "Find everything"


def test_a_hover_goes_when_automatic_masks_are_shown(few_points, tab):
    tab.page.click("#automatic-find")
    tab.page.wait_for_selector("text=/^[1-9]\\d* of/")
    tab.set("pred_iou_thresh", 1)
    tab.page.wait_for_selector("text=/^0 of/")
    tab.page.locator("#stage").focus()
    tab.press("Escape")
    tab.page.evaluate(
        "() => addEventListener('shown', (e) => document.body.dataset.shown = e.detail.at, true)"
    )
    tab.move(138, 53)
    tab.page.wait_for_selector("body[data-shown='138,53']")  # and not one on the way there
    assert tab.ink(138, 53)[3] > 0
    tab.press("a")
    assert tab.ink(138, 53)[3] == 0


def test_without_a_picture_keys_do_nothing(tab):
    tab.page.evaluate(f"""() => fetch("/api/sessions/{tab.session.id}/pictures/p1",
                                      {{ method: "DELETE" }})""")
    tab.page.reload()
    tab.page.wait_for_selector("body[data-ready]")
    assert tab.text("#picture-name") == "No picture"
    tab.page.locator("#stage").focus()
    tab.press("n", "1", "Backspace", "h", "[", "]", "a", "Escape", "PageDown", "Control+z")
    tab.press("b", "Space", "v", "ArrowLeft", "Space", "Shift+Space", "ArrowUp", "Space", "q", "e")
    tab.page.mouse.click(300, 300)  # erases nothing; no error is logged
    assert tab.page.locator("#undo").is_disabled() and tab.names() == []
