"""A view of a large picture with a model that has an instance decoder, in the browser."""

import numpy as np
import pytest

from tests.support.browser import MARGIN  # isort: skip  first: it skips all where it must

pytest.importorskip("rasterio", reason="rasterio is missing (extra geo)")
pytest.importorskip("skimage")
pytest.importorskip("scipy")

from tests.support.instances import Seeing, nano_with_decoder
from tests.support.large_page import (
    DISC,
    discs_in_view,
    hover,
    iou_with,
    scale_of,
    write_scene,
    zoom,
)
from tests.support.web import on_a_socket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from sam_mlx.web.backend import Backend

    model = nano_with_decoder()
    model.instance_decoder = Seeing(model.config.image_size, ground=40)
    server = Backend(model, "cells", [write_scene(tmp_path_factory.mktemp("scene"))])
    predictor = server.model.predictor
    embed = predictor.embed

    def shown_first(pixels):
        model.instance_decoder.see(pixels)
        return embed(pixels)

    predictor.embed = shown_first
    with on_a_socket(server) as port:
        yield server, f"http://127.0.0.1:{port}/"
    server.close()


def test_instances_of_a_view(tab):
    """Found by the decoder in what one sees, chosen by its sliders, at the level of the view."""
    zoom(tab, DISC, 7)
    assert MARGIN and tab.text("#automatic-find") == "Find everything in view"
    tab.page.click("#automatic-find")
    tab.page.wait_for_selector("text=/^[1-9]\\d* instances/")
    many, discs = int(tab.text("#automatic-count").split()[0]), discs_in_view(tab, least=6)
    assert DISC in discs and many >= len(discs) > 3
    scale = 2 ** int(np.log2(1 / scale_of(tab)))
    assert 0 < tab.filtered("min_size", 2000 * scale**2, "instances") < many
    assert tab.filtered("min_size", 0, "instances") == many
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.settled()
    (found,) = tab.objects
    assert found.automatic is not None and found.mask_scale == scale > 1
    assert iou_with(DISC, found) > 0.8
    tab.page.get_by_role("button", name="Take all").click()
    tab.settled()
    assert len(tab.objects) == many  # the one that was taken is not taken again
    for disc in discs:
        assert max(iou_with(disc, one) for one in tab.objects) > 0.8


def test_hover_and_click_in_a_window(tab):
    """By the model's prompts: the decoder has no part in them."""
    zoom(tab, DISC, 12)
    hover(tab, DISC)
    tab.page.mouse.click(*tab.at(*DISC[:2]))
    tab.settled()
    (found,) = tab.objects
    assert found.automatic is None and found.points and iou_with(DISC, found) > 0.9
