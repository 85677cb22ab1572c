"""``utils.amg`` for clients, function by function, against Meta's."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tests.support.originals  # noqa: F401  makes segment_anything importable
from sam_mlx.compat.utils import amg as ours
from tests.support.compat import same
from tests.support.masks import SHAPES, random_masks

pytestmark = pytest.mark.original
meta = sys.modules["segment_anything.utils.amg"]
PIXELS = [*SHAPES, (2, 1, 1), (3, 2, 1), (3, 1, 2)]


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("shape", PIXELS)
def test_rle(shape, density):
    masks = torch.from_numpy(random_masks(shape, density))
    rles = meta.mask_to_rle_pytorch(masks)
    same(ours.mask_to_rle_pytorch(masks), rles)
    same(ours.mask_to_rle_pytorch(masks.to(torch.uint8)), rles)
    for rle in rles:
        same(ours.rle_to_mask(rle), meta.rle_to_mask(rle))
        same(ours.area_from_rle(rle), meta.area_from_rle(rle))
        same(ours.coco_encode_rle(rle), meta.coco_encode_rle(rle))


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("shape", [*PIXELS, (4, 5), (1, 1), (2, 3, 4, 5), (0, 2, 4, 5)])
def test_boxes_of_masks(shape, density):
    masks = torch.from_numpy(random_masks(shape, density))
    same(ours.batched_mask_to_box(masks), meta.batched_mask_to_box(masks))


def test_boxes_of_integers_are_those_of_their_masks():
    """The original gives others, without a word."""
    masks = torch.from_numpy(random_masks((5, 9, 7), 0.1))
    boxes = ours.batched_mask_to_box(masks)
    assert (ours.batched_mask_to_box(masks.int()) == boxes).all()
    assert (meta.batched_mask_to_box(masks.int()) != boxes).any()


@pytest.mark.parametrize("shape", [*PIXELS, (40, 30), (2, 3, 9, 8)])
def test_stability(shape):
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 3, shape).astype(np.float32))
    if len(logits):
        logits[0] = -9  # both masks empty
    for threshold, offset in ((0.0, 1.0), (0.5, 2)):
        same(
            ours.calculate_stability_score(logits, threshold, offset),
            meta.calculate_stability_score(logits, threshold, offset),
            1.2e-7,  # one in the last place
        )


@pytest.mark.parametrize("mode", ["holes", "islands"])
@pytest.mark.parametrize("area", [1, 3, 1000])
def test_small_regions(opencv, mode, area):
    for shape in ((1, 1), (1, 9), (9, 1), (13, 17)):
        for density in (0, 0.2, 0.5, 0.8, 1):
            mask = random_masks(shape, density)
            same(
                ours.remove_small_regions(mask, area, mode),
                meta.remove_small_regions(mask, area, mode),
            )


@pytest.mark.parametrize("size", [(240, 320), (333, 100), (64, 64)])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_crops(size, layers):
    for ratio in (0, 512 / 1500, 0.6):
        same(
            ours.generate_crop_boxes(size, layers, ratio),
            meta.generate_crop_boxes(size, layers, ratio),
        )


@pytest.mark.parametrize("arguments", [(32, 0, 1), (8, 2, 2), (1, 0, 1), (9, 1, 2)])
def test_point_grids(arguments):
    same(ours.build_point_grid(arguments[0]), meta.build_point_grid(arguments[0]))
    grids = ours.build_all_layer_point_grids(*arguments)
    same(grids, meta.build_all_layer_point_grids(*arguments))


@pytest.mark.parametrize("n", [0, 1, 50])
def test_crop_edges(n):
    boxes = torch.from_numpy(np.random.default_rng(n).integers(0, 120, (n, 4)))
    for crop in ([0, 0, 200, 150], [50, 40, 170, 150], [50, 0, 200, 110]):
        for values in (boxes, boxes.float() + 0.25):
            for atol in (20.0, 5):
                same(
                    ours.is_box_near_crop_edge(values, crop, [0, 0, 200, 150], atol),
                    meta.is_box_near_crop_edge(values, crop, [0, 0, 200, 150], atol),
                )


@pytest.mark.parametrize("crop", [[0, 0, 20, 15], [3, 4, 9, 11], [0, 4, 9, 15]])
@pytest.mark.parametrize("n", [0, 3])
def test_uncropping(crop, n):
    x0, y0, x1, y1 = crop
    boxes = torch.arange(4 * n).reshape(n, 4)
    for values in (boxes, boxes.float(), boxes[:, None].repeat(1, 3, 1)):
        same(ours.uncrop_boxes_xyxy(values, crop), meta.uncrop_boxes_xyxy(values, crop))
        points = values[..., :2]
        same(ours.uncrop_points(points, crop), meta.uncrop_points(points, crop))
    masks = torch.rand(n, y1 - y0, x1 - x0) < 0.5
    for values in (masks, masks.float()):
        same(ours.uncrop_masks(values, crop, 15, 20), meta.uncrop_masks(values, crop, 15, 20))


def test_boxes_to_width_and_height():
    for box in (np.array([1, 2, 5, 9]), torch.tensor([1.5, 2, 5, 9]), [1, 2, 5, 9]):
        same(ours.box_xyxy_to_xywh(box), meta.box_xyxy_to_xywh(box))
        assert box[2] == 5


def test_batches():
    for n, size in ((0, 3), (1, 3), (7, 3), (6, 3)):
        arrays = np.arange(n), [*range(n)]
        same(list(ours.batch_iterator(size, *arrays)), list(meta.batch_iterator(size, *arrays)))
    for wrong in ((), ([1], [1, 2])):
        for module in (ours, meta):
            with pytest.raises(AssertionError):
                list(module.batch_iterator(2, *wrong))


def columns(start):
    return dict(
        boxes=torch.arange(start, start + 5),
        points=np.arange(start, start + 5).astype(float),
        rles=[{"counts": [i]} for i in range(start, start + 5)],
    )


@pytest.mark.parametrize(
    "keep",
    [
        torch.tensor([4, 0, 1]),
        torch.tensor([True, False, True, True, False]),
        torch.tensor([], dtype=int),
    ],
)
def test_mask_data(keep):
    both = [module.MaskData(**columns(0)) for module in (ours, meta)]
    for data, module in zip(both, (ours, meta)):
        data["more"] = [1, 2, 3, 4, 5]
        del data["more"]
        data.filter(keep)
        data.cat(module.MaskData(**columns(9), new=[1]))
        data.to_numpy()
        with pytest.raises(AssertionError):
            data["wrong"] = 3
        with pytest.raises(AssertionError):
            module.MaskData(wrong=(1, 2))
        with pytest.raises(KeyError):
            data["absent"]
    same(dict(both[0].items()), dict(both[1].items()))


def test_tensors_stay_on_their_device():
    """Where there is more than one device."""
    boxes = torch.zeros(2, 4, device="meta")
    assert ours.uncrop_boxes_xyxy(boxes, [1, 2, 3, 4]).device.type == "meta"
    assert ours.uncrop_masks(boxes, [1, 2, 3, 4], 9, 9).device.type == "meta"
