"""The page in a browser: light and dark, touch, keyboard alone, accessibility, narrow windows."""

import numpy as np
import pytest

import tests.support.browser  # noqa: F401  first: it skips all where it must

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
pytestmark = pytest.mark.slow


def theme(tab) -> tuple[str, int]:
    """Its name, and how light the page is."""
    colour = tab.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return tab.page.locator("html").get_attribute("data-theme"), int(colour[4:].split(",")[0])


def test_light_and_dark(window):
    light, dark = window(color_scheme="light"), window(color_scheme="dark")
    (one, bright), (other, dim) = theme(light), theme(dark)
    assert (one, other) == ("light", "dark") and bright > 200 > 60 > dim
    dark.page.click("#theme")
    assert theme(dark) == (one, bright)
    dark.page.reload()
    assert theme(dark.ready()) == (one, bright)
    dark.page.emulate_media(color_scheme="light")
    dark.press("d")
    assert theme(dark) == (other, dim)


def test_fingers(window):
    tab = window(has_touch=True, viewport={"width": 420, "height": 800}, is_mobile=True)
    tab.page.touchscreen.tap(*tab.at(138, 53))
    tab.settled()
    assert tab.objects[0].points == [[138, 53]]
    touch(tab, [[(114, 28)], [(130, 50)], [(160, 76)]])
    tab.settled()
    assert tab.objects[0].box == [114, 28, 160, 76]
    fitted = tab.text("#zoom-fit")
    touch(tab, [[(100, 100), (140, 100)], [(80, 100), (160, 100)], [(60, 100), (180, 100)]])
    assert int(tab.text("#zoom-fit")[:-1]) > 2 * int(fitted[:-1])
    tab.settled()
    assert len(tab.objects) == 1 and len(tab.objects[0].points) == 1  # a pinch draws nothing


def test_a_long_press_marks_a_point_outside_the_object(window):
    tab = window(has_touch=True)
    tab.page.touchscreen.tap(*tab.at(138, 53))
    tab.settled()
    touch(tab, [[(138, 80)]], hold=700)
    tab.settled()
    assert tab.objects[0].labels == [1, 0]


def touch(tab, moves, hold=0):
    """Fingers that move through points of the picture."""
    devtools = tab.page.context.new_cdp_session(tab.page)
    places = [[tab.at(*place) for place in step] for step in moves]

    def send(kind, points):
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", places[0])
    for step in places[1:]:
        send("touchMove", step)
    tab.page.wait_for_timeout(hold)
    send("touchEnd", [])


def test_the_keyboard_is_enough(tab):
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("() => document.activeElement.id") == "stage":
            break
    assert "by-keyboard" in tab.page.locator("#stage").get_attribute("class")
    middle = tab.picture.size[0] // 2
    tab.press("Space")
    assert tab.objects[0].points == [[middle, middle]]
    tab.press("Shift+ArrowUp", "ArrowLeft")
    tab.press("Alt+Space")
    (_, (x, y)), labels = tab.objects[0].points, tab.objects[0].labels
    assert x < middle and y < middle - 5 and labels == [1, 0]
    tab.press("Enter", "Shift+Space", *["Shift+ArrowDown"] * 4, *["Shift+ArrowRight"] * 4)
    tab.press("Space")
    x0, y0, x1, y1 = tab.objects[1].box
    assert (x0, y0) == (x, y) and x1 > x0 and y1 > y0
    tab.press("b", "Space")
    assert len(tab.objects[1].edits) == 1
    tab.press("v", "[", "h")
    assert [found.hidden for found in tab.objects] == [True, False]
    tab.press("Backspace", "Control+z")
    assert len(tab.objects) == 2


def test_keys_are_for_the_field_that_is_typed_in(tab):
    tab.click(138, 53)
    tab.page.locator(".object-name").click()
    tab.page.keyboard.type(" nbxh?")
    tab.press("Enter")
    assert [o.name for o in tab.objects] == ["Object 1 nbxh?"] and not tab.objects[0].hidden
    assert not tab.page.locator("#sheet").is_visible()


def test_the_sheet_has_every_shortcut(tab):
    tab.press("?")
    assert tab.page.locator("#sheet").is_visible()
    assert {"1 2 3", "N, Enter", "Arrows", "?"} <= set(
        tab.page.locator("#sheet kbd").all_inner_texts()
    )
    tab.press("n", "Escape")
    assert not tab.page.locator("#sheet").is_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(window, colours):
    tab = window(color_scheme=colours)
    look(tab, "at first")
    tab.click(138, 53)
    look(tab, "with three masks")
    tab.press("b")
    look(tab, "with a brush")
    tab.page.click("#export")
    look(tab, "with the menu")
    tab.page.keyboard.press("Escape")
    tab.press("?")
    look(tab, "with the sheet")


def look(tab, when: str):
    found = axe.Axe().run(tab.page).response["violations"]
    grave = [
        (rule["id"], [node["html"] for node in rule["nodes"]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert grave == [], when


@pytest.mark.parametrize("width", [320, 760, 1400])
def test_nothing_lies_outside_the_window(window, width):
    tab = window(viewport={"width": width, "height": 700})
    tab.click(138, 53)
    assert tab.page.evaluate("() => document.documentElement.scrollWidth") == width
    right = tab.page.locator(".object").evaluate("(row) => row.getBoundingClientRect().right")
    assert right <= width


DRAWN = """async ([rle, kind]) => {
  const { pathsOf } = await import("/page/outline.js");
  const [height, width] = rle.size;
  const canvas = new OffscreenCanvas(width * 4, height * 4);
  const context = canvas.getContext("2d");
  context.scale(4, 4);
  context.fill(pathsOf(rle)[kind], "evenodd");
  const { data } = context.getImageData(0, 0, width * 4, height * 4);
  return [...data].filter((_, i) => i % 4 === 3);
}"""


def blobs(seed: int) -> np.ndarray:
    """A mask with holes, single pixels and diagonal touches."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :31]
    mask = sum(((x - a) ** 2 + (y - b) ** 2 < r) * 1 for a, b, r in random.uniform(0, 30, (6, 3)))
    return (mask % 2 == 1) ^ (random.random((24, 31)) < 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_outlines_are_the_masks(tab, seed):
    from sam_mlx.masks import encode_rle

    mask = blobs(seed)
    (rle,) = encode_rle(mask[None])
    H, W = mask.shape
    exact = np.reshape(tab.page.evaluate(DRAWN, [rle, "exact"]), (H * 4, W * 4))
    np.testing.assert_array_equal(exact, mask.repeat(4, 0).repeat(4, 1) * 255)
    smooth = np.reshape(tab.page.evaluate(DRAWN, [rle, "smooth"]), (H, 4, W, 4)).mean((1, 3)) > 127
    padded = np.pad(mask, 1)
    # Pixels with no edge of the mask or of the picture next to them.
    around = np.stack([padded[i : i + H, j : j + W] for i in range(3) for j in range(3)])
    inner = around.all(0) | ~around.any(0)
    np.testing.assert_array_equal(smooth[inner], mask[inner])


LOGITS = """async ([shape, data, side]) => {
  const { decodeLogits, drawLogits } = await import("/page/logits.js");
  const context = new OffscreenCanvas(side, side).getContext("2d");
  const style = { colour: [0, 0, 255], outline: [0, 0, 255], opacity: 1, line: 0 };
  const frame = { x: 0, y: 0, width: side, height: side };
  drawLogits(context, decodeLogits({ shape, data }), frame, style);
  return [...context.getImageData(0, 0, side, side).data].filter((_, i) => i % 4 === 3);
}"""


def test_logits_are_drawn_where_they_are_above_0(tab, nano):
    """The mask on the screen, of small logits, is the predictor's but at its very edge."""
    from sam_mlx import SamPredictor
    from sam_mlx.web.model import packed
    from tests.support.browser import COINS

    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    logits, _, _ = predictor.predict([[138, 53]], [1], return_logits=True)
    given = packed(logits[0])
    drawn = np.reshape(tab.page.evaluate(LOGITS, [given["shape"], given["data"], 256]), (256, 256))
    clear = np.abs(logits[0]) > 0.5
    np.testing.assert_array_equal(drawn[clear] > 127, (logits[0] > 0)[clear])
    assert clear.mean() > 0.9
