"""Fixtures of all tests. What is heavy is imported by the fixture that needs it."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("MLX_ENABLE_TF32", "0")  # before MLX loads: bounds are those of float32

import sam_mlx  # noqa: F401, I001  first: on Linux it must come before mlx.core, see sam_mlx/machine/linux.py

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx.modeling import ops


def pytest_addoption(parser):
    parser.addoption("--plain", action="store_true", help="the forms that GPUs run, on any machine")
    parser.addoption("--slow", action="store_true", help="the slow tests, and no others")


def pytest_configure(config):
    if config.getoption("--plain"):
        ops.use_plain_forms()
    if find_spec("hypothesis"):
        without_clocks()


def without_clocks():
    """Hypothesis fails an example that takes long, which on a busy machine any may."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_collection_modifyitems(config, items):
    without = pytest.mark.skip(reason="the originals are missing: install the extra test")
    for item in items:
        if "originals" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.original)
        if find_spec("torch") is None and item.get_closest_marker("original"):
            item.add_marker(without)
    wanted = config.getoption("--slow")
    left_out = [item for item in items if bool(item.get_closest_marker("slow")) != wanted]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(autouse=True)
def seed():
    """Random inputs of a test do not depend on which tests ran before."""
    mx.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def chromium():
    from tests.support.browser import find_chromium, sync_api

    path = find_chromium()
    if path is None:
        install = "apt-get install chromium-headless-shell"
        pytest.skip(f"Chromium is missing: {install}, or set CHROMIUM to its path")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def kept(tmp_path):
    """Where a picture of a label tool goes, by its name: into the folder PICTURES, if that is set.

    Those of the documents: PICTURES=docs/label-tools pytest --slow tests/serve tests/test_osam.py
    tests/test_cvat.py -k "window or editor or command", and pytest tests/interop -k draws
    """
    return Path(os.environ.get("PICTURES", tmp_path)).absolute().joinpath


@pytest.fixture
def plain():
    """A function that switches the plain forms on, undone after the test."""
    before = ops.plain_forms_only()
    yield ops.use_plain_forms
    ops.use_plain_forms(before)


@pytest.fixture
def same_forms():
    """For tests that compare with a child process, which runs the forms of the machine."""
    if ops.plain_forms_only():
        pytest.skip("pytest --plain does not reach child processes")


@pytest.fixture(scope="session")
def originals():
    """Meta's package and transformers; a test that asks for them is marked ``original``."""
    from tests.support import originals

    return originals


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A public-domain picture (NASA), 512 x 512."""
    import skimage.data

    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def wide_photograph(photograph) -> np.ndarray:
    return photograph[100:407, 3:]  # 307 x 509


@pytest.fixture(scope="session")
def small(originals):
    """The original and ours, of a small size with every structure of ViT-B, on equal weights."""
    from tests.support import models

    return models.pair(models.SMALL)


@pytest.fixture(scope="session")
def small_sam():
    """Ours of that size, with random weights of its own: it needs no original."""
    from tests.support import models

    return models.random_sam(models.SMALL)


@pytest.fixture
def predictor(small_sam, wide_photograph):
    from sam_mlx import SamPredictor

    predictor = SamPredictor(small_sam)
    predictor.set_image(wide_photograph)
    return predictor


@pytest.fixture
def opencv(monkeypatch):
    """OpenCV, or its one function that the original calls, where it is not installed."""
    from tests.support.opencv import stand_in

    return stand_in(monkeypatch)
