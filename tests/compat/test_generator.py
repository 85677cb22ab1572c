"""Automatic masks for clients, against Meta's, record by record."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_mlx.compat.automatic_mask_generator import SamAutomaticMaskGenerator
from sam_mlx.compat.utils import amg
from tests.support import compat
from tests.support.compat import nano_pair, same
from tests.support.masks import random_masks
from tests.support.originals import segment_anything

pytestmark = pytest.mark.original
LOW = dict(points_per_side=6, pred_iou_thresh=0.7, stability_score_thresh=0.8)


def pair(**arguments):
    reference, sam = nano_pair()
    original = segment_anything.SamAutomaticMaskGenerator(reference, **arguments)
    return SamAutomaticMaskGenerator(sam, **arguments), original


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        pytest.param(
            dict(output_mode="uncompressed_rle", crop_n_layers=1, points_per_side=3),
            marks=pytest.mark.slow,
        ),
        dict(output_mode="coco_rle", min_mask_region_area=50),
        dict(points_per_side=None, point_grids=[np.array([[0.5, 0.5], [0.2, 0.3]])]),
    ],
)
def test_records(arguments, opencv):
    ours, original = pair(**LOW | arguments)
    found, expected = (g.generate(compat.picture()) for g in (ours, original))
    assert found
    for a, b in zip(found, expected, strict=True):
        same(a, b | {"bbox": a["bbox"], "crop_box": a["crop_box"]}, 4e-6)
        assert (a["bbox"], a["crop_box"]) == (b["bbox"], b["crop_box"])
        assert {type(x) for x in a["bbox"] + a["crop_box"]} == {int}


def test_attributes_can_be_assigned():
    ours, original = pair(**LOW)
    for generator in (ours, original):
        generator.pred_iou_thresh = 0.9
        generator.point_grids = [np.array([[0.5, 0.5], [0.2, 0.3], [0.9, 0.3]])]
        generator.output_mode = "uncompressed_rle"
        assert generator.predictor.model.to("cpu") is generator.predictor.model
    same(ours.generate(compat.picture()), original.generate(compat.picture()), 4e-6)
    assert not ours.predictor.is_image_set
    for name in set(vars(original)) - {"predictor"}:
        same(getattr(ours, name), getattr(original, name))


def test_small_regions(opencv):
    found = []
    boxes_of = sys.modules["segment_anything.utils.amg"].batched_mask_to_box
    for generator, module in zip(pair(**LOW), (amg, sys.modules["segment_anything.utils.amg"])):
        masks = torch.from_numpy(random_masks((6, 12, 12), 0.6))
        data = module.MaskData(
            rles=module.mask_to_rle_pytorch(masks), boxes=boxes_of(masks), points=np.arange(6)
        )
        data.to_numpy()
        data = generator.postprocess_small_regions(data, 4, 0.7)
        data.to_numpy()
        found.append(dict(data.items()))
    same(*found)


def test_insides_are_out_of_reach():
    _, sam = nano_pair()

    class Client(SamAutomaticMaskGenerator):
        def _process_batch(self, *arguments):
            return super()._process_batch(*arguments)

    with pytest.raises(NotImplementedError, match="Client overrides _process_batch"):
        Client(sam, **LOW).generate(compat.picture())
    generator = SamAutomaticMaskGenerator(sam, **LOW)
    generator.predictor.model = SimpleNamespace(mlx=sam.mlx, mask_threshold=1.0)
    with pytest.raises(NotImplementedError, match="mask_threshold is 1.0"):
        generator.generate(compat.picture())
