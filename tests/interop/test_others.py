"""supervision, shapely, labelme and FiftyOne: each with its real package, there and back."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from sam_mlx import SamAutomaticMaskGenerator, interop
from sam_mlx.files import packaged
from sam_mlx.masks import decode_rle
from tests.support.windows import shrink

COINS = packaged("coins.png")


@pytest.fixture(scope="module")
def records():
    generator = SamAutomaticMaskGenerator.from_pretrained(
        "nano", points_per_side=6, pred_iou_thresh=0.8, stability_score_thresh=0.85
    )
    return generator.generate(COINS)


@pytest.fixture
def drawn():
    """A mask with a hole and a second part, one that touches the picture's edges, an empty one."""
    masks = np.zeros((3, 30, 41), bool)
    masks[0, 4:20, 3:25] = True
    masks[0, 8:12, 7:15] = False
    masks[0, 24:28, 30:38] = True
    masks[1, 0, :] = masks[1, :, 40] = True
    return masks


def masks_of(records):
    return decode_rle([record["segmentation"] for record in records])


@pytest.mark.slow
def test_supervision_draws_them(records, kept):
    sv = pytest.importorskip("supervision", reason="install tests/compat/clients.txt")
    coins = np.array(Image.open(COINS).convert("RGB"))
    found = interop.to_supervision(records)
    drawn = sv.MaskAnnotator(color_lookup=sv.ColorLookup.INDEX).annotate(coins.copy(), found)
    assert ((drawn != coins).any(axis=2) == found.mask.any(axis=0)).mean() > 0.98
    picture = kept("supervision.png")
    Image.fromarray(drawn).resize((512, 512)).save(picture)
    shrink(picture)


def test_supervision(records, drawn):
    sv = pytest.importorskip("supervision", reason="install tests/compat/clients.txt")
    found = interop.to_supervision(records)
    assert isinstance(found, sv.Detections) and len(found) == len(records) > 5
    expected = np.array([record["segmentation"] for record in records])
    assert (found.mask == expected).all() and found.mask.dtype == bool
    # Its own boxes, of the masks, are inclusive.
    own = sv.mask_to_xyxy(expected)
    np.testing.assert_array_equal(found.xyxy - own, np.tile([0, 0, 1, 1], (len(own), 1)))
    np.testing.assert_allclose(found.confidence, [r["predicted_iou"] for r in records], rtol=1e-6)
    assert found.with_nms(0.5).mask.shape[1:] == (256, 256)
    back = interop.from_supervision(found)
    assert (masks_of(back) == expected).all()
    assert [r["bbox"] for r in back] == [r["bbox"] for r in records]
    assert (masks_of(interop.from_supervision(interop.to_supervision(drawn))) == drawn).all()
    assert len(interop.to_supervision([])) == 0 == len(interop.from_supervision(found[:0]))
    with pytest.raises(ValueError, match="no masks"):
        interop.from_supervision(sv.Detections(xyxy=np.zeros((1, 4))))


def test_shapely(records, drawn):
    shapely = pytest.importorskip("shapely")
    found = interop.to_shapely(drawn)
    assert [p.is_valid for p in found] == [True] * 3
    assert [p.area for p in found] == drawn.sum(axis=(1, 2)).tolist()
    assert len(found[0].geoms) == 2 and len(found[0].geoms[0].interiors) == 1
    assert found[2].is_empty
    back = interop.from_shapely(found, (30, 41), [0.5, 0.25, 1])
    assert (masks_of(back) == drawn).all()
    assert [record["predicted_iou"] for record in back] == [0.5, 0.25, 1]
    assert (masks_of(interop.from_shapely(interop.to_shapely(records), (256, 256))) == np.array(
        [record["segmentation"] for record in records])).all()  # fmt: skip
    assert interop.from_shapely([shapely.box(-9, 2, 3.4, 4)], (10, 10))[0]["area"] == 6
    with pytest.raises(ValueError, match="Point"):
        interop.from_shapely([shapely.Point(1, 2)], (10, 10))
    with pytest.raises(ValueError, match="scores"):
        interop.from_shapely(found, (30, 41), [1])


@pytest.mark.parametrize("kind", ["polygon", "mask"])
def test_labelme(drawn, tmp_path, monkeypatch, kind):
    contents = json.loads(json.dumps(interop.to_labelme(drawn, "a/coins.png", "coin", kind)))
    assert contents["imagePath"] == "coins.png"
    assert (contents["imageHeight"], contents["imageWidth"]) == (30, 41)
    expected = drawn[:2].copy()
    if kind == "polygon":
        expected[0, 8:12, 7:15] = True  # it has no holes
    assert (masks_of(interop.from_labelme(contents)) == expected).all()
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    labelme = pytest.importorskip("labelme", reason="install tests/serve/clients.txt")
    # As labelme itself reads it, with its picture beside it.
    Image.fromarray(np.zeros((30, 41, 3), np.uint8)).save(tmp_path / "coins.png")
    path = tmp_path / "coins.json"
    path.write_text(json.dumps(contents))
    file = labelme.LabelFile(str(path)) if hasattr(labelme, "LabelFile") else None
    if file is None:
        file = __import__("labelme._label_file", fromlist=["LabelFile"]).LabelFile(str(path))
    shapes = file.shapes
    assert [shape["label"] for shape in shapes] == ["coin"] * len(contents["shapes"])
    assert {shape["shape_type"] for shape in shapes} == {kind}


def test_labelme_without_masks():
    assert interop.to_labelme([], "x.png", size=(3, 4))["shapes"] == []
    with pytest.raises(ValueError, match="size"):
        interop.to_labelme([], "x.png")
    with pytest.raises(ValueError, match="kind"):
        interop.to_labelme([], "x.png", kind="box")
    for wrong in ({}, {"imageHeight": 1, "imageWidth": 1}, {"shapes": [], "imageHeight": None}):
        with pytest.raises(ValueError, match="not labelme's"):
            interop.from_labelme(wrong)


@pytest.mark.slow
def test_fiftyone(records, drawn, monkeypatch):
    # Its database is MongoDB, which fiftyone-db fetches from elsewhere; labels need none.
    monkeypatch.setenv("FIFTYONE_DISABLE_SERVICES", "1")
    # It asks for a package's author, who is missing: an error where the backport of
    # importlib.metadata was imported before, which then finds packages for all.
    finders = [f for f in sys.meta_path if type(f).__module__ != "importlib_metadata"]
    monkeypatch.setattr(sys, "meta_path", finders)
    fo = pytest.importorskip("fiftyone", reason="install tests/interop/clients.txt")
    found = interop.to_fiftyone(records, "coin")
    assert isinstance(found, fo.Detections) and len(found.detections) == len(records)
    assert {d.label for d in found.detections} == {"coin"}
    back = interop.from_fiftyone(found, (256, 256))
    assert (masks_of(back) == np.array([r["segmentation"] for r in records])).all()
    assert (masks_of(interop.from_fiftyone(interop.to_fiftyone(drawn), (30, 41))) == drawn).all()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        interop.to_supervision([])


def test_what_is_neither_records_nor_masks():
    with pytest.raises(ValueError, match="record 0"):
        interop.to_shapely([5])
    with pytest.raises(ValueError, match="N, H, W"):
        interop.to_shapely(np.zeros((3, 3), bool))
