"""Screenshots of the page of ``sam-mlx web``, light and dark, written to examples/images/.

    python -m examples.benchmarks.web_pictures

Needs playwright and Chromium.
"""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "images"
CLICKS = [(65, 50), (108, 122), (234, 44), (203, 178), (110, 209), (30, 187)]  # on coins.png
LAST = (180, 78)
MARGIN = 24  # around the picture


def main() -> None:
    command = [sys.executable, "-u", "-m", "sam_mlx", "web", "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                for scheme in ("light", "dark"):
                    window = {"width": 1080, "height": 700}
                    page = browser.new_page(viewport=window, color_scheme=scheme)
                    page.goto(address)
                    save(page, IMAGES / f"web_{scheme}.png")
        finally:
            server.terminate()


def save(page: Page, path: Path) -> None:
    page.wait_for_selector("#stage[data-ready]")
    for click in CLICKS:
        page.mouse.click(*place(page, click))
        page.wait_for_selector("#choices:not([hidden])")
        page.keyboard.press("n")
    for name, row in zip(("oval", "grey", "checked"), page.locator(".object-name").all()):
        row.fill(name)
        row.press("Enter")
    page.mouse.click(*place(page, LAST))
    page.wait_for_selector("#choices:not([hidden])")
    page.wait_for_selector("#stage:not([data-unsaved])")
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    # Few colours keep the file small: README shows it.
    few = Image.open(path).convert("RGB").quantize(256, kmeans=4)
    few.save(path, optimize=True)
    print(path, path.stat().st_size)


def place(page: Page, pixel: tuple[int, int]) -> tuple[float, float]:
    """The position in the window of a pixel of the coins, which are 256 pixels wide and high."""
    box = page.locator("#stage").bounding_box()
    scale = (min(box["width"], box["height"]) - 2 * MARGIN) / 256
    left = box["x"] + (box["width"] - 256 * scale) / 2
    top = box["y"] + (box["height"] - 256 * scale) / 2
    return left + (pixel[0] + 0.5) * scale, top + (pixel[1] + 0.5) * scale


if __name__ == "__main__":
    main()
