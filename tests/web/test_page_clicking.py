"""The page in a browser: hovering, clicking, boxes, three masks, undo, brush, zoom, export."""

import numpy as np
import pytest

from tests.support.browser import COINS, pixels  # isort: skip  first: it skips all where it must
from sam_mlx import SamPredictor
from sam_mlx.masks import brush


@pytest.fixture(scope="module")
def predictor(nano):
    found = SamPredictor(nano)
    found.set_image(COINS)
    return found


def test_the_first_move_shows_a_mask(tab):
    assert tab.ink(138, 53)[3] == 0
    tab.page.evaluate(
        "() => addEventListener('shown', () => document.body.dataset.shown = '', true)"
    )
    tab.move(138, 53)
    tab.page.wait_for_selector("body[data-shown]")
    red, green, blue, alpha = tab.ink(138, 53)
    assert alpha > 50 and blue > 200 > red
    assert tab.ink(100, 20)[3] == 0  # between coins
    assert tab.objects == []


def test_the_exported_mask_is_the_predictors(tab, predictor):
    tab.click(138, 53)
    name, data = tab.download("Mask PNG")
    masks, scores, _ = predictor.predict(point_coords=[[138, 53]], point_labels=[1])
    assert name == "coins_mask.png"
    np.testing.assert_array_equal(pixels(data) > 0, masks[scores.argmax()])
    assert tab.names() == ["Object 1"] and tab.ink(138, 53)[3] > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"modifiers": ["Alt"]}, {"button": "right"}])
def test_a_click_outside_the_object(tab, predictor, how):
    tab.click(138, 53)
    (modifier,) = how.pop("modifiers", [None])
    if modifier:
        tab.page.keyboard.down(modifier)
    tab.click(138, 80, **how)
    if modifier:
        tab.page.keyboard.up(modifier)
    (found,) = tab.objects
    assert found.points == [[138, 53], [138, 80]] and found.labels == [1, 0]
    masks, _, _ = predictor.predict(found.points, found.labels, multimask_output=False)
    np.testing.assert_array_equal(tab.masks[0], masks[0])


def test_a_drag_is_a_box(tab, predictor):
    tab.drag((114, 28), (160, 76))
    (found,) = tab.objects
    assert found.box == [114, 28, 160, 76] and found.points == []
    masks, _, _ = predictor.predict(box=found.box, multimask_output=False)
    np.testing.assert_array_equal(tab.masks[0], masks[0])


def test_three_masks_are_offered(tab, predictor):
    tab.click(138, 53)
    masks, scores, _ = predictor.predict(point_coords=[[138, 53]], point_labels=[1])
    shown = tab.page.locator(".choice-score").all_inner_texts()
    assert shown == [f"{round(score * 100)}%" for score in scores.tolist()]
    checked = tab.page.locator(".choice[aria-checked=true] .choice-key")
    assert checked.inner_text() == str(scores.argmax() + 1)
    for i in range(3):
        tab.press(str(i + 1))
        assert checked.inner_text() == str(i + 1)
        np.testing.assert_array_equal(tab.masks[0], masks[i])
    tab.click(138, 45)  # two points are not ambiguous
    assert not tab.page.locator("#choices").is_visible()


def test_undo_redo_and_clear(tab):
    tab.click(138, 53).click(138, 45)
    two = tab.masks[0]
    tab.press("Control+z")
    assert tab.objects[0].points == [[138, 53]]
    tab.press("Control+z")
    assert tab.objects == [] and tab.names() == []
    assert tab.page.locator("#undo").is_disabled()
    tab.press("Control+Shift+z", "Control+Shift+z")
    np.testing.assert_array_equal(tab.masks[0], two)
    assert tab.page.locator("#redo").is_disabled()
    tab.press("n").click(65, 50)
    tab.page.click("#clear")
    tab.settled()
    assert tab.objects == []
    tab.page.click("#undo")
    tab.settled()
    assert len(tab.objects) == 2 and tab.names() == ["Object 1", "Object 2"]


@pytest.mark.slow
def test_brush_and_eraser(tab):
    tab.click(138, 53)
    before = tab.masks[0]
    tab.press("b")
    tab.set("radius", 3)
    tab.drag((30, 100), (60, 100))
    tab.press("e")
    tab.drag((138, 40), (138, 66))
    (found,) = tab.objects
    expected = before
    for edit in found.edits:
        expected = brush(expected, edit["path"], edit["radius"], edit["erase"])
    np.testing.assert_array_equal(tab.masks[0], expected)
    assert expected[100, 45] and not expected[53, 138]
    assert tab.ink(45, 100)[3] > 0 and tab.ink(138, 59)[3] == 0
    tab.press("Control+z", "Control+z")
    np.testing.assert_array_equal(tab.masks[0], before)


@pytest.mark.slow
def test_painting_without_a_click_is_an_object(tab):
    tab.press("b").drag((30, 100), (60, 100))
    assert tab.masks[0].any() and tab.objects[0].points == []


@pytest.mark.slow
def test_zoom_pan_and_fit(tab):
    fitted = tab.text("#zoom-fit")
    tab.move(138, 53)
    tab.page.mouse.wheel(0, -120)
    tab.page.wait_for_timeout(50)
    assert tab.text("#zoom-fit") != fitted
    tab.click(138, 53)  # what was under the mouse still is
    assert tab.objects[0].points == [[138, 53]]
    tab.page.keyboard.down(" ")
    x, y = tab.at(138, 53)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 60, y, steps=3)
    tab.page.mouse.up()
    tab.page.keyboard.up(" ")
    tab.page.mouse.click(x + 60, y)
    tab.settled()
    assert tab.objects[0].points == [[138, 53], [138, 53]]
    tab.press("0")
    assert tab.text("#zoom-fit") == fitted


@pytest.mark.slow
def test_hovering_never_queues(tab):
    """However slow answers are: one request on its way, and the last place wins."""
    tab.page.evaluate("""() => {
      const ask = window.fetch;
      Object.assign(window, { now: 0, most: 0, asked: [], answer: null });
      const held = new Promise((done) => { answer = done; });
      window.fetch = async (path, options) => {
        if (!path.endsWith("/predict")) return ask(path, options);
        most = Math.max(most, ++now);
        asked.push(JSON.parse(options.body).points[0]);
        await held;
        return ask(path, options).finally(() => now--);
      };
    }""")
    for x in range(100, 160):
        tab.move(x, 53)
    tab.page.wait_for_function("() => asked.length === 1")
    tab.page.evaluate("() => answer()")
    tab.page.wait_for_function("() => asked.length === 2 && now === 0")
    most, asked = tab.page.evaluate("() => [most, asked]")
    assert most == 1 and asked[-1] == [159, 53]


@pytest.mark.slow
def test_a_picture_that_is_being_encoded_can_be_used(tab):
    """A click waits for the encoding; a bar shows how far it is."""
    tab.page.evaluate("""() => {
      const ask = window.fetch;
      window.fetch = async (path, options) => {
        const answer = await ask(path, options);
        if (window.finished || !/pictures.p1(.encode)?$/.test(path)) return answer;
        const picture = await answer.json();
        return new Response(JSON.stringify({ ...picture, ready: false, encoding: { done: 0.4 } }));
      };
      const server = window.fetch;
      window.fetch = (path, options) => path.endsWith("/predict") && !window.finished
        ? Promise.resolve(new Response('{"error": "the picture is not ready"}', { status: 409 }))
        : server(path, options);
    }""")
    tab.page.mouse.click(*tab.at(138, 53))
    bar = tab.page.locator("#progress-bar")
    bar.wait_for()
    assert bar.evaluate("(bar) => bar.value") == pytest.approx(0.4)
    tab.page.keyboard.press("?")
    assert tab.page.locator("#sheet").is_visible()
    tab.page.keyboard.press("Escape")
    tab.page.evaluate("() => { window.finished = true; }")
    tab.page.wait_for_selector("#choices:not([hidden])")
    assert not tab.page.locator("#progress").is_visible()


@pytest.mark.slow
def test_a_picture_that_cannot_be_encoded_again_is_named(tab):
    """The server has dropped its embedding, and fails to make another."""
    tab.page.evaluate("""() => {
      const ask = window.fetch;
      window.fetch = async (path, options) => {
        if (path.endsWith("/objects")) return new Response("{}", { status: 409 });
        const answer = await ask(path, options);
        if (!path.endsWith("/encode")) return answer;
        const picture = await answer.json();
        return new Response(JSON.stringify({ ...picture, ready: false, error: "no memory" }));
      };
    }""")
    tab.click(138, 53)
    assert tab.text("#toast") == "coins.png: no memory"
    assert tab.objects == []
