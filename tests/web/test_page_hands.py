"""The page in a browser: keys and wheels as each machine has them; narrow windows; looks."""

import re

import pytest

import tests.support.browser  # noqa: F401  first: it skips all where it must

pytestmark = pytest.mark.slow


def test_space_moves_the_picture_also_after_a_click_on_a_button(tab):
    tab.page.click("[data-tool=point]")
    tab.page.keyboard.down(" ")
    x, y = tab.at(138, 53)
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 40, y, steps=3)
    tab.page.mouse.up()
    tab.page.keyboard.up(" ")
    assert tab.settled().objects == []
    tab.page.mouse.click(x + 40, y)
    tab.settled()
    assert tab.objects[0].points == [[138, 53]]


def test_space_presses_a_button_that_the_keyboard_has_reached(tab):
    tab.page.locator("#theme").focus()
    before = tab.page.locator("html").get_attribute("data-theme")
    tab.press("Space")
    assert tab.page.locator("html").get_attribute("data-theme") != before


@pytest.mark.parametrize("tool", ["v", "b"])
def test_escape_while_dragging_draws_nothing(tab, tool):
    tab.press(tool)
    tab.move(114, 28)
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.at(160, 76), steps=3)
    tab.page.keyboard.press("Escape")
    tab.page.mouse.move(*tab.at(170, 80), steps=3)
    tab.page.mouse.up()
    assert tab.settled().objects == []
    tab.press("v").drag((114, 28), (160, 76))
    assert len(tab.objects) == 1


WHEEL = """([deltas, options]) => {
  const stage = document.getElementById("stage");
  const { left, top } = stage.getBoundingClientRect();
  for (const [deltaX, deltaY] of deltas) {
    stage.dispatchEvent(new WheelEvent("wheel", {
      deltaX, deltaY, clientX: left + 200, clientY: top + 200, cancelable: true, ...options }));
  }
}"""


@pytest.mark.parametrize(
    ("deltas", "options", "zooms"),
    [
        ([[0, 4.000244140625], [0, 12.3]], {}, True),  # a smooth wheel of a Mac
        ([[0, 3]], {"deltaMode": 1}, True),  # lines
        ([[0, 3], [1, 5], [0, 4]], {}, False),  # a trackpad
        ([[1, 4.5], [0, 4.5]], {}, False),  # one at another zoom of the browser
        ([[0, 3]], {"ctrlKey": True}, True),  # a pinch
        ([[0, 3]], {"metaKey": True}, True),
    ],
)
def test_wheels_zoom_and_trackpads_move(tab, deltas, options, zooms):
    fitted = tab.text("#zoom-fit")
    tab.page.evaluate(WHEEL, [deltas, options])
    assert (tab.text("#zoom-fit") != fitted) == zooms
    tab.page.mouse.click(*tab.at(138, 53))
    tab.settled()
    assert tab.objects[0].points != [[138, 53]]  # it was moved, or zoomed


KEY = """(init) => document.body.dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init }))"""


def test_keys_of_other_scripts(tab):
    """By their places: in Russia the key of B has и, that of Z has я."""
    tab.click(138, 53)
    tab.page.evaluate(KEY, {"key": "и", "code": "KeyB"})
    assert tab.page.locator("#stage").get_attribute("data-tool") == "brush"
    tab.page.evaluate(KEY, {"key": "я", "code": "KeyZ", "ctrlKey": True})
    assert tab.settled().objects == []


def test_letters_of_other_latin_keyboards_are_those_on_the_keys(tab):
    """In France the key in the place of Q has A."""
    tab.page.evaluate(KEY, {"key": "e", "code": "KeyF"})
    assert tab.page.locator("#stage").get_attribute("data-tool") == "eraser"


MAC = "Object.defineProperty(Navigator.prototype, 'platform', { get: () => 'MacIntel' })"


def test_commands_are_the_platforms(window):
    here = window().click(138, 53)
    assert here.page.locator("#undo").get_attribute("title") == "Undo (Ctrl+Z)"
    here.press("Meta+z")
    assert len(here.objects) == 1
    mac = window()
    mac.page.context.add_init_script(MAC)
    mac.page.reload()
    mac.ready().click(138, 53)
    assert mac.page.locator("#undo").get_attribute("title") == "Undo (⌘Z)"
    mac.press("Control+z")
    assert len(mac.objects) == 1
    mac.press("Meta+z")
    assert mac.objects == []


def test_what_is_chosen_is_seen_in_forced_colours(window):
    tab = window(forced_colors="active")
    tab.click(138, 53)
    outline = "(element) => getComputedStyle(element).outlineStyle"
    for chosen in ("#tools [data-tool=point]", ".choice[aria-checked=true]", ".object.active"):
        assert tab.page.locator(chosen).evaluate(outline) == "solid", chosen
    assert tab.page.locator("#tools [data-tool=brush]").evaluate(outline) == "none"


def test_every_control_shows_the_focus(tab):
    tab.click(138, 53)
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        shown = tab.page.evaluate("""() => {
          const { activeElement: element } = document;
          if (element === document.body || element.id === "stage") return true;
          return getComputedStyle(element).outlineStyle !== "none";
        }""")
        assert shown, tab.page.evaluate("() => document.activeElement.outerHTML")


def test_narrow_windows_have_a_sheet_and_nothing_over_the_picture(window):
    tab = window(viewport={"width": 400, "height": 780}, has_touch=True, is_mobile=True)
    tab.page.touchscreen.tap(*tab.at(138, 53))
    tab.settled()
    stage = tab.page.locator("#stage").bounding_box()
    for other in ("#tools", "#choices", "#chosen", "#side-handle"):
        box = tab.page.locator(other).bounding_box()
        assert box["y"] >= stage["y"] + stage["height"] or box["y"] + box["height"] <= stage["y"]
    row = tab.page.locator(".object")
    assert not row.is_visible()
    tab.page.click("#side-handle")
    assert row.is_visible() and tab.text("#side-count") == "1"
    assert tab.page.locator("#stage").bounding_box() == stage  # the picture stays where it is
    tab.page.click("#side-handle")
    assert not row.is_visible()


@pytest.mark.parametrize("size", [(640, 400), (760, 360)])
def test_low_windows_leave_room_for_the_picture_and_the_tools(window, size):
    """A zoom of 200 % in a window of 1280 x 800; a phone on its side."""
    tab = window(viewport={"width": size[0], "height": size[1]}, device_scale_factor=2)
    stage = tab.page.locator("#stage").bounding_box()
    assert stage["height"] > size[1] / 2
    for tool in tab.page.locator("#tools button").all():
        box = tool.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert box["y"] + box["height"] <= stage["y"] + stage["height"]


UNCOVERED = """(element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}"""


@pytest.mark.parametrize("size", [(390, 760), (640, 400), (1100, 760)])
def test_every_entry_of_the_menu_can_be_reached(window, size):
    tab = window(viewport={"width": size[0], "height": size[1]}).click(138, 53)
    tab.page.click("#export")
    for item in tab.page.locator("#export-menu button").all():
        item.scroll_into_view_if_needed()
        assert item.evaluate(UNCOVERED), item.inner_text()


def test_the_main_button_keeps_its_colour_under_the_pointer(tab):
    colour = "(button) => getComputedStyle(button).backgroundColor"
    before = tab.page.locator("#export").evaluate(colour)
    tab.page.hover("#export")
    tab.page.wait_for_timeout(300)  # a change of colour would take 120 ms
    assert tab.page.locator("#export").evaluate(colour) == before != "rgba(0, 0, 0, 0)"


def test_the_first_screen_says_nothing_wrong(window):
    tab = window()
    tab.page.route("**/api/sessions*", lambda route: None)  # no answer yet
    tab.page.route("**/api/sessions/**", lambda route: None)
    tab.page.reload(wait_until="domcontentloaded")
    tab.page.wait_for_selector("[data-tool=point]")
    assert "%" not in tab.text("#zoom-fit")


def test_dark_is_dark_before_any_module_runs(window):
    tab = window(color_scheme="dark")
    tab.page.route("**/main.js", lambda route: None)
    tab.page.reload(wait_until="commit")
    tab.page.wait_for_selector("header")
    assert tab.page.locator("html").get_attribute("data-theme") == "dark"


def test_the_windows_title_says_the_picture(tab):
    assert tab.page.title() == "coins.png - sam_mlx"


def test_rows_are_dense_and_their_icons_appear(tab):
    tab.click(138, 53).press("n")
    row = tab.page.locator(".object")
    assert row.bounding_box()["height"] <= 36
    tab.page.mouse.move(200, 300)
    icons = row.locator(".icon-button")
    seen = "(icon) => Number(getComputedStyle(icon).opacity)"
    assert [icon.evaluate(seen) for icon in icons.all()] == [0, 0]
    row.hover()
    assert [icon.evaluate(seen) for icon in icons.all()] == [1, 1]
    assert re.fullmatch(r"Hide Object 1", icons.first.get_attribute("aria-label"))
