"""Many clients of ``sam-mlx serve`` at once, of all its protocols: latencies, errors, memory.

    python -m examples.benchmarks.serve_clients

starts a server on nano, which 50 clients use for a minute, as X-AnyLabeling, Label Studio, QuPath
and programs do: each asks about one picture of its own, with a new point as soon as the last answer
is there. ``--large 2`` adds two that send a new picture of 24 megapixels each time. Needs Linux,
the extra ``web``, and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from .web_clients import Found, in_rounds, table

COINS = Path(__file__).parents[1] / "images" / "coins.png"
CONFIG = (
    '<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i"><Label value="x"/>'
    "</BrushLabels></View>"
)
Body = tuple[str, dict[str, Any]]


def program(picture: str, x: int, y: int) -> Body:
    return "/v1/segment", {"picture": picture, "points": [[x, y]], "labels": [1], "format": "coco"}


def x_anylabeling(picture: str, x: int, y: int) -> Body:
    marks = [{"type": "point", "data": [x, y], "label": 1}]
    image = f"data:image/png;base64,{picture}"
    return "/v1/predict", {"model": "nano", "image": image, "params": {"marks": marks}}


def label_studio(picture: str, x: int, y: int) -> Body:
    value = {"x": x / 2.56, "y": y / 2.56, "width": 1, "keypointlabels": ["x"]}
    context = {"result": [{"type": "keypointlabels", "is_positive": True, "value": value}]}
    task = {"id": 1, "data": {"i": f"data:image/png;base64,{picture}"}}
    return "/predict", {"tasks": [task], "label_config": CONFIG, "params": {"context": context}}


def qupath(picture: str, x: int, y: int) -> Body:
    return "/sam/", {"type": "vit_t", "b64img": picture, "point_coords": [[x, y]],
                     "point_labels": [1], "multimask_output": True}  # fmt: skip


TOOLS = (program, x_anylabeling, label_studio, qupath)


def own_picture(number: int) -> str:
    """The coins, turned and with a mark: each client has a file of its own."""
    pixels = np.rot90(np.array(Image.open(COINS).convert("RGB")), number % 4).copy()
    pixels[:8, :8] = number
    return encoded(pixels, "PNG")


def large_picture(number: int) -> str:
    tile = np.random.default_rng(number).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    return encoded(tile.repeat(100, axis=0).repeat(100, axis=1), "JPEG")


def encoded(pixels: np.ndarray, form: str) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return base64.b64encode(file.getvalue()).decode()


async def work(address: str, number: int, end: float, found: Found) -> None:
    chosen, picture = TOOLS[number % len(TOOLS)], own_picture(number)
    points = random.Random(number)
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        first = True
        while first or time.monotonic() < end:
            path, body = chosen(picture, points.randrange(256), points.randrange(256))
            kind = f"{chosen.__name__}{', first' * first}"
            await found.timed(kind, client.post(path, json=body))
            first = False


async def send_large(address: str, number: int, end: float, found: Found) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        count = 1000 * number
        while time.monotonic() < end:
            count += 1
            picture = await asyncio.to_thread(large_picture, count)
            path, body = program(picture, 3000, 2000)
            await found.timed("24 megapixels, new", client.post(path, json=body))


def run(address: str, clients: int, large: int, seconds: float) -> Found:
    found = Found()

    async def all_of_them() -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(
            *(work(address, i, end, found) for i in range(clients)),
            *(send_large(address, i, end, found) for i in range(1, large + 1)),
        )

    asyncio.run(all_of_them())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--large", type=int, default=0, help="clients with large pictures")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=4, help="memory is read after each")
    args = parser.parse_args()
    command = [sys.executable, "-m", "sam_mlx", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        run(address, len(TOOLS), 0, 1)  # warm
        each = args.seconds / args.rounds
        ask = partial(run, address, args.clients, args.large, each)
        print(in_rounds(ask, args.rounds, server.pid))
        print("one client of each alone:", table(run(address, len(TOOLS), 0, 5)), sep="\n")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
