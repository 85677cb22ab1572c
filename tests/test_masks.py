"""Run lengths, boxes, suppression, regions and outlines; against the original in its own file."""

import json
import sys

import mlx.core as mx
import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from sam_mlx import masks as M
from tests.support.masks import SHAPES, random_masks


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_rle_comes_back(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    assert rles == M.encode_rle(mx.array(masks))
    compressed = M.compress_rle(rles)
    if len(masks):
        assert (M.decode_rle(rles) == masks).all()
        assert (M.decode_rle(compressed) == masks).all()
        assert (coco.decode(compressed).transpose(2, 0, 1) == masks).all()
    assert [M.rle_area(rle) for rle in rles] == masks.sum((1, 2)).tolist()


def test_compressed_rle_of_long_runs():
    masks = np.zeros((3, 2000, 3000), bool)
    masks[0, 700:1900, 10:2990] = True
    masks[1, 5, 5] = masks[1, 1999, 2999] = True
    masks[2] = True
    compressed = M.compress_rle(M.encode_rle(masks))
    assert (M.decode_rle(compressed) == masks).all()
    assert coco.area(compressed).tolist() == masks.sum((1, 2)).tolist()


def test_rle_that_does_not_fill_its_size_is_refused():
    with pytest.raises(ValueError, match="covers 5 pixels"):
        M.decode_rle([{"size": [2, 3], "counts": [2, 3]}])
    with pytest.raises(ValueError, match="of one size"):
        M.decode_rle([{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}])


EVERY = [
    ("masks", M.encode_rle),
    ("masks", M.mask_boxes),
    ("mask", lambda masks: M.remove_small_regions(masks[0], 1, "holes")[0]),
    ("mask", lambda masks: M.polygons(masks[0])),
    ("masks", lambda masks: M.label_map(masks, (6, 8))),
    ("masks", lambda masks: M.best_mask(masks, np.array([1, 2, 0]))),
    ("masks", M.largest_mask),
    ("masks", lambda masks: M.compressed_segmentations([{"segmentation": m} for m in masks])),
]


def equal(a, b):
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(np.all(np.array(a) == np.array(b)))


@pytest.mark.parametrize("name, function", EVERY)
@pytest.mark.parametrize("kind", [np.array, mx.array])
def test_masks_of_0_and_1_are_masks(name, function, kind):
    """encode_rle gave uint8 masks the runs of their numbers; ~mask of them was 254 and 255."""
    masks = random_masks((3, 6, 8), 0.5)
    expected = function(masks)
    for dtype in (np.uint8, np.int64, np.float32, bool):
        found = function(kind(masks.astype(dtype)))
        assert equal(found, expected)


@pytest.mark.parametrize("name, function", EVERY)
@pytest.mark.parametrize("kind", [np.array, mx.array])
@pytest.mark.parametrize("low, high", [(0, 255), (0, 2), (1, 2), (-1, 1), (0, 0.5), (0, np.nan)])
def test_other_numbers_are_refused(name, function, kind, low, high):
    """encode_rle took 255, 2 and labels for set or not by chance."""
    masks = np.full((3, 6, 8), low, np.float32 if isinstance(high, float) else np.int16)
    masks[:, 2, 3] = high
    dtype = kind(masks).dtype
    with pytest.raises(ValueError, match=rf"masks? has dtype {dtype} .*: pass {name} > 0"):
        function(kind(masks))


@pytest.mark.parametrize("function", [M.encode_rle, M.mask_boxes, M.largest_mask])
def test_masks_of_other_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"masks has shape \(4, 5\); expected \(N, H, W\)"):
        function(np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match=r"no pixels"):
        M.encode_rle(np.zeros((2, 0, 5), bool))


def test_numpy_stays_in_numpy(monkeypatch):
    """An MLX axis ends at 2**31, and the copy took the masks' memory again."""
    masks = random_masks((3, 6, 8), 0.5)
    boxes = M.mask_boxes(masks)
    assert isinstance(boxes, np.ndarray) and isinstance(M.best_mask(masks, np.ones(3)), np.ndarray)
    assert equal(boxes, M.mask_boxes(mx.array(masks)))
    expected = M.encode_rle(mx.array(masks))
    monkeypatch.setattr(mx, "array", type("none", (), {}))
    assert M.encode_rle(masks) == expected


def test_counts_are_text_or_bytes():
    """pycocotools writes bytes: compress_rle and coco_annotations failed on them."""
    masks = random_masks((3, 6, 8), 0.5)
    rles = M.encode_rle(masks)
    text = M.compress_rle(rles)
    raw = [coco.encode(np.asfortranarray(mask)) for mask in masks]
    assert all(isinstance(rle["counts"], bytes) for rle in raw)
    rest = dict.fromkeys(("bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"))
    for form in (rles, text, raw, [rles[0], raw[1], text[2]]):
        assert (M.decode_rle(form) == masks).all()
        assert [M.rle_counts(rle) for rle in form] == [rle["counts"] for rle in rles]
        assert [M.rle_area(rle) for rle in form] == masks.sum((1, 2)).tolist()
        assert M.compress_rle(form) == text
        records = [{"segmentation": rle, "area": 1, **rest} for rle in form]
        assert [a["segmentation"] for a in M.coco_annotations(records)] == text


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 3], "counts": [7, -1]}, "counts .*none below 0"),
        ({"size": [2, 3], "counts": [10**30]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [2.5, 3.5]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[1, 5]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[1], [2, 3]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": None}, "counts None"),
        ({"size": [2, 3], "counts": 6}, "counts 6;"),
        ({"size": [2, 3], "counts": "6\n"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "\u00e9"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": b"\xff"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "Q"}, "counts .*compressed"),  # another digit should follow
        ({"size": [2, 3], "counts": "Q" * 20 + "0"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "O"}, "none below 0"),
        ({"size": [2, 3], "counts": ""}, "covers 0 pixels"),
        ({"size": [2, 3], "counts": []}, "covers 0 pixels"),
        ({"size": [2, 3], "counts": [2**62, 2**62, 2**62, 2**62, 6]}, "its size .* has 6"),
        ({"size": [2, 3], "counts": [10**15]}, "its size .* has 6"),
        ({"size": [0, 3], "counts": []}, r"size \[0, 3\]; expected whole"),
        ({"size": [2.0, 3.0], "counts": [6]}, "expected whole"),
        ({"size": [-2, -3], "counts": [6]}, "expected whole"),
        ({"size": [2, 3, 1], "counts": [6]}, "expected whole"),
        ({"size": None, "counts": [6]}, "expected whole"),
        ({"counts": [6]}, "not an RLE; expected size and counts"),
        ([[0, 0, 5, 0, 5, 5]], "not an RLE; expected size and counts"),
    ],
)
def test_malformed_rle_is_refused_in_one_error(rle, message):
    """Counts below 0 ended the process, long ones took memory, others were IndexError or a mask."""
    with pytest.raises(ValueError, match=message):
        M.decode_rle([rle])


def test_boxes_of_no_masks():
    """mlx-examples: TypeError whenever no mask of a batch survived."""
    assert M.mask_boxes(mx.zeros((0, 5, 6), dtype=mx.bool_)).shape == (0, 4)


def test_nms_of_a_chain_keeps_every_other():
    boxes = np.array([[0, 10 * i, 100, 10 * i + 30] for i in range(40)])  # neighbours: IoU 0.5
    assert M.nms(boxes, -np.arange(40), 0.4).tolist() == list(range(0, 40, 2))


def test_nms_keeps_boxes_without_area():
    """mlx-examples: such a box suppressed itself, so masks one pixel wide vanished."""
    boxes = np.array([[0, 0, 9, 9], [20, 3, 20, 30], [40, 0, 50, 9], [20, 3, 20, 30]])
    assert M.nms(boxes, np.array([4, 3, 2, 1.0]), 0.7).tolist() == [0, 1, 2, 3]


def test_the_largest_island_stays_when_all_are_small():
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = mask[4:6, 4:7] = True
    cleaned, changed = M.remove_small_regions(mask, 100, "islands")
    assert changed
    assert cleaned.sum() == 6 and cleaned[4, 4]


def test_small_regions_without_scipy_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        M.remove_small_regions(np.ones((2, 2), bool), 1, "holes")


def shoelace(ring):
    x, y = ring.T
    return abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


@pytest.mark.parametrize("density", [0, 0.1, 0.5, 0.9, 1])
def test_polygons_enclose_the_mask_exactly(density):
    for mask in random_masks((5, 12, 17), density):
        outer, holes = M.polygons(mask)
        assert sum(map(shoelace, outer)) - sum(map(shoelace, holes)) == mask.sum()
        assert len(outer) == ndimage.label(mask)[1]  # regions that touch at a corner are apart
        background = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1]
        assert len(holes) == background - 1


def test_polygons_are_what_coco_reads():
    y, x = np.mgrid[:200, :300]
    mask = (x - 150) ** 2 / 9 + (y - 90) ** 2 < 40**2
    outer, holes = M.polygons(mask)
    assert not holes
    rle = coco.frPyObjects([ring.ravel().tolist() for ring in outer], 200, 300)
    again = coco.decode(coco.merge(rle)).astype(bool)
    assert (again & mask).sum() / (again | mask).sum() > 0.999


def test_label_map_puts_the_smallest_on_top():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1, 1] = True
    masks[1, :3] = True
    labels = M.label_map(masks, (4, 4))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[2, 2, 2, 2], [2, 1, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]]
    assert (M.label_map([], (2, 3)) == 0).all()


def test_best_and_largest():
    masks = random_masks((3, 8, 8), 0.5)
    masks[1] = True
    assert (M.best_mask(masks, np.array([0.2, 0.1, 0.9])) == masks[2]).all()
    assert M.largest_mask(masks).all()


def test_coco_boxes_are_cocos():
    """They were the original's, one column and row less."""
    sizes = [(1, 1), (1, 9), (9, 1), (7, 5), (20, 30)]
    masks = [random_masks((1, *s), density) for s in sizes for density in (0, 0.01, 0.1, 0.9, 1)]
    block = np.zeros((1, 12, 10), bool)
    block[0, 3:8, 2:6] = True
    for mask in [*masks, block]:
        rles = M.encode_rle(mask)
        expected = coco.toBbox(M.compress_rle(rles)).tolist()
        assert [M.rle_bbox(rle) for rle in rles] == expected
    assert M.rle_bbox(rles[0]) == [2, 3, 4, 5]
    assert M.rle_bbox({"size": [4, 4], "counts": [5, 0, 1, 2, 8]}) == [1, 2, 1, 2]
    assert M.rle_bbox({"size": [4, 4], "counts": [5, 0, 1, 2, 0, 8]}) == [1, 0, 3, 4]


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_of_rles_are_those_of_masks(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    for form in (rles, M.compress_rle(rles)):
        assert [M.rle_box(rle) for rle in form] == M.mask_boxes(masks).tolist()


def test_a_record_is_made_of_an_rle():
    mask = np.zeros((1, 9, 12), bool)
    mask[0, 3:8, 2:6] = True
    (rle,) = M.compress_rle(M.encode_rle(mask))
    record = M.record_of(rle, np.float32(0.5), np.float32(0.75))
    assert record == {
        "segmentation": rle, "area": 20, "bbox": [2, 3, 3, 4], "predicted_iou": 0.5,
        "point_coords": [[3.5, 5.0]], "stability_score": 0.75, "crop_box": [0, 0, 12, 9],
    }  # fmt: skip
    assert json.loads(json.dumps(record)) == record
    found = M.record_of(
        rle, 1, 1, [[4, 5], [6, 7]], box=np.array([1, 2, 8, 9]), crop_box=[1, 0, 9, 5]
    )
    assert found["point_coords"] == [[4, 5], [6, 7]]
    assert found["bbox"] == [1, 2, 7, 7] and found["crop_box"] == [1, 0, 8, 5]


def test_the_record_of_an_empty_mask():
    record = M.record_of({"size": [3, 4], "counts": [12]}, 0, 0)
    assert record["area"] == 0 and record["bbox"] == [0, 0, 0, 0]


@pytest.mark.parametrize("form", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_coco_annotations_of_every_output_mode(form):
    masks = random_masks((3, 20, 30), 0.4)
    rles = M.encode_rle(masks)
    segmentations = {"binary_mask": masks, "uncompressed_rle": rles}.get(form, M.compress_rle(rles))
    rest = dict.fromkeys(("bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"))
    records = [{"segmentation": s, "area": 1, **rest} for s in segmentations]
    annotations = M.coco_annotations(records, image_id=7, first_id=5)
    assert [a["id"] for a in annotations] == [5, 6, 7]
    decoded = coco.decode([a["segmentation"] for a in annotations])
    assert (decoded.transpose(2, 0, 1) == masks).all()
    assert M.coco_annotations([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_regions_and_their_holes(seed):
    """Each hole is listed with the region around it, and with no other."""
    mask = np.random.default_rng(seed).random((20, 30)) < 0.65
    mask[3:15, 4:20] = True
    mask[5:13, 6:18] = False
    mask[7:11, 8:14] = True  # an island in a hole, with one of its own
    mask[8, 9] = False
    regions = M.outlines(mask)
    labels, count = ndimage.label(mask)
    assert len(regions) == count
    assert sum(map(len, regions)) == sum(map(len, M.polygons(mask)))
    for first, *holes in regions:
        x, y = first[0]
        filled = ndimage.binary_fill_holes(labels == labels[y, x])
        inner, _ = M.polygons(filled & (labels != labels[y, x]))
        own = {ring.tobytes() for ring in M.polygons(labels == labels[y, x])[1]}
        assert {ring.tobytes() for ring in holes} == own
        assert (len(inner) > 0) == (len(holes) > 0)


def test_a_stroke_sets_the_pixels_near_its_path():
    """Compared with every pixel's distance from the path, measured at many of its points."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50] + 0.5
    for _ in range(20):
        path = rng.uniform(-10, 60, (rng.integers(1, 5), 2))
        radius = rng.uniform(0.5, 8)
        ends = path[1:] if len(path) > 1 else path
        along = np.concatenate([np.linspace(a, b, 2000) for a, b in zip(path, ends)])
        distance = np.min(
            [np.hypot(x[..., None] - px, y[..., None] - py).min(-1)
             for px, py in zip(np.array_split(along[:, 0], 50), np.array_split(along[:, 1], 50))],
            axis=0,
        )  # fmt: skip
        drawn = M.brush(np.zeros((40, 50), bool), path, radius)
        sure = np.abs(distance - radius) > 0.05
        np.testing.assert_array_equal(drawn[sure], (distance <= radius)[sure])
        erased = M.brush(np.ones((40, 50), bool), path, radius, erase=True)
        np.testing.assert_array_equal(erased, ~drawn)


def test_a_stroke_leaves_the_mask_it_was_given():
    mask = np.zeros((5, 5), bool)
    assert M.brush(mask, [[2.5, 2.5]], 0.1).sum() == 1 and not mask.any()
    assert M.brush(mask, [[2, 2]], 0.8).sum() == 4
