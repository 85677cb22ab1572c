"""Label Studio's regions: bytes as its SDK writes them, and back."""

import base64
import io
import json
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from sam_mlx import interop
from sam_mlx.interop.brush_rle import decode_brush, encode_brush
from sam_mlx.masks import decode_rle

SIZES = [(1, 1), (1, 2), (3, 5), (7, 8), (60, 47), (300, 400)]


def drawn(size, seed):
    """A mask with short runs and long ones."""
    random = np.random.default_rng(seed)
    mask = random.random(size) < random.choice([0.02, 0.5, 0.98])
    mask[: size[0] // 2] = random.random() < 0.5
    return mask


@pytest.fixture(scope="session")
def brush():
    missing = "label-studio-sdk is missing: pip install --no-deps -r tests/serve/clients.txt"
    pytest.importorskip("label_studio_sdk", reason=missing)
    return import_module("label_studio_sdk.converter.brush")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_bytes_are_the_sdks(brush, size, seed):
    mask = drawn(size, seed)
    found = encode_brush(mask)
    assert found == brush.mask2rle(mask.astype(np.uint8) * 255)
    decoded = brush.decode_rle(found).reshape(*size, 4)
    assert ((decoded > 0) == mask[..., None]).all()
    assert (decode_brush(found, size) == mask).all()


@pytest.mark.parametrize(
    "runs", [[8, 1], [2, 2], [4, 60], [64, 65], [16384, 1], [16385, 3], [65536, 5]]
)
def test_lengths_at_the_edges_of_their_sizes(brush, runs):
    """Runs of 8, 16, 256 and 65,536 bytes, and one more."""
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)[None]
    found = encode_brush(mask)
    assert found == brush.mask2rle(mask.astype(np.uint8) * 255)
    assert (decode_brush(found, mask.shape) == mask).all()


def test_strokes_of_the_editor(brush):
    """Values that are not repeated, and colours besides alpha."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 11, 4))
    pixels[2:6] = pixels[2, 3]
    pixels[..., 3] = random.integers(0, 2, (9, 11)) * 200
    found = brush.encode_rle(pixels.reshape(-1))
    assert (decode_brush(found, (9, 11)) == (pixels[..., 3] > 0)).all()


@pytest.mark.parametrize(
    "data",
    [[], [1], "text", [0, 0, 0, 4, 57, 27, 255, 120], [256] * 20, [-1] * 20, [[1, 2]], None,
     encode_brush(np.ones((2, 3), bool)), encode_brush(np.eye(4, dtype=bool))[:-3]],
)  # fmt: skip
def test_damaged_bytes_are_refused(data):
    with pytest.raises(ValueError, match="cannot be read"):
        decode_brush(data, (4, 4))


def test_a_size_that_would_not_fit_is_refused():
    with pytest.raises(ValueError, match="pixels"):
        decode_brush([0] * 20, (1 << 20, 1 << 20))


@pytest.mark.parametrize("kind", ["brushlabels", "bitmasklabels", "polygonlabels"])
def test_there_and_back(kind):
    masks = np.array([drawn((60, 47), seed) for seed in (1, 4)])
    masks[:, 20:30, 20:40] = True
    if kind == "polygonlabels":  # no holes, and a region each
        masks[:] = False
        masks[0, 3:9, 5:20] = masks[1, 30:44, 2:7] = True
    regions = interop.to_label_studio(masks, "tag", "image", "Cell", kind)
    regions = json.loads(json.dumps(regions))
    for region in regions:
        assert region["value"][kind] == ["Cell"] and region["type"] == kind
        assert (region["original_width"], region["original_height"]) == (47, 60)
        assert (region["from_name"], region["to_name"]) == ("tag", "image")
    assert len({region["id"] for region in regions}) == len(regions) == 2
    back = interop.from_label_studio(regions)
    assert (decode_rle([record["segmentation"] for record in back]) == masks).all()
    assert [record["predicted_iou"] for record in back] == [1.0, 1.0]


def test_a_bitmask_is_opaque_where_it_is_set():
    mask = drawn((20, 30), 3)
    (region,) = interop.to_label_studio(mask[None], kind="bitmasklabels")
    data = base64.b64decode(region["value"]["imageDataURL"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert ((pixels[..., 3] > 0) == mask).all() and (pixels[..., :3] == 0).all()


def test_a_mask_of_several_parts_becomes_several_polygons():
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 2:5, 2:9] = mask[0, 10:15, 3:6] = True
    regions = interop.to_label_studio(mask, kind="polygonlabels")
    assert len(regions) == 2
    points = np.array(regions[0]["value"]["points"]) * [0.3, 0.2]
    np.testing.assert_allclose(points, [(2, 2), (9, 2), (9, 5), (2, 5)], atol=1e-12)
    assert interop.to_label_studio(mask & False) == []


def test_rectangles_and_ellipses():
    size = {"original_width": 200, "original_height": 100}
    box = {"x": 10, "y": 20, "width": 20, "height": 30, "rotation": 0}
    (found,) = interop.from_label_studio([{**size, "type": "rectanglelabels", "value": box}])
    assert found["bbox"] == [20, 20, 39, 29]
    turned = box | {"x": 50, "y": 20, "rotation": 90}  # about its corner, clockwise
    (found,) = interop.from_label_studio([{**size, "type": "rectanglelabels", "value": turned}])
    assert found["bbox"] == [70, 20, 29, 39]
    round_ = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20}
    (found,) = interop.from_label_studio([{**size, "type": "ellipselabels", "value": round_}])
    assert found["area"] == pytest.approx(np.pi * 20 * 20, rel=0.01)
    other = [{**size, "type": "choices", "value": {"choices": ["a"]}}]
    assert interop.from_label_studio(other) == []


@pytest.mark.parametrize(
    "region", [{}, {"value": {"rle": [1]}}, {"original_width": 3, "original_height": 3,
    "value": {"points": [[1, 2]]}}, {"original_width": 3, "original_height": 3,
    "value": {"imageDataURL": "data:image/png;base64,AAAA"}}],
)  # fmt: skip
def test_damaged_regions_are_refused(region):
    with pytest.raises(ValueError, match="region|polygon|brush|bitmask"):
        interop.from_label_studio([region])


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="polygonlabels"):
        interop.to_label_studio(np.ones((1, 2, 2), bool), kind="boxes")
