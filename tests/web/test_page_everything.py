"""The page in a browser: everything, how it is searched, what is left out, hundreds of masks."""

import numpy as np
import pytest

import tests.support.browser  # noqa: F401  first: it skips all where it must
from sam_mlx import masks as M
from sam_mlx.overlay import hex_colour
from sam_mlx.web.automatic import PointRun

pytestmark = pytest.mark.slow


@pytest.fixture
def found(tab, monkeypatch):
    """A search that ends at once, with squares of 4 to 12 pixels; asked: the points a side."""
    asked = []

    def search(picture, owner, points_per_side):
        asked.append(points_per_side)
        run = PointRun(picture.new_run(), points_per_side)
        masks = np.zeros((300, 256, 256), bool)
        for i in range(300):
            y, x = 12 * (i // 20), 12 * (i % 20)
            masks[i, y : y + 4 + i % 9, x : x + 4 + i % 9] = True
        rles = M.compress_rle(M.encode_rle(masks))
        run.records = [M.record_of(rle, 0.9, 0.95) for rle in rles]
        run.done, run.is_done = 1.0, True
        picture.automatic = run

    monkeypatch.setattr(tab.server, "search", search)
    return asked


def count(tab, expected: int):
    tab.page.wait_for_selector(f"#automatic-count:has-text('{expected} of 300 masks')")


def test_points_a_side_are_chosen(found, tab):
    tab.page.locator("#points-side").fill("12")
    tab.page.locator("#points-side").press("Enter")
    tab.page.click("#automatic-find")
    count(tab, 300)
    tab.page.get_by_role("button", name="Search again").click()
    tab.page.locator("#points-side").fill("9999")
    tab.page.click("#automatic-find")
    count(tab, 300)
    assert found == [12, 128]


def test_the_smallest_mask_is_chosen(found, tab):
    tab.page.click("#automatic-find")
    count(tab, 300)
    tab.set("smallest", 100)  # sides of 10 and more
    count(tab, sum(4 + i % 9 >= 10 for i in range(300)))


def test_objects_that_are_there_already_are_left_out(found, tab):
    tab.page.click("#automatic-find")
    count(tab, 300)
    tab.page.mouse.click(*tab.at(2, 2))
    tab.settled()
    count(tab, 299)
    tab.page.reload()  # the mask without the search that it came from
    tab.ready().page.click("#automatic-find")
    count(tab, 299)
    tab.set("smallest", 144)
    count(tab, 33)
    tab.page.get_by_role("button", name="Take all").click()
    tab.settled()
    assert sorted(o.area for o in tab.objects) == [16] + [144] * 33


def test_hundreds_of_masks_are_taken_listed_and_exported(found, tab):
    """Thumbnails are drawn only for the rows that are seen."""
    tab.page.click("#automatic-find")
    count(tab, 300)
    tab.page.get_by_role("button", name="Take all").click()
    tab.page.wait_for_selector("#stage:not([data-unsaved])")
    assert len(tab.names()) == len(tab.objects) == 300
    drawn = """() => [...document.querySelectorAll(".object canvas")].filter((canvas) =>
      canvas.getContext("2d").getImageData(36, 36, 1, 1).data[3] > 0).length"""
    assert 0 < tab.page.evaluate(drawn) < 60
    tab.page.locator(".object").last.scroll_into_view_if_needed()
    tab.page.wait_for_timeout(200)
    last = tab.page.locator(".object canvas").last
    assert last.evaluate("(c) => c.getContext('2d').getImageData(36, 36, 1, 1).data[3]") > 0
    _, data = tab.download("COCO annotations")
    assert data.count(b'"segmentation"') == 300


def test_colours_of_hundreds_are_the_palettes(tab):
    """And the first ones are the page's own."""
    colours = tab.page.evaluate("""async () => {
      const { colourAt } = await import("/page/colours.js");
      return Array.from({ length: 300 }, (_, i) => colourAt(i));
    }""")
    assert colours[24:] == [hex_colour(i) for i in range(24, 300)]
    assert len(set(colours)) == 300
