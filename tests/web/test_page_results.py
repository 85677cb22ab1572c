"""The page in a browser: targets that do not cover each other, and results as the list has them."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import pixels  # isort: skip  first: it skips all where it must

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOXES = """() => [...document.querySelectorAll("#strip button")].map((button) => {
  const { left, top, right, bottom, width, height } = button.getBoundingClientRect();
  const list = button.closest("ul")?.getBoundingClientRect() ?? { left, right };  // which scrolls
  const seen = [Math.max(left, list.left), top, Math.min(right, list.right), bottom];
  return { seen, width, height };
})"""


def picture(value: int) -> dict:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), (value, 90, 40)).save(file, "PNG")
    return {"name": f"{value}.png", "mimeType": "image/png", "buffer": file.getvalue()}


@pytest.mark.parametrize("width", [360, 550, 1100])  # a phone; a window at 200 %; a window
def test_targets_of_the_strip_are_large_enough_and_apart(window, width):
    tab = window(viewport={"width": width, "height": 700})
    tab.page.locator("#files").set_input_files([picture(10), picture(20)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(3)")
    found = tab.page.evaluate(BOXES)
    assert len(found) == 7
    assert all(one["width"] >= 24 and one["height"] >= 24 for one in found)
    boxes = [one["seen"] for one in found if one["seen"][0] < one["seen"][2]]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    x0, y0, x1, y1 = boxes[2]
    tab.page.mouse.click((x0 + x1) / 2, (y0 + y1) / 2)  # the middle of a thumbnail
    tab.page.wait_for_timeout(300)
    assert len(tab.session.pictures) == 3 and tab.text("#picture-name") == "10.png"


def test_numbers_are_not_given_twice_and_order_is_the_lists(tab):
    tab.click(138, 53).press("n").click(65, 50).press("n").click(60, 160).press("Enter")
    masks = tab.masks
    tab.page.get_by_role("button", name="Delete Object 1").click()
    tab.settled()
    tab.page.reload()
    tab.ready().click(138, 53).press("Enter")
    assert sorted(tab.names()) == ["Object 2", "Object 3", "Object 4"]
    tab.page.get_by_role("button", name="Delete Object 3").click()
    tab.settled()
    tab.press("Control+z")
    tab.page.reload()
    tab.ready()
    order = [int(name[-1]) for name in tab.names()]
    assert sorted(order) == [2, 3, 4]
    labels = pixels(tab.download("Label map")[1])
    numbers = [found.name for found in tab.picture.in_order()]
    assert labels[masks[1] & ~masks[2]].max() == numbers.index("Object 2") + 1
    assert labels[masks[2] & ~masks[1]].max() == numbers.index("Object 3") + 1
    assert numbers == ["Object 2", "Object 3", "Object 4"]


def test_hidden_objects_are_exported_and_the_menu_says_so(window):
    tab = window(permissions=["clipboard-read", "clipboard-write"])
    tab.click(138, 53).press("n").click(65, 50).press("Enter")
    tab.page.get_by_role("button", name="Hide Object 1").click()
    tab.settled()
    assert len(set(np.unique(pixels(tab.download("Label map")[1])))) == 3
    tab.page.click("#export")
    assert "Hidden objects are exported" in tab.text("#export-menu")
    tab.page.get_by_role("menuitem", name="Copy the mask").click()
    tab.page.wait_for_selector("text=The mask was copied")
    data = tab.page.evaluate("""async () => {
      const [item] = await navigator.clipboard.read();
      return [...new Uint8Array(await (await item.getType("image/png")).arrayBuffer())];
    }""")
    copied = pixels(bytes(data))[..., 0] > 0
    np.testing.assert_array_equal(copied, tab.masks[0] | tab.masks[1])


def test_the_documented_install_has_what_the_page_needs():
    (extra,) = re.findall(r"^web = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.M)
    assert {"scipy", "segno"} <= set(re.findall(r'"([a-z]+)', extra))
