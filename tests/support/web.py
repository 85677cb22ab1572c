"""A page's requests, for tests of its server, which are skipped without the extra ``web``."""

import io
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

for package in ("starlette", "uvicorn", "httpx"):
    pytest.importorskip(package, reason=f"{package} is missing: install the extra web or test")

COINS = Path(__file__).parents[2] / "examples" / "images" / "coins.png"
CLICK = {"points": [[138, 53]], "labels": [1]}


class Page:
    """A page's requests, in short."""

    def __init__(self, client):
        self.client = client
        self.session = f"/api/sessions/{client.post('/api/sessions').json()['session']}"
        self.picture = f"{self.session}/pictures/p1"

    def ready(self):
        self.client.post(f"{self.picture}/encode")
        until(lambda: self.client.get(self.picture).json()["ready"])
        return self

    def add(self, data, name="picture.png"):
        return self.client.post(f"{self.session}/pictures?name={name}", content=data)

    def predict(self, **given):
        return self.client.post(f"{self.picture}/predict", json=CLICK | given)

    def click(self, **given):
        answer = self.client.post(f"{self.picture}/objects", json=CLICK | given)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def export(self, name, chosen=None):
        query = f"?object={chosen}" if chosen else ""
        return self.client.get(f"{self.picture}/export/{name}{query}")

    def automatic(self, **given):
        self.client.post(f"{self.picture}/automatic", json={"points_per_side": 8} | given)
        return until(lambda: self.client.get(f"{self.picture}/automatic").json()["masks"])

    def select(self, **given):
        return self.client.post(f"{self.picture}/automatic/select", json=given)


def until(true, seconds=180):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def bomb(width, height):
    """A PNG of a few bytes that claims to be so large."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@contextmanager
def on_a_socket(server):
    """The port of a page's server, run in a thread of its own."""
    import uvicorn

    from sam_mlx.web.server import bind, configuration

    listening = bind("127.0.0.1", 0)
    running = uvicorn.Server(configuration(server, "127.0.0.1", None))
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: running.started)
    yield listening.getsockname()[1]
    running.should_exit = True
    thread.join(10)


def png(pixels, form="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, form, **options)
    return file.getvalue()
