"""As much of CVAT's server as ``cvat-cli task auto-annotate`` asks: one task with one picture."""

import io
import json
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TASK = 7
DATE = "2026-01-01T00:00:00Z"


def answers(picture: bytes, size: tuple[int, int]) -> dict:
    """Its answers by their addresses. size: of the picture, width and height."""
    about = dict.fromkeys(("name", "description", "logo_url", "subtitle"), "CVAT")
    link = {"url": f"http://localhost/api/labels?task_id={TASK}"}
    task = {
        "id": TASK, "name": "coins", "size": 1, "data_chunk_size": 1, "mode": "annotation",
        "data_original_chunk_type": "imageset", "updated_date": DATE,
        "jobs": {"count": 1, "completed": 0, "validation": 0, "url": link["url"]}, "labels": link,
        "organization": None,
    }  # fmt: skip
    label = {"id": 5, "name": "object", "attributes": [], "type": "any", "sublabels": []}
    frame = {"name": "coins.png", "width": size[0], "height": size[1], "related_files": 0}
    chunk = io.BytesIO()
    with zipfile.ZipFile(chunk, "w") as archive:
        archive.writestr("0.png", picture)
    return {
        "/api/server/about": about | {"version": "2.80.0"},
        f"/api/tasks/{TASK}": task,
        "/api/labels": {"count": 1, "next": None, "previous": None, "results": [label]},
        f"/api/tasks/{TASK}/data/meta": {
            "chunks_updated_date": DATE, "frames": [frame], "deleted_frames": [],
            "image_quality": 70, "chunk_size": 1, "size": 1, "start_frame": 0, "stop_frame": 0,
        },
        f"/api/tasks/{TASK}/data": chunk.getvalue(),
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def reply(self, answer) -> None:
        is_file = isinstance(answer, bytes)
        data = answer if is_file else json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        kind = "application/zip" if is_file else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.server.asked.append(self.path)
        self.reply(self.server.answers.get(urlsplit(self.path).path.rstrip("/")))

    def do_PATCH(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.uploaded.append((self.path, given))
        self.reply({"version": 0, "tags": [], "shapes": [], "tracks": []})

    def log_message(self, *_):
        pass


@contextmanager
def cvat(picture: bytes, size: tuple[int, int]):
    """A server, with its ``address``, what was ``asked``, and what was ``uploaded``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.uploaded = answers(picture, size), [], []
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
