"""Instances from maps, beside micro-sam's own functions on the same maps and weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_mlx.instances.maps import InstanceMaps
from sam_mlx.instances.options import InstanceOptions
from sam_mlx.instances.prompting import Found, inner_points, painted, without_repetitions
from sam_mlx.instances.watershed import flooded, smooth
from sam_mlx.masks import decode_rle
from tests.support.drawn import drawn_maps
from tests.support.instances import matched
from tests.support.micro_sam import micro_sam_util, segmentation

pytestmark = pytest.mark.original
SIZES = [(120, 150), (300, 260)]


def original_segmenter(maps, kind):
    segmenter = kind(None, None)
    segmenter.set_state(
        {
            "foreground": maps.foreground,
            "center_distances": maps.center_distances,
            "boundary_distances": maps.boundary_distances,
        }
    )
    return segmenter


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"min_size": 60},
        {"foreground_smoothing": 0, "distance_smoothing": 0},
        {"center_distance_threshold": 0.75, "boundary_distance_threshold": 0.6},
        {"foreground_threshold": 0.3, "distance_smoothing": 3},
    ],
)
def test_flooding(size, arguments):
    """The watersheds differ in the order of pixels within 1/65536."""
    maps = drawn_maps(size)
    kind = segmentation.InstanceSegmentationWithDecoder
    expected = original_segmenter(maps, kind).generate(**arguments)
    found = flooded(maps, InstanceOptions("ais", **arguments))
    iou = matched(found.labels, expected)
    assert len(iou) > 8 and iou.min() >= 0.99, iou


def test_a_touching_pair_is_cut_in_two():
    maps = drawn_maps((100, 100), centres=[(50, 35), (50, 62)], radius=15)
    found = flooded(maps, InstanceOptions("ais"))
    assert len(found) == 2 and abs(found[0]["area"] - found[1]["area"]) < 30


def test_records():
    maps = drawn_maps((120, 150))
    for mode in ("binary_mask", "coco_rle", "uncompressed_rle"):
        found = flooded(maps, InstanceOptions("ais", output_mode=mode))
        assert found.labels.dtype == np.uint32 and found.labels.shape == (120, 150)
        for i, record in enumerate(found, 1):
            mask = record["segmentation"]
            mask = mask if mode == "binary_mask" else decode_rle([mask])[0]
            assert (np.asarray(mask) == (found.labels == i)).all()
            assert record["seg_id"] == i and record["area"] == mask.sum()
            ((x, y),) = record["point_coords"]
            assert mask[int(y), int(x)]
            assert record["predicted_iou"] == pytest.approx(maps.foreground[mask].mean(), abs=1e-6)
            assert np.isnan(record["stability_score"])


def test_no_instances():
    nothing = np.zeros((20, 30), np.float32)
    maps = InstanceMaps(nothing, nothing + 1, nothing + 1, drawn_maps((8, 8)).embedding)
    found = flooded(maps, InstanceOptions("ais"))
    assert found == [] and found.labels.shape == (20, 30) and not found.labels.any()
    points, boxes = inner_points(maps, InstanceOptions("apg"))
    assert points.shape == (0, 2) and boxes == []


@pytest.mark.parametrize("size", SIZES)
def test_points_of_seeds(size):
    """Equal within a tile of 512, in which the original takes distances."""
    maps = drawn_maps(size)
    expected = segmentation._derive_point_prompts(
        maps.foreground, maps.center_distances, maps.boundary_distances
    )["points"][:, 0]
    ours, _ = inner_points(maps, InstanceOptions("apg"))
    assert len(ours) > 8
    assert sorted(ours.tolist()) == sorted(expected.tolist())


def random_masks(seed, n=24, size=(90, 110)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    masks = []
    for _ in range(n):
        cy, cx, r = rng.uniform(10, size[0] - 10), rng.uniform(10, size[1] - 10), rng.uniform(3, 14)
        mask = (y - cy) ** 2 + (x - cx) ** 2 < r * r
        masks.append(mask)
        masks.append(np.roll(mask, rng.integers(0, 4), axis=1))  # a near repetition
    masks.append((abs(y - 45) < 2) & (x > 3))  # cut by others into parts
    n = len(masks)
    return np.array(masks), rng.uniform(0.5, 1, n), rng.uniform(0.5, 1, n)


def found_of(masks, iou, stability) -> Found:
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append([x.min(), y.min(), x.max(), y.max()] if len(y) else [0, 0, 0, 0])
    boxes = np.array(boxes)
    cut = [m[y0 : y1 + 1, x0 : x1 + 1] for m, (x0, y0, x1, y1) in zip(masks, boxes)]
    return Found(cut, boxes, iou, stability)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "arguments",
    [{}, {"min_size": 0}, {"nms_threshold": 0.5}, {"intersection_over_min": True}],
)
def test_masks_become_labels(seed, arguments):
    masks, iou, stability = random_masks(seed)
    found = found_of(masks, iou, stability)
    records = [
        {
            "segmentation": torch.tensor(mask),
            "predicted_iou": iou[i],
            "stability_score": stability[i],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for i, (mask, (x0, y0, x1, y1)) in enumerate(zip(masks, found.boxes.tolist()))
    ]
    options = InstanceOptions("apg", **arguments)
    expected = micro_sam_util.apply_nms(
        records,
        min_size=options.smallest,
        nms_thresh=options.nms_threshold,
        intersection_over_min=options.intersection_over_min,
    )
    kept = without_repetitions(found, options)
    labels, source = painted(found, kept, masks.shape[1:], options)
    assert len(source) == labels.max() > 8
    assert (matched(labels, expected) == 1).all()
    for label, i in enumerate(source, 1):
        assert masks[i][labels == label].all()


def test_smoothing_is_bioimage_cpps():
    x = np.random.default_rng(0).random((40, 50), np.float32)
    for sigma in (0.7, 1.0, 1.1, 1.6, 3):
        expected = segmentation.filter_impl.gaussian_smoothing(x, sigma)
        assert np.abs(smooth(x, sigma) - expected).max() < 5e-7  # 1.2e-7
