"""Find everything with a model that has an instance decoder, in the browser."""

from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("scipy")

from sam_mlx import InstanceSegmenter
from sam_mlx.masks import decode_rle
from tests.support.instances import nano_that_knows_coins
from tests.support.web import COINS, on_a_socket

SLIDERS = (
    "foreground_threshold", "center_distance_threshold", "boundary_distance_threshold", "min_size",
)  # fmt: skip


@pytest.fixture(scope="module")
def coins():
    return np.array(Image.open(COINS).convert("RGB"))


@pytest.fixture(scope="module")
def site(coins):
    from sam_mlx.web.backend import Backend

    server = Backend(nano_that_knows_coins(coins), "cells", [COINS])
    with on_a_socket(server) as port:
        yield server, f"http://127.0.0.1:{port}/"
    server.close()


@pytest.mark.slow
def test_instances_are_chosen_by_sliders_and_taken_over(tab, site, coins):
    segmenter = InstanceSegmenter(site[0].model.predictor.model)
    tab.page.click("#automatic-find")
    tab.page.wait_for_selector("text=/^[1-9]\\d* instances/")
    many = int(tab.text("#automatic-count").split()[0])
    expected = segmenter.generate(coins)
    assert many == len(expected) > 15
    shown = tab.page.locator("#automatic input[type=range]")
    assert [one.get_attribute("id") for one in shown.all()] == list(SLIDERS)
    asked = set()
    tab.page.on("request", lambda request: asked.add(urlsplit(request.url).path.rsplit("/", 1)[1]))
    largest = tab.filtered("min_size", 800, "instances")
    expected = segmenter.select(segmenter.predict(coins), min_size=800)
    assert largest == len(expected) < many
    assert asked - {"changes"} == {"select"}  # not searched again; changes are asked for at times
    record = next(r for r in expected if r["segmentation"][50, 65])
    tab.click(65, 50)
    (found,) = tab.objects
    np.testing.assert_array_equal(tab.masks[0], record["segmentation"])
    assert found.automatic.startswith("50.50.50.800-1-")
    np.testing.assert_array_equal(decode_rle([found.mask])[0], record["segmentation"])
    tab.page.get_by_role("button", name="Take all").click()
    tab.settled()
    assert len(tab.objects) == largest  # the one that was taken is not taken again
    tab.press("Control+z")
    assert len(tab.objects) == 1
    tab.press("a")  # with the sliders where they were
    tab.page.wait_for_selector("text=/^[1-9]\\d* instances/")
