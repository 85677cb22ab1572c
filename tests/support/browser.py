"""The page of ``sam-mlx web`` in headless Chromium, for tests, which are skipped without it."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing (extra test)")

from sam_mlx.masks import decode_rle

COINS = Path(__file__).parents[2] / "examples" / "images" / "coins.png"
PATIENCE = 120_000  # milliseconds: on a busy machine the first encoding alone may take 40 s
sync_api.expect.set_options(timeout=PATIENCE)
MARGIN = 24  # around a fitted picture
# The shell first: it has no windows of its own to draw, which take two fifths of the CPU's time.
NAMES = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"


def find_chromium() -> str | None:
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A user's actions in the page, and the page's state."""

    def __init__(self, page, server):
        self.page = page
        self.page.set_default_timeout(PATIENCE)
        self.server = server
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, address: str):
        self.page.goto(address)
        return self.ready()

    def ready(self):
        self.page.wait_for_selector("#stage[data-ready]")
        self.page.wait_for_selector("body[data-ready]")
        return self

    # What a user does.

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position in the page of a picture pixel's centre, while the picture is fitted."""
        box = self.page.locator("#stage").bounding_box()
        height, width = self.picture.size
        scale = min((box["width"] - 2 * MARGIN) / width, (box["height"] - 2 * MARGIN) / height)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def move(self, x: float, y: float):
        self.page.mouse.move(*self.at(x, y))

    def click(self, x: float, y: float, **options):
        """Click, and return when the server has the result."""
        self.page.mouse.click(*self.at(x, y), **options)
        return self.settled()

    def drag(self, *corners: tuple[float, float]):
        self.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*self.at(*corner), steps=4)
        self.page.mouse.up()
        return self.settled()

    def press(self, *keys: str):
        for key in keys:
            self.page.keyboard.press(key)
        return self.settled()

    def settled(self):
        """Wait until the page has sent and drawn everything."""
        self.page.wait_for_selector("#stage:not([data-unsaved])")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
        return self

    def set(self, slider: str, value: float):
        self.page.locator(f"#{slider}").fill(str(value))

    def filtered(self, slider: str, value: float, word: str) -> int:
        """How many automatic masks are left once a slider is set: as many as the server says.

        word: after the number, in the page.
        """

        def answers(response):
            is_select = response.url.endswith("/select")
            return is_select and response.request.post_data_json[slider] == value

        with self.page.expect_response(answers) as found:
            self.set(slider, value)
        count = len(found.value.json()["ids"])
        self.page.wait_for_selector(f"#automatic-count:has-text('{count} {word}')")
        return count

    def download(self, label: str) -> tuple[str, bytes]:
        """Choose an entry of the export menu: the file's name and its bytes."""
        self.page.click("#export")
        with self.page.expect_download() as found:
            self.page.get_by_role("menuitem", name=label).click()
        return found.value.suggested_filename, Path(found.value.path()).read_bytes()

    # What they see.

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def names(self) -> list[str]:
        """The names in the list of objects."""
        return self.values(".object-name")

    def values(self, fields: str) -> list[str]:
        """What these fields hold, all at one moment: a row may go while others are asked."""
        return self.page.locator(fields).evaluate_all("found => found.map(({ value }) => value)")

    def ink(self, x: float, y: float) -> list[int]:
        """The masks' colour (R, G, B, A) over a pixel: the topmost that is not transparent."""
        script = """([x, y]) => {
          const stage = document.getElementById("stage").getBoundingClientRect();
          const masks = [...document.querySelectorAll("#stage canvas")].slice(1).reverse();
          const found = masks.map((canvas) => {
            const r = canvas.width / stage.width;
            const at = [(x - stage.left) * r, (y - stage.top) * r];
            return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
          });
          return found.find((colour) => colour[3]) ?? found[0];
        }"""
        return self.page.evaluate(script, list(self.at(x, y)))

    # What the server has.

    @property
    def session(self):
        kept = self.page.evaluate("() => sessionStorage.getItem('session')")
        return self.server.sessions.get(json.loads(kept)["session"])

    @property
    def picture(self):
        return self.session.picture(self.page.evaluate("() => sessionStorage.getItem('picture')"))

    @property
    def objects(self) -> list:
        return list(self.picture.objects.values())

    @property
    def masks(self) -> list[np.ndarray]:
        return [decode_rle([found.mask])[0] for found in self.objects]


def pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))
