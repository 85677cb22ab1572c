"""A server on nano, in this process and on a socket."""

import pytest


@pytest.fixture(scope="session")
def nano():
    from sam_mlx import Sam
    from tests.support.remembering import remembering

    return remembering(Sam.from_pretrained("nano"))


@pytest.fixture
def server(nano):
    from sam_mlx.web.backend import Backend
    from tests.support.web import COINS

    server = Backend(nano, "nano", [COINS])
    yield server
    server.close()


@pytest.fixture
def client(server):
    from starlette.testclient import TestClient

    from sam_mlx.web.application import application

    app = application(server)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def page(client):
    from tests.support.web import Page

    return Page(client)


@pytest.fixture
def live(server):
    """The port of a server, in a thread of its own."""
    from tests.support.web import on_a_socket

    with on_a_socket(server) as port:
        yield port


# The page in a browser: one server and one browser for all tests, a window for each.


@pytest.fixture(scope="session")
def site(nano):
    """A server for the browser: (server, address)."""
    from sam_mlx.web.backend import Backend
    from tests.support.web import COINS, on_a_socket

    server = Backend(nano, "nano", [COINS])
    with on_a_socket(server) as port:
        yield server, f"http://127.0.0.1:{port}/"
    server.close()


@pytest.fixture
def window(site, chromium):
    """Opens the page in a window of its own; none may ask another host or log an error."""
    from tests.support.browser import Tab

    server, address = site
    opened = []

    def open_page(**options):
        options = {"viewport": {"width": 1100, "height": 760}, "reduced_motion": "reduce"} | options
        context = chromium.new_context(**options)
        opened.append(Tab(context.new_page(), server))
        return opened[-1].open(address)

    yield open_page
    for tab in opened:
        tab.page.context.close()
        assert tab.errors == []
        assert tab.hosts <= {address.split("/")[2]}


@pytest.fixture
def tab(window):
    return window()
