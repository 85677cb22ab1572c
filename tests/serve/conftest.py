"""A server for label tools on nano, in this process and on a socket."""

import pytest


@pytest.fixture(scope="session")
def nano():
    from sam_mlx import Sam
    from tests.support.remembering import remembering

    return remembering(Sam.from_pretrained("nano"))


@pytest.fixture
def backend(nano):
    from sam_mlx.serve.backend import Backend

    backend = Backend({"nano": nano}, {"nano": "nano"})
    yield backend
    backend.close()


@pytest.fixture
def client(backend):
    from starlette.testclient import TestClient

    from sam_mlx.serve.application import application
    from sam_mlx.serve.tools import TOOLS

    app = application(backend, TOOLS)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def live(backend):
    from tests.support.serve import serving

    with serving(backend) as address:
        yield address


@pytest.fixture(scope="session")
def coin(nano):
    """The mask of a click on a coin, and its score, as ``SamPredictor`` gives them."""
    from sam_mlx import SamPredictor
    from tests.support.serve import CLICK, COINS

    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    masks, scores, _ = predictor.predict([CLICK], [1])
    return masks[scores.argmax()], scores.max()
