"""How long after a move of the mouse its mask is on the screen, in a browser.

    python -m examples.benchmarks.web_hover

opens the page of ``sam-mlx web`` in headless Chromium and moves the mouse over the picture. A move
ends when the mask for its position, or for a later one, is shown. The page skips moves that newer
ones have overtaken, so these are timed until the mask that replaced theirs.
"""

import argparse
import math
import re
import subprocess
import sys

import numpy as np
from playwright.sync_api import sync_playwright

WATCH = """() => {
  window.moves = [];
  window.masks = [];
  const stage = document.getElementById("stage");
  stage.addEventListener("pointermove", (event) => moves.push(event.timeStamp));
  stage.addEventListener("shown", (event) => masks.push([event.detail.since, performance.now()]));
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--pause", type=float, default=60.0, help="between moves, in ms")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    command = [sys.executable, "-m", "sam_mlx", "web", "--no-open", "--port", "0"]
    with subprocess.Popen(
        [*command, "--model", args.model], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            times = measure(address, args)
        finally:
            server.terminate()
    p50, p95 = np.percentile(times, [50, 95])
    print(f"{args.model}, {len(times)} moves: p50 {p50:.0f} ms, p95 {p95:.0f} ms")


def measure(address: str, args: argparse.Namespace) -> list[float]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("#stage[data-ready]", timeout=600_000)
        box = page.locator("#stage").bounding_box()
        wander(page, box, 10, args.pause)
        page.evaluate(WATCH)
        wander(page, box, args.moves, args.pause)
        page.wait_for_timeout(1000)
        moves, masks = page.evaluate("[moves, masks]")
        browser.close()
    return [min(shown for since, shown in masks if since >= move) - move for move in moves]


def wander(page, box: dict, moves: int, pause: float) -> None:
    """Around the picture's middle, in a spiral that never returns to a position."""
    for i in range(moves):
        angle, radius = i * 0.11, box["height"] * (0.1 + 0.33 * i / moves)
        x = box["x"] + box["width"] / 2 + radius * math.cos(angle)
        y = box["y"] + box["height"] / 2 + radius * math.sin(angle)
        page.mouse.move(x, y)
        page.wait_for_timeout(pause)


if __name__ == "__main__":
    main()
