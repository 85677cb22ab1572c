"""QuPath's protocol: bodies as the extension's Gson writes them, answers as it reads them.

QuPath itself is not run: neither Debian nor PyPI have it.
"""

import base64

import numpy as np
import pytest
from shapely.geometry import shape

from tests.support.serve import CLICK, COINS, coins  # isort: skip  first: it skips all where it must

from sam_mlx import SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.interop import from_shapely
from sam_mlx.masks import decode_rle, mask_boxes, nms
from sam_mlx.serve.backend import Backend
from sam_mlx.serve.qupath import EDGE
from tests.support.web import png

BOX = [110, 28, 165, 82]
# SAMPromptParameters: Gson leaves null fields out or writes them, by its settings.
PROMPT = {"type": "vit_t", "bbox": None, "b64mask": None, "point_coords": [CLICK],
          "point_labels": [1], "multimask_output": False, "checkpoint_url": None}  # fmt: skip
# SAMAutoMaskParameters, with the defaults of the extension's panel.
AUTO = {
    "type": "vit_t", "points_per_side": 16, "points_per_batch": 64, "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95, "stability_score_offset": 1.0, "box_nms_thresh": 0.2,
    "crop_n_layers": 0, "crop_nms_thresh": 0.7, "crop_overlap_ratio": 0.3413333333333333,
    "crop_n_points_downscale_factor": 1, "min_mask_region_area": 0,
    "output_type": "Multi-mask (smallest)", "include_image_edge": False,
}  # fmt: skip


def ask(client, path="/sam/", **given):
    body = (PROMPT if path == "/sam/" else AUTO) | {"b64img": coins()} | given
    return client.post(path, json=body, headers={"Content-Type": "application/json; charset=utf-8"})


def masks_of(features, size=(256, 256)):
    """Features as shapely reads them; they must be valid."""
    polygons = [shape(f["geometry"]) for f in features]
    assert all(p.is_valid and not p.is_empty for p in polygons)
    return [decode_rle([r["segmentation"]])[0] for r in from_shapely(polygons, size)]


@pytest.fixture
def predictor(nano):
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    return predictor


@pytest.mark.parametrize("multimask", [False, True])
def test_a_point(client, predictor, multimask):
    masks, scores, _ = predictor.predict([CLICK], [1], multimask_output=multimask)
    answer = ask(client, multimask_output=multimask)
    assert answer.status_code == 200
    features = answer.json()
    assert len(features) == len(masks)
    for i, (feature, found) in enumerate(zip(features, masks_of(features))):
        assert (found == masks[i]).all()
        about = feature["properties"]
        assert feature["type"] == "Feature" and about["label"] == "object"
        assert about["object_idx"] == i and about["sam_model"] == "vit_t"
        assert about["quality"] == pytest.approx(scores[i], abs=1e-6)  # its own


def test_a_box_and_background_points(client, predictor):
    """Background points come first in the extension's lists."""
    given = {"bbox": BOX, "point_coords": [[115, 33], [136, 55]], "point_labels": [0, 1]}
    (mask,), _, _ = predictor.predict(
        given["point_coords"], given["point_labels"], BOX, multimask_output=False
    )
    (found,) = masks_of(ask(client, **given).json())
    assert (found == mask).all()
    only = {"bbox": BOX, "point_coords": None, "point_labels": None}
    (mask,), _, _ = predictor.predict(box=BOX, multimask_output=False)
    (found,) = masks_of(ask(client, **only).json())
    assert (found == mask).all()


def test_holes_and_all_regions_are_kept(client, backend, monkeypatch):
    ring = np.zeros((256, 256), bool)
    ring[20:80, 20:80] = True
    ring[40:60, 40:60] = False
    ring[100:110, 5:9] = True
    from sam_mlx.masks import compress_rle, encode_rle, record_of
    from sam_mlx.web.model import Model

    record = record_of(compress_rle(encode_rle(ring[None]))[0], 0.9, 0.9)
    monkeypatch.setattr(Model, "masks", lambda *_: [record])
    (feature,) = ask(client).json()
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert (masks_of([feature])[0] == ring).all()
    monkeypatch.setattr(
        Model, "masks", lambda *_: [record_of(encode_rle(ring[None] & False)[0], 0.9, 0)]
    )
    assert ask(client).json() == []


@pytest.mark.slow
@pytest.mark.parametrize("output", ["Multi-mask (smallest)", "Multi-mask (largest)",
                                    "Multi-mask (best quality)", "Multi-mask (all)"])  # fmt: skip
def test_everything_by_type_of_output(client, nano, output):
    changed = {"points_per_side": 6, "include_image_edge": True}
    found = masks_of(ask(client, "/sam/automask/", output_type=output, **changed).json())
    best = output == "Multi-mask (best quality)"
    generator = SamAutomaticMaskGenerator(
        nano, points_per_side=6, pred_iou_thresh=0.88, stability_score_thresh=0.95,
        box_nms_thresh=0.2 if best else 1.0,
    )  # fmt: skip
    expected = np.array([record["segmentation"] for record in generator.generate(COINS)])
    sign = {"Multi-mask (smallest)": -1, "Multi-mask (largest)": 1}.get(output, 0)
    if not best:
        areas = expected.sum(axis=(1, 2))
        expected = expected[nms(mask_boxes(expected), sign * areas, 0.2 if sign else 1.0)]
    assert len(found) == len(expected) > 3
    assert (np.array(found) == expected).all()


def test_masks_at_the_pictures_edge(client):
    changed = {"points_per_side": 6, "output_type": "Multi-mask (best quality)"}
    every = masks_of(ask(client, "/sam/automask/", include_image_edge=True, **changed).json())
    inner = masks_of(ask(client, "/sam/automask/", include_image_edge=False, **changed).json())
    boxes = mask_boxes(np.array(every))
    apart = (boxes[:, :2] > EDGE).all(axis=1) & (boxes[:, 2:] < 256 - EDGE).all(axis=1)
    assert 0 < apart.sum() < len(every)
    assert (np.array(inner) == np.array(every)[apart]).all()


def test_crops(client):
    changed = {"points_per_side": 4, "crop_n_layers": 1, "output_type": "Single Mask"}
    assert len(ask(client, "/sam/automask/", **changed).json()) >= 1


def test_models(nano):
    from dataclasses import replace

    from starlette.testclient import TestClient

    from sam_mlx.sam import Sam
    from sam_mlx.serve.application import application
    from sam_mlx.serve.tools import chosen

    other = Sam(replace(nano.config, variant="vit_b"))
    other.update(nano.parameters())
    backend = Backend({"nano": nano, "sam_vit_b_01ec64": other})
    with TestClient(application(backend, chosen("qupath")), base_url="http://localhost:8000") as c:
        assert c.get("/sam/version/").text.count(".") == 2
        listed = c.get("/sam/weights/?type=vit_b").json()
        assert listed == [
            {"type": "vit_b", "name": "sam_vit_b_01ec64", "url": "file:sam_vit_b_01ec64"}
        ]
        assert len(c.get("/sam/weights/").json()) == 2
        assert c.get("/sam/weights/?type=vit_h").json() == []
        assert c.get("/sam/progress/").json() == {"message": None, "percent": -1}
        assert c.get("/sam/weights/cancel/").status_code == 200
        weights = {"type": "vit_b", "name": "mine", "url": "https://example.org/x.pth"}
        refused = c.post("/sam/weights/", json=weights)
        assert refused.status_code == 501 and "--model" in refused.json()["error"]
        assert c.post("/sam/weights/", json=weights | listed[0]).status_code == 200
        assert ask(c, type="vit_b").status_code == 200
        assert ask(c, type="vit_h", checkpoint_url=listed[0]["url"]).status_code == 200
        missing = ask(c, type="vit_h")
        assert missing.status_code == 404 and "vit_b, vit_t" in missing.json()["error"]
        assert ask(c, checkpoint_url="file:/etc/passwd").status_code == 404
        assert ask(c, type="sam2_l").status_code == 501
        assert ask(c, b64mask=coins()).status_code == 501
    backend.close()


def test_what_is_wrong_is_said(client):
    assert ask(client, point_coords=None, point_labels=None).status_code == 400
    assert ask(client, b64img="?").status_code == 400
    assert ask(client, point_labels=[1, 1]).status_code == 400
    assert ask(client, "/sam/automask/", points_per_side=0).status_code == 400
    assert ask(client, "/sam/automask/", crop_n_layers=9).status_code == 400


def test_a_small_region_of_a_slide(client):
    """The extension sends what is on the screen; the masks are in its pixels."""
    picture = np.full((40, 90, 3), 90, np.uint8)
    picture[10:30, 30:60] = 220
    b64img = base64.b64encode(png(picture)).decode()
    answer = ask(client, b64img=b64img, point_coords=[[45, 20]])
    (found,) = masks_of(answer.json(), (40, 90))
    assert found[20, 45] and found.shape == (40, 90)
