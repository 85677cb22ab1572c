"""Screenshots of the page of ``sam-mlx web``, written to examples/images/.

    python -m examples.benchmarks.web_pictures

draws it light and dark, on a phone, and with a large picture. Needs playwright, Chromium and
rasterio.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from .drawn import Drawn

IMAGES = Path(__file__).parents[1] / "images"
PICTURES = [IMAGES / f"{name}.png" for name in ("coins", "shapes", "plate", "gray")]
CLASSES = "oval,round,marked"
CLICKS = [  # x, y and a class's number, on coins.png
    ((65, 50), 1), ((108, 122), 2), ((138, 53), 2), ((110, 209), 2), ((30, 187), 1),
    ((234, 44), 3), ((203, 178), 3),
]  # fmt: skip
LAST = (180, 78)
PATIENCE = 120_000  # milliseconds, on a busy machine
MARGIN = 24  # around the picture
PHONE = {
    "viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True,
}  # fmt: skip
SCENE = Drawn(9000, 12_000, cell=400, seed=3)


def main() -> None:
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        with server(*PICTURES, "--classes", CLASSES) as address:
            for scheme in ("light", "dark"):
                shot = desk(browser, address, labelled, color_scheme=scheme)
                save(shot, f"web_{scheme}.png")
            save(phone(browser, address), "web_phone.png")
        path = Path(folder) / "orthophoto.tif"
        geotiff(path)
        with server(path) as address:
            save(desk(browser, address, discs), "web_large.png")


@contextmanager
def server(*arguments: str | Path) -> Iterator[str]:
    """The address of ``sam-mlx web`` with these arguments, and a data folder of its own."""
    command = [sys.executable, "-u", "-m", "sam_mlx", "web", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
        [*command, "--no-open", "--port", "0"], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"XDG_DATA_HOME": folder},
    ) as running:  # fmt: skip
        try:
            yield re.search(r"http://\S+", running.stdout.readline())[0]
        finally:
            running.terminate()


def desk(browser: Browser, address: str, work: Callable[[Page], None], **options) -> Image.Image:
    page = browser.new_page(viewport={"width": 1160, "height": 760}, **options)
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    close_earlier(page)
    work(page)
    page.wait_for_selector("#saved[data-saved=true]")
    return taken(page)


def phone(browser: Browser, address: str) -> Image.Image:
    """The picture, and the list of objects pulled up, side by side."""
    shots = []
    for scheme in ("light", "dark"):
        page = browser.new_page(**PHONE, color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        close_earlier(page)
        labelled(page)
        if scheme == "dark":
            page.click("#side-handle")
        shots.append(taken(page))
    width, height = shots[0].size
    both = Image.new("RGB", (2 * width + 24, height), "#8e8e93")
    for i, shot in enumerate(shots):
        both.paste(shot, (i * (width + 24), 0))
    return both


def close_earlier(page: Page) -> None:
    """Begin anew where the server offers earlier work."""
    page.wait_for_selector("#stage[data-ready]")
    page.wait_for_selector("body[data-ready]")
    if page.locator("#earlier-new").is_visible():
        page.click("#earlier-new")


def labelled(page: Page) -> None:
    """Objects of three classes, the last with its three masks to choose from."""
    for click, kind in CLICKS:
        page.keyboard.press(f"Shift+Digit{kind}")
        page.mouse.click(*place(page, click))
        page.wait_for_selector("#choices:not([hidden])")
        page.keyboard.press("n")
    page.keyboard.press("Shift+Digit2")
    page.mouse.click(*place(page, LAST))
    page.wait_for_selector("#choices:not([hidden])")


def discs(page: Page) -> None:
    """A part of a large picture, where its discs are objects."""
    every = SCENE.discs()
    x, y, _ = next(disc for disc in every if disc[0] > 5500 and disc[1] > 4000)
    left, top = place(page, (x, y), SCENE.shape[:2])
    page.mouse.move(left, top)
    for _ in range(9):
        page.mouse.wheel(0, -120)
    page.wait_for_timeout(3000)
    scale = float(page.locator("#zoom-fit").inner_text().rstrip("%")) / 100
    box = page.locator("#stage").bounding_box()
    for other_x, other_y, radius in every:
        at = left + (other_x - x) * scale, top + (other_y - y) * scale
        low = box["x"], box["y"]
        high = box["x"] + box["width"], box["y"] + box["height"] - 60  # above the zoom's buttons
        if all(a + radius * scale < v < b - radius * scale for v, a, b in zip(at, low, high)):
            page.mouse.click(*at)
            page.wait_for_selector("#stage:not([data-unsaved])")
            page.keyboard.press("n")


def taken(page: Page) -> Image.Image:
    page.wait_for_selector("#stage:not([data-unsaved])")
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(path=file.name)
        return Image.open(file.name).convert("RGB")


def save(shot: Image.Image, name: str) -> None:
    """With few colours, which keep the file small: README shows it."""
    path = IMAGES / name
    shot.quantize(256, kmeans=4).save(path, optimize=True)
    print(path, path.stat().st_size)


def place(
    page: Page, pixel: tuple[float, float], size: tuple[int, int] = (256, 256)
) -> tuple[float, float]:
    """The position in the window of a pixel of a picture (height, width) that is fitted."""
    box = page.locator("#stage").bounding_box()
    scale = min((box["height"] - 2 * MARGIN) / size[0], (box["width"] - 2 * MARGIN) / size[1])
    left = box["x"] + (box["width"] - size[1] * scale) / 2
    top = box["y"] + (box["height"] - size[0] * scale) / 2
    return left + (pixel[0] + 0.5) * scale, top + (pixel[1] + 0.5) * scale


def geotiff(path: Path) -> None:
    height, width, bands = SCENE.shape
    where = rasterio.transform.from_origin(500000, 5400000, 0.5, 0.5)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype=np.uint8,
        tiled=True, compress="deflate", zlevel=1, crs="EPSG:32633", transform=where,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(SCENE.whole(), -1, 0))


if __name__ == "__main__":
    main()
