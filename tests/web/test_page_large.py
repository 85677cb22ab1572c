"""The page in a browser on a large picture: tiles as one zooms, windows, exports."""

import numpy as np
import pytest

from tests.support.browser import MARGIN  # isort: skip  first: it skips all where it must

rasterio = pytest.importorskip("rasterio", reason="rasterio is missing (extra geo)")

from sam_mlx.masks import decode_part, rle_bbox
from tests.support.large_page import (
    DISC,
    LARGER,
    colour_of,
    discs_in_view,
    hover,
    ink_at,
    iou_with,
    offset,
    scale_of,
    shown,
    tiles_there,
    write_scene,
    zoom,
)

pytestmark = pytest.mark.slow

MAX_BITMAPS = 192 + 4 + 2  # kept, on their way, and the overview


@pytest.fixture(scope="module")
def site(nano, tmp_path_factory):
    """A server with a large picture, for this file: (server, address)."""
    from sam_mlx.web.backend import Backend
    from tests.support.web import on_a_socket

    server = Backend(nano, "nano", [write_scene(tmp_path_factory.mktemp("scene"))])
    with on_a_socket(server) as port:
        yield server, f"http://127.0.0.1:{port}/"
    server.close()


COUNT = """() => {
  const make = window.createImageBitmap;
  window.bitmaps = { live: 0, most: 0, tiles: 0 };
  window.createImageBitmap = async (...given) => {
    const bitmap = await make(...given);
    const close = bitmap.close.bind(bitmap);
    bitmaps.live++;
    bitmaps.tiles += bitmap.width === 512;
    bitmaps.most = Math.max(bitmaps.most, bitmaps.live);
    bitmap.close = () => {
      bitmaps.live--;
      close();
    };
    return bitmap;
  };
}"""


def test_a_disc_is_found_where_it_lies_at_every_level(tab):
    assert tab.text("#picture-name") == "ortho.tif"
    assert MARGIN and scale_of(tab) < 0.08
    for disc, steps in ((DISC, 15), (LARGER, 9)):  # not where the level changes
        zoom(tab, disc, steps)
        tiles_there(tab)
        scale = scale_of(tab)
        assert abs(np.array(shown(tab, *disc[:2])) - colour_of(disc)).max() < 12
        tab.page.mouse.move(*tab.at(*disc[:2]))
        tab.page.mouse.click(*tab.at(*disc[:2]))
        tab.settled()
        found = tab.objects[-1]
        assert found.mask_scale == 2 ** int(np.floor(np.log2(1 / scale))) if scale < 1 else 1
        assert iou_with(disc, found) > 0.9
        r = disc[2]
        for dx, dy in ((0.8 * r, 0), (-0.8 * r, 0), (0, 0.8 * r), (0, -0.8 * r)):
            assert ink_at(tab, offset(tab, disc, dx, dy, scale)) > 0
        for dx, dy in ((1.2 * r, 0), (-1.2 * r, 0), (0, 1.2 * r), (0, -1.2 * r)):
            assert ink_at(tab, offset(tab, disc, dx, dy, scale)) == 0
        tab.press("Enter", "0")
    assert [o.mask_scale for o in tab.objects] == sorted(o.mask_scale for o in tab.objects)
    name, data = tab.download("Outlines on the map")
    assert name == "ortho.gpkg" and data.startswith(b"SQLite format 3")


def test_hovering_shows_a_mask(tab):
    zoom(tab, DISC, 15)
    hover(tab, DISC)


def test_strokes_are_painted_at_the_level(tab):
    zoom(tab, DISC, 8)
    tab.press("b")
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.settled()
    (found,) = tab.objects
    assert found.mask_scale == found.scale > 1 and found.points == []
    x, y, w, h = rle_bbox(found.mask)
    assert w == h > 1
    # A pixel of the screen is a dozen of the fitted picture.
    middle = np.array([x + w / 2, y + h / 2]) * found.mask_scale
    assert abs(middle - DISC[:2]).max() < 1 / 0.07


def test_memory_is_bounded_while_panning(tab):
    tab.page.evaluate(COUNT)
    zoom(tab, DISC, 17)
    stage = tab.page.locator("#stage").bounding_box()
    middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    for i in range(14):
        for _ in range(3):
            tab.page.mouse.move(*middle)
            tab.page.mouse.down(button="middle")
            tab.page.mouse.move(middle[0] + (300 if i % 2 else -300), middle[1] - 200, steps=2)
            tab.page.mouse.up(button="middle")
        tiles_there(tab)
    counted = tab.page.evaluate("() => bitmaps")
    assert counted["tiles"] > 30 and counted["most"] <= MAX_BITMAPS


def test_everything_in_view_is_found_and_taken(tab, monkeypatch):
    monkeypatch.setattr("sam_mlx.web.routes.automatic.POINTS_PER_SIDE", 12)
    assert "sam-mlx auto ortho.tif -o out --tile 1024" in tab.text("#automatic")
    zoom(tab, DISC, 10)
    assert tab.text("#automatic-find") == "Find everything in view"
    discs = discs_in_view(tab)
    assert DISC in discs and len(discs) > 1
    tab.page.click("#automatic-find")
    tab.page.wait_for_selector("#automatic-count")
    tab.page.wait_for_selector("text=/^[1-9]\\d* of/")
    r, scale = DISC[2], scale_of(tab)
    tab.settled()
    assert ink_at(tab, offset(tab, DISC, 0.7 * r, 0, scale)) > 0
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.settled()
    (found,) = tab.objects
    assert found.automatic is not None and found.mask_scale > 1 and iou_with(DISC, found) > 0.9
    tab.page.get_by_role("button", name="Take all").click()
    tab.settled()
    for disc in discs:
        assert max(iou_with(disc, one) for one in tab.objects) > 0.85
    assert tab.text("#automatic-find") == "Find everything in view"
    tab.page.click("#export")
    assert tab.page.get_by_role("menuitem", name="Copy the mask").is_disabled()


def test_masks_of_several_levels_are_merged_and_subtracted(tab):
    """At the picture's own scale, whatever the levels that they were made at."""
    zoom(tab, DISC, 8)
    tab.press("b")
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.press("Enter")
    zoom(tab, DISC, 4)
    tab.page.mouse.click(*tab.at(DISC[0] + 40, DISC[1]))
    tab.press("Enter", "s")
    first, second = tab.objects
    assert first.mask_scale > second.mask_scale >= 1

    def pixels(found):
        s = found.mask_scale
        x, y = (int(n) // 16 * 16 - 800 for n in DISC[:2])
        part = decode_part(found.mask, tuple(n // s for n in (x, y, x + 1600, y + 1600)))
        assert part.sum() == found.area
        return part.repeat(s, 0).repeat(s, 1)

    before = pixels(first), pixels(second)
    assert (before[0] & before[1]).any()
    tab.page.get_by_role("button", name="Choose Object 1").click()
    tab.page.get_by_role("button", name="Choose Object 2").click(modifiers=["Shift"])
    tab.press("k")
    np.testing.assert_array_equal(pixels(tab.objects[0]), before[0] & ~before[1])
    tab.press("Control+z", "Escape", "Escape")
    tab.page.get_by_role("button", name="Choose Object 1").click()
    tab.page.get_by_role("button", name="Choose Object 2").click(modifiers=["Shift"])
    tab.page.get_by_role("button", name="Merge").click()
    tab.settled()
    (merged,) = tab.objects
    assert merged.mask_scale == 1
    np.testing.assert_array_equal(pixels(merged), before[0] | before[1])


def test_a_reload_gives_the_work_back(tab):
    zoom(tab, DISC, 12)
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.settled()
    before = tab.objects[0]
    tab.page.reload()
    tab.ready()
    assert tab.names() == ["Object 1"] and tab.objects[0] is before
    assert tab.ink(*DISC[:2])[3] > 0
