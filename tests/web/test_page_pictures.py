"""The page in a browser: pictures, their names and states, and what is kept between them."""

import io
import time

import pytest
from PIL import Image

from tests.support.browser import COINS  # isort: skip  first: it skips all where it must

pytestmark = pytest.mark.slow


def file(name: str, turn: int = 0) -> dict:
    data = io.BytesIO()
    Image.open(COINS).rotate(turn).save(data, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": data.getvalue()}


@pytest.fixture
def four(tab):
    """The coins, and three pictures of the same size; the first is shown."""
    tab.page.locator("#files").set_input_files([file(f"{i}.png", 90 * i) for i in (1, 2, 3)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(4)")
    tab.page.get_by_role("button", name="coins.png", exact=True).click()
    return tab.ready().settled()


def states(tab) -> list[str]:
    script = "items => items.map(({ dataset }) => dataset.state)"
    return tab.page.locator("#thumbnails li").evaluate_all(script)


def test_names_places_and_states(four):
    tab = four
    names = tab.page.locator(".thumbnail-name").all_inner_texts()
    assert names == ["coins.png", "1.png", "2.png", "3.png"]
    assert tab.text("#place") == "1 of 4" and states(tab) == ["none"] * 4
    tab.click(138, 53)
    tab.press("PageDown", "PageDown")
    tab.ready().press("g")
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)[data-state=done]")
    assert tab.text("#place") == "3 of 4" and states(tab) == ["some", "none", "done", "none"]
    tab.page.reload()
    assert states(tab.ready()) == ["some", "none", "done", "none"]
    tab.press("u")
    assert tab.text("#picture-name") == "3.png"
    tab.press("u")
    assert tab.text("#picture-name") == "1.png"  # round the end, past what has objects or is done
    tab.press("PageDown")
    tab.ready().press("g")
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)[data-state=none]")
    assert [p.done for p in tab.session.pictures.values()] == [False] * 4


def test_the_next_picture_is_encoded_ahead(four):
    second = list(four.session.pictures.values())[1]
    end = time.monotonic() + 60
    while second.content.key not in four.server.model.embeddings:
        assert time.monotonic() < end
        four.page.wait_for_timeout(50)
    assert four.text("#picture-name") == "coins.png"


def test_the_view_is_kept_between_pictures_of_one_size(four):
    tab = four
    tab.press("+", "+", "+")
    zoom = tab.text("#zoom-fit")
    tab.press("PageDown")
    assert tab.text("#picture-name") == "1.png" and tab.text("#zoom-fit") == zoom
    tab.press("0")
    fitted = tab.text("#zoom-fit")
    tab.press("PageUp")
    assert tab.text("#zoom-fit") == fitted != zoom


def test_every_pictures_undo_outlives_a_reload(four):
    tab = four
    tab.click(138, 53).click(138, 45)
    tab.press("n").click(65, 50)
    masks = [found.mask for found in tab.objects]
    tab.press("PageDown")
    tab.ready().click(53, 117)
    tab.press("Control+z")
    tab.page.reload()
    tab.ready().press("Control+Shift+z")
    assert len(tab.objects) == 1
    tab.press("PageUp")
    tab.ready().press("Control+z", "Control+z")
    assert [found.points for found in tab.objects] == [[[138, 53]]]
    tab.press("Control+z")
    assert tab.objects == [] and tab.page.locator("#undo").is_disabled()
    tab.press(*["Control+Shift+z"] * 3)
    assert [found.mask for found in tab.objects] == masks


def test_undo_is_forgotten_where_the_work_has_changed(four):
    tab = four
    tab.click(138, 53)
    tab.page.evaluate("() => dispatchEvent(new Event('pagehide'))")
    kept = tab.page.evaluate("() => ({ ...sessionStorage })")
    (name,) = (key for key in kept if key.startswith("undo ") and key.endswith(" p1"))
    tab.press("n").click(65, 50)
    script = (
        "([name, text]) => addEventListener('pagehide', () => sessionStorage.setItem(name, text))"
    )
    tab.page.evaluate(script, [name, kept[name]])
    tab.page.reload()
    assert len(tab.ready().names()) == 2 and tab.page.locator("#undo").is_disabled()


def test_a_file_on_its_way_shows_how_far_it_is(tab):
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("Network.enable")
    rate = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 40_000}
    session.send("Network.emulateNetworkConditions", rate)
    noise = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(noise, "PNG")
    tab.page.locator("#files").set_input_files(
        [{"name": "noise.png", "mimeType": "image/png", "buffer": noise.getvalue()}]
    )
    label = tab.page.locator("#progress-label")
    label.filter(has_text="Sending noise.png").wait_for()
    session.send("Network.emulateNetworkConditions", rate | {"uploadThroughput": -1})
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)")
    assert tab.ready().text("#picture-name") == "noise.png"
