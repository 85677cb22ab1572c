"""A server on nano, in this process and on a socket."""

import threading

import pytest


@pytest.fixture(scope="session")
def nano():
    from sam_mlx import Sam

    return Sam.from_pretrained("nano")


@pytest.fixture
def server(nano):
    from sam_mlx.web.app import Server
    from tests.support.web import COINS

    server = Server(nano, "nano", [COINS])
    yield server
    server.close()


@pytest.fixture
def client(server):
    from starlette.testclient import TestClient

    app = server.app()
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def page(client):
    from tests.support.web import Page

    return Page(client)


@pytest.fixture
def live(server):
    """The address of a server on a socket, in a thread of its own."""
    import uvicorn

    from sam_mlx.web.server import bind, configuration
    from tests.support.web import until

    listening = bind("127.0.0.1", 0)
    running = uvicorn.Server(configuration(server, "127.0.0.1", None))
    server.guard = running.config.app
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: running.started)
    yield listening.getsockname()[1]
    running.should_exit = True
    thread.join(10)
