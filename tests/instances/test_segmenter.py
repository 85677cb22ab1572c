"""The segmenter: its model, its arguments, and both modes on nano."""

import inspect
import sys
import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")

from sam_mlx import InstanceSegmenter, Sam, SamPredictor
from sam_mlx.full_size import upscale_masks
from sam_mlx.instances.maps import InstanceMaps
from sam_mlx.instances.options import InstanceOptions
from tests.support.instances import coin_maps, matched, nano_with_decoder
from tests.support.source import ROOT


@pytest.fixture(scope="module")
def model() -> Sam:
    return nano_with_decoder()


@pytest.fixture(scope="module")
def coins() -> np.ndarray:
    return np.array(Image.open(ROOT / "examples" / "images" / "coins.png").convert("RGB"))


@pytest.fixture(scope="module", name="coin_maps")
def of_coins(model, coins) -> InstanceMaps:
    return coin_maps(model, coins)


def test_maps_are_the_decoders_at_full_size(model, coins):
    segmenter = InstanceSegmenter(model)
    maps = segmenter.predict(coins[:200])
    embedding = SamPredictor(model).embed(coins[:200])
    raw = model.instance_decoder(embedding.named_features)[0]
    whole = upscale_masks(raw.transpose(2, 0, 1), embedding.input_size, (200, 256), 320)
    ours = [maps.foreground, maps.center_distances, maps.boundary_distances]
    np.testing.assert_array_equal(ours, np.array(whole))
    assert maps.foreground.shape == (200, 256) and maps.foreground.dtype == np.float32
    again = segmenter.predict(embedding)
    np.testing.assert_array_equal(again.foreground, maps.foreground)
    assert repr(maps).startswith("InstanceMaps(image 200 x 256, encoder ")


def test_generate_is_select_of_predict(model, coins):
    for mode in ("ais", "apg"):
        segmenter = InstanceSegmenter(model, mode, foreground_threshold=0.45)
        found = segmenter.generate(coins)
        again = segmenter.select(segmenter.predict(coins))
        np.testing.assert_array_equal(found.labels, again.labels)
        assert len(found) == len(again) == found.labels.max()


def test_thresholds_are_tried_without_the_encoder(model, coin_maps, monkeypatch):
    segmenter = InstanceSegmenter(model)
    monkeypatch.setattr(type(model), "encode_features", None)
    few = segmenter.select(coin_maps, foreground_threshold=0.9)
    many = segmenter.select(coin_maps)
    assert len(many) >= 15 and sum(r["area"] for r in few) < sum(r["area"] for r in many)
    assert segmenter.options == InstanceOptions()
    with pytest.raises(TypeError, match="threshold"):
        segmenter.select(coin_maps, threshold=0.3)
    with pytest.raises(
        ValueError, match="foreground_threshold is 3; expected a number from 0 to 1"
    ):
        segmenter.select(coin_maps, foreground_threshold=3)


def test_prompts_find_the_coins(model, coin_maps):
    done = []
    segmenter = InstanceSegmenter(model, "apg", batch_size=8, output_mode="coco_rle")
    found = segmenter.select(coin_maps, progress=lambda *at: done.append(at))
    flooded = segmenter.select(coin_maps, mode="ais")
    assert len(found) >= 15 and abs(len(found) - len(flooded)) <= 3
    assert done[-1][0] == done[-1][1] and len(done) == -(-done[-1][1] // 8)
    for record in found:
        ((x, y),) = record["point_coords"]
        assert record["predicted_iou"] > 0 and 0 < record["stability_score"] <= 1
        assert coin_maps.foreground[int(y), int(x)] == 1
    refined = segmenter.select(coin_maps, refine_with_box_prompts=True, multimasking=True)
    assert abs(len(refined) - len(found)) <= 5


@pytest.mark.original
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"multimasking": True},
        pytest.param({"refine_with_box_prompts": True}, marks=pytest.mark.slow),
        {"mask_threshold": 1.5, "nms_threshold": 0.3, "min_size": 200},
        pytest.param({"mask_threshold": "auto"}, marks=pytest.mark.slow),
        pytest.param(
            {"mask_threshold": "auto", "multimasking": True, "refine_with_box_prompts": True},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_prompting_is_micro_sams(model, coins, coin_maps, arguments, monkeypatch):
    """On Meta's predictor, with the same weights and maps."""
    from tests.support.automatic import original_of
    from tests.support.micro_sam import segmentation
    from tests.support.originals import meta_predictor

    uses = inspect.unwrap(segmentation.batched_inference).__globals__
    sides, side = uses["ResizeLongestSide"], model.config.image_size
    monkeypatch.setitem(uses, "ResizeLongestSide", lambda _: sides(side))  # 1024 there
    predictor = meta_predictor(original_of(Sam.from_pretrained("nano")), coins)
    original = segmentation.AutomaticPromptGenerator(predictor, None)
    names = ("foreground", "center_distances", "boundary_distances")
    original.set_state({name: getattr(coin_maps, name) for name in names})
    expected = original.generate(**arguments)
    ours = InstanceSegmenter(model, "apg", **arguments).select(coin_maps)
    iou = matched(ours.labels, expected)
    assert len(iou) >= 10 and iou.min() >= 0.99, iou


def test_it_can_be_cancelled(model, coin_maps):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        InstanceSegmenter(model, "apg").select(coin_maps, cancel=cancel)


def test_bad_arguments(model, coins, monkeypatch):
    with pytest.raises(ValueError, match="no instance decoder, which mode 'ais' needs"):
        InstanceSegmenter.from_pretrained("nano")
    with pytest.raises(ValueError, match="mode is 'amg'; expected one of ais, apg"):
        InstanceSegmenter(model, "amg")
    with pytest.raises(ValueError, match="min_size is -1"):
        InstanceSegmenter(model, min_size=-1)
    for wrong in ("otsu", True, np.array("auto")):
        with pytest.raises(ValueError, match="mask_threshold is .*; expected a number, or 'auto'"):
            InstanceSegmenter(model, mask_threshold=wrong)
    other = replace(SamPredictor(model).embed(coins), fingerprint="other")
    with pytest.raises(ValueError, match="made by encoder"):
        InstanceSegmenter(model).predict(other)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match="instances need .*skimage.*: pip install scipy scikit"):
        InstanceSegmenter(model)


def test_from_another_thread(model, coins):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(InstanceSegmenter(model, "apg").generate(coins))
    )
    thread.start()
    thread.join()
    np.testing.assert_array_equal(
        found[0].labels, InstanceSegmenter(model, "apg").generate(coins).labels
    )


@pytest.mark.original
def test_defaults_are_micro_sams():
    from tests.support.micro_sam import segmentation

    for mode, kind in (
        ("ais", segmentation.InstanceSegmentationWithDecoder),
        ("apg", segmentation.AutomaticPromptGenerator),
    ):
        theirs = {p.name: p.default for p in inspect.signature(kind.generate).parameters.values()}
        ours = vars(InstanceOptions(mode)) | {"min_size": InstanceOptions(mode).smallest}
        ours["mask_threshold"] = None  # Meta's, which is 0
        for name in ours.keys() & theirs.keys() - {"output_mode"}:
            assert ours[name] == theirs[name], name
        assert len(ours.keys() & theirs.keys()) >= 6
