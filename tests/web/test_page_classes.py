"""The page in a browser: classes are made, given by keys, filtered, renamed, and removed."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.support.browser import sync_api  # isort: skip  first: it skips all where it must

from sam_mlx.web.classes import Category
from tests.support.web import until

pytestmark = pytest.mark.slow


def make(tab, *names):
    """Classes, as a user makes them: some letters in the palette, and Enter."""
    for name in names:
        tab.page.keyboard.press("c")
        tab.page.keyboard.type(name)
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#palette", state="hidden")
    return tab.settled()


def heads(tab) -> list[str]:
    return [" ".join(head.split()) for head in tab.page.locator(".class").all_inner_texts()]


@pytest.fixture
def three(tab):
    """Two classes, and an object of each and of none; the last is active."""
    make(tab, "penny", "dime")
    tab.press("Shift+Digit1").click(138, 53)
    tab.press("n", "Shift+Digit2").click(65, 50)
    return tab.press("n", "Shift+Digit0").click(212, 50)


def test_classes_are_made_and_given_by_keys(three):
    tab = three
    assert [c.name for c in tab.session.classes] == ["penny", "dime"]
    assert [o.category for o in tab.objects] == [1, 2, None]
    assert heads(tab) == ["penny 1 ⇧1", "dime 1 ⇧2", "No class 1 ⇧0"]
    tab.press("Shift+Digit2")  # the active object gets it, and the next ones
    assert tab.objects[2].category == 2
    tab.press("Control+z")
    assert tab.objects[2].category is None
    tab.press("c")
    tab.page.keyboard.type("PEN")
    tab.press("Enter")
    assert tab.objects[2].category == 1 and len(tab.session.classes) == 2
    tab.press("n").click(138, 80)
    assert tab.objects[3].category == 1


def test_changes_of_classes_are_made_one_after_another(three):
    """The answer about an earlier change, held back, does not undo a later one."""
    tab, held = three, []

    def hold(route):
        answer = route.fetch()
        if held:
            route.fulfill(response=answer)
        held.append((route, answer))

    tab.page.route("**/classes", hold)
    for i, colour in enumerate(["#204060", "#604020"]):
        swatch = tab.page.locator(".class .object-colour").nth(i)
        swatch.evaluate(
            """(input, colour) => {
          input.value = colour;
          input.dispatchEvent(new Event("change"));
        }""",
            colour,
        )
    tab.page.wait_for_timeout(500)  # in which the second may be sent, or wait for the first
    route, answer = held[0]
    with tab.page.expect_response(lambda found: len(held) > 1 and found.ok):
        route.fulfill(response=answer)
    for i, colour in enumerate(["#204060", "#604020"]):
        swatch = tab.page.locator(".class .object-colour").nth(i)
        sync_api.expect(swatch).to_have_value(colour)
    assert [c.colour for c in tab.session.classes] == ["#204060", "#604020"]


def test_an_answer_that_another_window_has_overtaken_is_not_taken(tab):
    """Or the next change would take the other window's class away."""
    held = []
    tab.page.route("**/classes", lambda route: held.append((route, route.fetch())))
    tab.page.keyboard.press("c")
    tab.page.keyboard.type("penny")
    tab.page.keyboard.press("Enter")
    until(lambda: tab.page.wait_for_timeout(20) or held)
    session = tab.session
    session.set_classes([*session.classes, Category(2, "dime", "#112233")])
    tab.page.wait_for_selector(".class:has-text('dime')")  # it has asked for changes
    route, answer = held[0]
    route.fulfill(response=answer)
    tab.page.wait_for_selector("#palette", state="hidden")
    tab.page.unroute("**/classes")
    make(tab, "cent")
    assert [(c.id, c.name) for c in session.classes] == [(1, "penny"), (2, "dime"), (3, "cent")]
    make(tab, "Dime")  # it is there
    assert len(session.classes) == 3


def test_objects_of_a_removed_class_do_not_get_into_a_new_one(three):
    """Also where the page no longer knows of the removed one."""
    tab = three
    tab.page.locator(".class").nth(1).hover()
    tab.page.get_by_role("button", name="Remove the class dime").click()
    with tab.page.expect_response("**/classes"):
        tab.page.click("#ask-yes")
    tab.page.wait_for_selector(".class:has-text('dime')", state="detached")
    tab.page.reload()
    make(tab.ready(), "cent")
    assert heads(tab) == ["penny 1 ⇧1", "cent 0 ⇧2", "No class 2 ⇧0"]


def test_keys_that_follow_at_once_are_the_pages(tab):
    """Chromium leaves a hidden input its keys until it has drawn the page again."""
    make(tab, "penny")
    tab.page.evaluate("""() => {
      const palette = document.getElementById("palette");
      palette.close = () => {
        delete palette.close;
        palette.close();
        const target = document.activeElement ?? document.body;
        target.dispatchEvent(new KeyboardEvent("keydown", { key: "c", bubbles: true }));
      };
    }""")
    tab.press("c")
    tab.page.keyboard.type("dime")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_function("() => document.getElementById('palette-name').value === ''")
    assert tab.page.locator("#palette").is_visible()
    assert [c.name for c in tab.session.classes] == ["penny", "dime"]


def test_keys_of_other_keyboards(tab):
    """In France digits need Shift, and their keys have letters: places of keys count."""
    make(tab, "penny")
    tab.click(138, 53)
    tab.page.evaluate("""() => document.body.dispatchEvent(new KeyboardEvent("keydown", {
      key: "1", code: "Digit1", shiftKey: true, bubbles: true }))""")
    tab.settled()
    assert tab.objects[0].category == 1


def test_a_class_colours_its_objects(three):
    tab = three
    first, second = (c.colour for c in tab.session.classes)
    assert first != second

    def colour_at(x, y):
        tab.set("opacity", 1)
        red, green, blue, _ = tab.ink(x, y)
        return f"#{red:02x}{green:02x}{blue:02x}"

    tab.press("Escape")
    assert (colour_at(138, 53), colour_at(65, 50)) == (first, second)
    tab.page.locator(".class .object-colour").first.evaluate("""(input) => {
      input.value = "#204060";
      input.dispatchEvent(new Event("change"));
    }""")
    sync_api.expect(tab.page.locator(".object .object-colour").first).to_have_value("#204060")
    tab.settled()
    assert tab.session.classes[0].colour == colour_at(138, 53) == "#204060"


def test_classes_are_filtered(three):
    tab = three
    assert tab.names() == ["Object 1", "Object 2", "Object 3"]
    tab.page.locator(".class").first.hover()
    tab.page.get_by_role("button", name="Hide the class penny").click()
    tab.settled()
    assert tab.names() == ["Object 2", "Object 3"]
    assert tab.ink(138, 53)[3] == 0 < tab.ink(65, 50)[3]
    assert not any(o.hidden for o in tab.objects)  # a filter changes nothing of the work
    tab.page.get_by_role("button", name="Show the class penny").click()
    tab.settled()
    assert len(tab.names()) == 3 and tab.ink(138, 53)[3] > 0


def test_classes_are_renamed_and_removed(three):
    tab = three
    tab.page.locator(".class").first.hover()
    tab.page.get_by_role("button", name="Rename the class penny").click()
    tab.page.keyboard.type("cent")
    with tab.page.expect_response("**/classes"):
        tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("text=cent")
    assert [c.name for c in tab.session.classes] == ["cent", "dime"]
    remove = tab.page.get_by_role("button", name="Remove the class cent")
    remove.click()
    assert "1 object would have no class" in tab.text("#ask-text")
    tab.page.click("#ask-no")
    assert heads(tab) == ["cent 1 ⇧1", "dime 1 ⇧2", "No class 1 ⇧0"]
    remove.click()
    with tab.page.expect_response("**/classes"):
        tab.page.click("#ask-yes")
    tab.page.wait_for_selector(".class:has-text('cent')", state="detached")
    assert heads(tab) == ["dime 1 ⇧1", "No class 2 ⇧0"] and len(tab.objects) == 3
    with tab.page.expect_response("**/classes"):
        tab.page.locator("#toast").get_by_role("button", name="Undo").click()
    tab.page.wait_for_selector(".class:has-text('cent')")
    assert heads(tab) == ["cent 1 ⇧1", "dime 1 ⇧2", "No class 1 ⇧0"]
    assert [c.name for c in tab.session.classes] == ["cent", "dime"]


def test_a_class_without_objects_is_removed_without_a_question(tab):
    make(tab, "penny")
    tab.page.locator(".class").first.hover()
    with tab.page.expect_response("**/classes"):
        tab.page.get_by_role("button", name="Remove the class penny").click()
    tab.page.wait_for_selector("#toast.shown:has-text('The class penny was removed')")
    assert tab.session.classes == []


def test_a_name_that_is_taken_is_refused_with_a_sentence(three):
    tab = three
    tab.page.locator(".class").nth(1).hover()
    tab.page.get_by_role("button", name="Rename the class dime").click()
    tab.page.keyboard.type("penny")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#toast.error.shown")
    assert "penny" in tab.text("#toast") and heads(tab)[1] == "dime 1 ⇧2"
    assert len(tab.errors) == 1 and "400" in tab.errors.pop()  # Chromium's own, of the answer


def test_classes_survive_a_reload(three):
    before = heads(three)
    three.page.reload()
    assert heads(three.ready()) == before and len(three.names()) == 3


def test_annotations_of_all_pictures_go_out_and_come_in(three, window):
    """YOLO of one picture of two, into another window, where clicks refine the masks."""
    tab = three
    file = io.BytesIO()
    Image.new("RGB", (90, 70)).save(file, "PNG")
    other = {"name": "other.png", "mimeType": "image/png", "buffer": file.getvalue()}
    tab.page.locator("#files").set_input_files([other])
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)")
    tab.ready()
    tab.page.click("#export")
    assert tab.page.get_by_role("menuitem", name="YOLO").is_disabled()  # of this picture
    tab.page.get_by_role("menuitemradio", name="All pictures").click()
    with tab.page.expect_download() as found:
        tab.page.get_by_role("menuitem", name="YOLO").click()
    tab.press("PageUp")
    masks = tab.masks
    again = window()
    again.page.locator("#annotations-file").set_input_files(
        {"name": "all.zip", "mimeType": "application/zip",
         "buffer": Path(found.value.path()).read_bytes()}
    )  # fmt: skip
    again.page.wait_for_selector("text=3 objects in 1 pictures")
    again.settled()
    assert heads(again) == ["penny 1 ⇧1", "dime 1 ⇧2", "object 1 ⇧3"]
    assert all((a == b).all() for a, b in zip(masks, again.masks, strict=True))
    again.page.get_by_role("button", name="Choose object 1").click()
    again.click(138, 70)
    first = again.objects[0]
    assert first.start is not None and first.points == [[138, 70]]
    assert 0.5 < (again.masks[0] & masks[0]).sum() / (again.masks[0] | masks[0]).sum() < 1
    again.press("Control+z", "Control+z")
    assert again.objects == []  # the import is one step of undo
    again.press("Control+Shift+z")
    assert len(again.objects) == 3
