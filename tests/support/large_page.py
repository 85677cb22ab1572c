"""A large picture of discs in the page of ``sam-mlx web``: what a user does there, and sees."""

from __future__ import annotations

import numpy as np

from tests.support import large
from tests.support.large import Drawn, geotiff

SCENE = Drawn(9000, 12_000, cell=400, seed=3)
DISC = next(d for d in SCENE.discs() if d[0] > 6000 and d[1] > 4000 and 70 < d[2] < 110)
LARGER = next(d for d in SCENE.discs() if d[0] > 3000 and d[1] > 2000 and d[2] > 140)


def write_scene(folder):
    return geotiff(folder / "ortho.tif", SCENE.whole(), compress="deflate", zlevel=1)


def zoom(tab, disc, steps):
    """Turn the wheel over a disc, which stays under the pointer."""
    tab.move(*disc[:2])
    for _ in range(abs(steps)):
        tab.page.mouse.wheel(0, -120 if steps > 0 else 120)
    tab.settled()


def tiles_there(tab):
    """Wait until no tile is missing."""
    tab.page.wait_for_function(
        """async () => {
          const count = () => performance.getEntriesByType("resource").length;
          const before = count();
          await new Promise((done) => setTimeout(done, 400));
          return count() === before;
        }""",
    )
    return tab.settled()


def shown(tab, x, y):
    """The picture's colour where a pixel of the fitted picture is in the page."""
    script = """([x, y]) => {
      const canvas = document.querySelector("#stage canvas");
      const stage = document.getElementById("stage").getBoundingClientRect();
      const r = canvas.width / stage.width;
      const at = [(x - stage.left) * r, (y - stage.top) * r];
      return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
    }"""
    return tab.page.evaluate(script, list(tab.at(x, y)))[:3]


def offset(tab, disc, dx, dy, scale):
    """A place of the page beside a disc's middle, by pixels of the picture, at a zoom."""
    x, y = tab.at(*disc[:2])
    return x + dx * scale, y + dy * scale


def scale_of(tab):
    return float(tab.text("#zoom-fit").rstrip("%")) / 100


def ink_at(tab, at):
    script = """(at) => {
      const stage = document.getElementById("stage").getBoundingClientRect();
      const found = [...document.querySelectorAll("#stage canvas")].slice(1).map((canvas) => {
        const r = canvas.width / stage.width;
        const place = [(at[0] - stage.left) * r, (at[1] - stage.top) * r];
        return canvas.getContext("2d").getImageData(...place, 1, 1).data[3];
      });
      return Math.max(...found);
    }"""
    return tab.page.evaluate(script, list(at))


def wait_for_ink(tab, at):
    for _ in range(600):
        if ink_at(tab, at):
            return
        tab.page.wait_for_timeout(100)
    raise AssertionError(f"no mask is shown at {at}")


def iou_with(disc, found):
    return large.iou_with(disc, found.mask, found.mask_scale)


def hover(tab, disc):
    """Move over a disc, and wait until its mask is shown, which does not reach beyond it."""
    r, scale = disc[2], scale_of(tab)
    x, y = tab.at(*disc[:2])
    tab.page.mouse.move(x + 3, y + 2)
    wait_for_ink(tab, offset(tab, disc, 0.7 * r, 0, scale))
    assert ink_at(tab, offset(tab, disc, 1.3 * r, 0, scale)) == 0 and tab.objects == []


def colour_of(disc):
    x, y = int(disc[0]), int(disc[1])
    return SCENE[y : y + 1, x : x + 1][0, 0].astype(int)


def area_of(tab):
    """What one sees: x0, y0, x1, y1 in the picture."""
    box, (x, y), scale = tab.page.locator("#stage").bounding_box(), tab.at(*DISC[:2]), scale_of(tab)
    left, top = (np.array([box["x"], box["y"]]) - (x, y)) / scale + DISC[:2]
    return left, top, left + box["width"] / scale, top + box["height"] / scale


def discs_in_view(tab, least=8):
    """The discs of the scene that one sees whole. least: radius at nano, which sees 320 pixels."""
    x0, y0, x1, y1 = area_of(tab)
    space = 0.02 * (x1 - x0)
    return [
        (x, y, r) for x, y, r in SCENE.discs()
        if x0 + space < x - r and x + r < x1 - space and y0 + space < y - r and y + r < y1 - space
        and r * 320 / (x1 - x0) > least
    ]  # fmt: skip
