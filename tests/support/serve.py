"""The server for label tools, in tests, which are skipped without the extra ``web``."""

import base64
import threading
from contextlib import contextmanager

from tests.support.web import COINS, until  # first: it skips all where it must

CLICK = [138, 53]  # on a coin


def coins() -> str:
    return base64.b64encode(COINS.read_bytes()).decode()


@contextmanager
def serving(backend, tools=None, token=None, host="127.0.0.1"):
    """A server on a socket, in a thread of its own: its address."""
    import uvicorn

    from sam_mlx.serve.application import application
    from sam_mlx.serve.tools import TOOLS
    from sam_mlx.web.server import bind, configured

    listening = bind("127.0.0.1", 0)
    app = application(backend, tools or TOOLS, host, token)
    running = uvicorn.Server(configured(app))
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: running.started)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    running.should_exit = True
    thread.join(10)
