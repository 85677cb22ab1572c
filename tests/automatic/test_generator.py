"""Automatic masks against the original, run live on the same weights."""

import inspect
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest
from pycocotools import mask as coco

from examples.nano import scenes
from sam_mlx import MaskPredictions, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.automatic import crops
from sam_mlx.automatic.options import OUTPUT_MODES, GeneratorOptions
from sam_mlx.masks import decode_rle
from tests.support.automatic import (
    FULL_SIZE_DECODER,
    SMALL,
    calibrated_pair,
    calibrated_sam,
    original_of,
    squares,
)
from tests.support.budgets import limited

# Random weights give noisier masks, and fewer different ones, than a trained model.
LOOSE = dict(points_per_side=8, stability_score_thresh=0.6, box_nms_thresh=0.93)


@pytest.fixture(scope="module")
def model():
    return calibrated_sam(SMALL)


@pytest.fixture(scope="module")
def calibrated(originals, model):
    """The original and ours."""
    return original_of(model), model


@pytest.fixture(scope="module")
def nano(originals):
    ours = Sam.from_pretrained("nano")
    return original_of(ours), ours


def decoded(rle: dict) -> np.ndarray:
    return decode_rle([rle])[0]


def assert_same_records(reference, ours, image, least=1, **arguments):
    from tests.support.originals import segment_anything

    expected = segment_anything.SamAutomaticMaskGenerator(reference, **arguments).generate(image)
    records = SamAutomaticMaskGenerator(ours, **arguments).generate(image)
    assert len(records) == len(expected) >= least
    for record, want in zip(records, expected):
        assert list(record) == list(want)
        for key in ("point_coords", "crop_box"):
            assert record[key] == want[key]
        a, b = record["segmentation"], want["segmentation"]
        if isinstance(a, dict):
            a, b = decoded(a), decoded(b)
        else:
            assert a.dtype == b.dtype and a.shape == b.shape == image.shape[:2]
        # A pixel whose logit is 0 to seven digits may fall on either side.
        apart = (a ^ b).sum()
        assert apart <= 1
        assert abs(record["area"] - want["area"]) <= apart
        # It may be the only one in the outermost row or column.
        np.testing.assert_allclose(record["bbox"], want["bbox"], atol=apart, rtol=0)
        # Pixels at the thresholds of the stability score may count or not, too.
        bounds = {"predicted_iou": 1e-5, "stability_score": 1e-4 + 2 / max(want["area"], 1)}
        for key, bound in bounds.items():
            np.testing.assert_allclose(record[key], want[key], atol=bound, rtol=0)
    return records


# Where the generator has None for the model's own; nano has others.
METAS = dict(pred_iou_thresh=0.88, stability_score_thresh=0.95)


def test_arguments_and_defaults_are_the_originals(originals):
    ours, theirs = (
        [(p.name, p.default) for p in inspect.signature(cls.__init__).parameters.values()]
        for cls in (SamAutomaticMaskGenerator, originals.segment_anything.SamAutomaticMaskGenerator)
    )
    assert [(name, METAS.get(name, default)) for name, default in ours] == theirs


@pytest.mark.parametrize("mode", OUTPUT_MODES)
def test_output_modes(calibrated, mode):
    records = assert_same_records(*calibrated, squares(180, 250), 3, output_mode=mode, **LOOSE)
    json.dumps([{k: v for k, v in r.items() if k != "segmentation"} for r in records])
    if mode == "coco_rle":
        assert coco.area([r["segmentation"] for r in records]).tolist() == [
            r["area"] for r in records
        ]


def test_defaults(calibrated):
    assert_same_records(
        *calibrated, squares(180, 250), points_per_side=16, stability_score_thresh=0.8
    )


@pytest.mark.parametrize("layers, least", [(1, 4), (2, 8)])
def test_crops(calibrated, layers, least):
    """mlx-examples: any crop layer crashed."""
    arguments = dict(
        LOOSE,
        points_per_side=6,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        crop_nms_thresh=0.9,
    )
    records = assert_same_records(*calibrated, squares(200, 310), least, **arguments)
    assert len({tuple(r["crop_box"]) for r in records}) > 1


def test_small_regions_are_cleaned(calibrated, opencv):
    """mlx-examples: indices taken for a mask left masks uncleaned."""
    assert_same_records(*calibrated, squares(180, 250), 3, min_mask_region_area=100, **LOOSE)


def test_uneven_batches_some_without_survivors(calibrated):
    """mlx-examples: TypeError whenever no mask of a batch survived."""
    arguments = dict(LOOSE, points_per_batch=5, pred_iou_thresh=0.97)
    assert_same_records(*calibrated, squares(180, 250), 1, **arguments)


def test_nothing_survives(calibrated):
    image = squares(60, 80)
    assert_same_records(*calibrated, image, 0, points_per_side=3, pred_iou_thresh=9.0)
    # With crops the original fails here.
    generator = SamAutomaticMaskGenerator(
        calibrated[1],
        points_per_side=2,
        crop_n_layers=1,
        pred_iou_thresh=9.0,
        min_mask_region_area=9,
    )
    assert generator.generate(image) == []


@pytest.mark.parametrize("value", [0, 128, 255])
def test_blank_image(calibrated, value):
    """mlx-examples: crashed on blank images."""
    image = np.full((90, 120, 3), value, np.uint8)
    assert_same_records(*calibrated, image, 0, **dict(LOOSE, points_per_side=4))


@pytest.mark.parametrize("size", [(120, 1), (1, 90), (1, 1), (97, 203), (256, 256), (333, 40)])
def test_sizes(calibrated, size):
    """mlx-examples: boxes one pixel wide suppressed themselves; some sizes came out short."""
    arguments = dict(LOOSE, points_per_side=4, pred_iou_thresh=0.5)
    assert_same_records(*calibrated, squares(*size), 0, **arguments)


def test_masks_one_pixel_wide_survive(calibrated):
    arguments = dict(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    assert_same_records(*calibrated, squares(120, 1), 1, **arguments)


def test_thresholds_of_zero_keep_everything(model):
    arguments = dict(
        points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.1
    )
    generator = SamAutomaticMaskGenerator(model, **arguments)
    assert len(generator.generate(squares(50, 70))) == 27


def test_point_grids(calibrated):
    grids = [np.random.default_rng(0).random((n, 2)) for n in (20, 7)]
    arguments = {**LOOSE, "points_per_side": None, "point_grids": grids, "crop_n_layers": 1}
    assert_same_records(*calibrated, squares(180, 250), 1, **arguments)


@pytest.mark.slow
def test_full_size_decoder(originals):
    arguments = dict(LOOSE, points_per_side=3, box_nms_thresh=0.99)
    assert_same_records(*calibrated_pair(FULL_SIZE_DECODER), squares(420, 610), 2, **arguments)


def test_crop_boxes_and_grids_are_the_originals(originals):
    amg = originals.segment_anything.utils.amg
    for size in [(480, 640), (97, 203), (1000, 31)]:
        for layers in (0, 1, 3):
            ours = crops.generate_crop_boxes(size, layers, 512 / 1500)
            assert ours == amg.generate_crop_boxes(size, layers, 512 / 1500)
    for ours, theirs in zip(
        crops.layered_point_grids(32, 2, 2), amg.build_all_layer_point_grids(32, 2, 2)
    ):
        assert (ours == theirs).all()


def test_crops_of_a_tiny_image_that_would_be_empty_are_left_out(model):
    assert crops.generate_crop_boxes((5, 1), 1, 0.3)[0] == [
        [0, 0, 1, 5],
        [0, 0, 1, 3],
        [0, 3, 1, 5],
    ]
    generator = SamAutomaticMaskGenerator(model, points_per_side=2, crop_n_layers=1)
    generator.generate(squares(5, 1))


def same(a, b):
    return len(a) == len(b) and all(
        (x.pop("segmentation") == y.pop("segmentation")).all() and x == y for x, y in zip(a, b)
    )


@pytest.mark.parametrize("crop_n_layers", [0, 1])
def test_two_steps_equal_one_also_from_a_file(model, tmp_path, crop_n_layers):
    image = squares(180, 250)
    layout = dict(points_per_side=5, crop_n_layers=crop_n_layers)
    generator = SamAutomaticMaskGenerator(model, **{**LOOSE, **layout})
    predictions = generator.predict(image, keep_iou=0.8)
    predictions.save(tmp_path / "state.safetensors")
    assert [f.name for f in tmp_path.iterdir()] == ["state.safetensors"]
    header = (tmp_path / "state.safetensors").stat().st_size - predictions.nbytes
    assert 0 < header < 2000 < predictions.nbytes
    loaded = MaskPredictions.load(tmp_path / "state.safetensors")
    for state in (predictions, loaded, generator.predict(image)):
        assert same(generator.select(state), generator.generate(image))

    other = dict(pred_iou_thresh=0.82, stability_score_thresh=0.5, stability_score_offset=0.7)
    other.update(box_nms_thresh=0.9, crop_nms_thresh=0.8, min_mask_region_area=5)
    there = SamAutomaticMaskGenerator(model, **layout, **other)
    assert same(generator.select(loaded, **other), there.generate(image))


def test_select_refuses_what_predict_dropped(model):
    generator = SamAutomaticMaskGenerator(model, points_per_side=2)
    predictions = generator.predict(squares(50, 70))
    with pytest.raises(ValueError, match="keep_iou"):
        generator.select(predictions, pred_iou_thresh=0.5)
    with pytest.raises(ValueError, match="output_mode is 'rle'"):
        generator.select(predictions, output_mode="rle")


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        MaskPredictions.load(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    mx.save_safetensors(str(tmp_path / "other.safetensors"), {"a": mx.zeros(1)})
    for name in ("text", "other.safetensors"):
        with pytest.raises(ValueError, match="does not hold mask predictions"):
            MaskPredictions.load(tmp_path / name)


def test_an_embedding_instead_of_the_image(model):
    image = squares(180, 250)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    embedding = predictor.get_image_embedding()
    generator = SamAutomaticMaskGenerator(model, **LOOSE)
    assert same(generator.generate(embedding), generator.generate(image))
    with pytest.raises(ValueError, match="no pixels to crop"):
        SamAutomaticMaskGenerator(model, crop_n_layers=1).generate(embedding)


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
def test_the_range_of_samples_reaches_the_picture(model):
    image = squares(60, 90)
    deep = image.astype(np.uint16) * 10
    generator = SamAutomaticMaskGenerator(model, **LOOSE)
    assert same(generator.select(generator.predict(deep, value_range=(0, 2550))),
                generator.generate(image))  # fmt: skip
    embedding = generator.predictor.embed(deep, value_range=(0, 2550))
    assert same(generator.generate(embedding), generator.generate(deep, value_range=(0, 2550)))
    with pytest.raises(ValueError, match="an ImageEmbedding has no samples"):
        generator.generate(embedding, value_range=(0, 2550))


def test_memory_limit_changes_nothing(model):
    """Masks measured and encoded one by one are those of whole batches."""
    image = squares(300, 250)
    generator = SamAutomaticMaskGenerator(model, **LOOSE)
    expected = generator.generate(image)
    with limited(mask_pixels=1, cut_pixels=1):
        assert same(generator.generate(image), expected)


def test_progress(model, capsys):
    seen = []
    generator = SamAutomaticMaskGenerator(
        model, points_per_side=4, points_per_batch=6, crop_n_layers=1
    )
    generator.generate(squares(50, 70), progress=lambda done, total: seen.append((done, total)))
    assert seen[:3] == [(6, 80), (12, 80), (16, 80)]
    assert seen[-1] == (80, 80)
    assert capsys.readouterr() == ("", "")
    generator.generate(squares(50, 70), progress=True)
    assert "80/80" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(points_per_side=0), "points_per_side is 0"),
        (dict(points_per_side=None), "exclude each other"),
        (dict(point_grids=[np.zeros((1, 2))]), "exclude each other"),
        (dict(points_per_batch=0), "points_per_batch is 0"),
        (dict(crop_n_layers=-1), "crop_n_layers is -1"),
        (dict(crop_n_layers=7), "crop_n_layers is 7; expected a whole number from 0 to 6"),
        (dict(points_per_side=1025), "points_per_side is 1025; expected .* from 1 to 1024"),
        (dict(crop_overlap_ratio=1.0), "crop_overlap_ratio is 1.0"),
        (dict(output_mode="png"), "output_mode is 'png'"),
        (dict(pred_iou_thresh="high"), "pred_iou_thresh is 'high'"),
        (dict(min_mask_region_area=-1), "min_mask_region_area is -1"),
        (
            dict(points_per_side=2, crop_n_layers=2, crop_n_points_downscale_factor=2),
            "at least 1 in each",
        ),
        (dict(points_per_side=None, point_grids=[np.ones((2, 2))], crop_n_layers=1), "expected 2"),
        (dict(points_per_side=None, point_grids=[np.ones((2, 3))]), r"shape \(2, 3\)"),
        (dict(points_per_side=None, point_grids=[np.full((2, 2), 7)]), "outside"),
    ],
)
def test_arguments_that_do_not_fit(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        SamAutomaticMaskGenerator(model, **arguments)


# Looser than the defaults, so that drawn scenes and photographs alike leave many masks.
NANO = dict(points_per_side=10, pred_iou_thresh=0.4, stability_score_thresh=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"min_mask_region_area": 100},
        {"crop_n_layers": 1, "points_per_side": 6},
        {"crop_n_layers": 2, "crop_n_points_downscale_factor": 2, "points_per_side": 6},
    ],
)
def test_nano_on_a_drawn_scene(nano, opencv, arguments):
    image, _ = scenes.scene(7)
    assert_same_records(*nano, image, 3, **{**NANO, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("forms", ["here", "plain"])
def test_nano_on_a_photograph(nano, wide_photograph, forms, plain):
    if forms == "plain":
        plain()
    loose = dict(NANO, pred_iou_thresh=0.2, stability_score_thresh=0.3)
    assert_same_records(*nano, wide_photograph, 3, **loose)


@pytest.fixture(scope="module")
def sure_nano(originals):
    """nano with steeper masks and higher predicted IoU, so that the defaults keep something."""
    ours = Sam.from_pretrained("nano")
    decoder = ours.mask_decoder
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight = mlp.layers[-1].weight * 8
        mlp.layers[-1].bias = mlp.layers[-1].bias * 8
    head = decoder.iou_prediction_head.layers[-1]
    head.bias = head.bias + 0.4
    return original_of(ours), ours


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [{}, {"min_mask_region_area": 100}, {"crop_n_layers": 1, "points_per_side": 8}],
)
def test_the_defaults_on_pictures(sure_nano, wide_photograph, opencv, arguments):
    drawn, _ = scenes.scene(8)
    settings = {"points_per_side": 16} | METAS | arguments
    for image in (drawn, wide_photograph):
        assert_same_records(*sure_nano, image, 2, **settings)


def test_threads_may_share_a_generator(model):
    pictures = [squares(60 + 9 * i, 130 - 7 * i, seed=i) for i in range(10)]
    generator = SamAutomaticMaskGenerator(model, **{**LOOSE, "points_per_side": 3})
    expected = [generator.generate(picture) for picture in pictures]
    assert not generator.predictor.is_image_set
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(generator.generate, pictures))
    assert sum(map(len, expected)) > 5
    assert all(same(a, b) for a, b in zip(found, expected))


THIN = r"""
import re, sys
import numpy as np
from sam_mlx import SamAutomaticMaskGenerator

generator = SamAutomaticMaskGenerator.from_pretrained(
    "nano", points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
)
image = np.zeros((*map(int, sys.argv[1:]), 3), np.uint8)
generator.predictor.set_image(image)
masks, _, _ = generator.predictor.predict([[0, 0]], [1])
assert masks.shape == (3, *image.shape[:2])
assert all(r["segmentation"].shape == image.shape[:2] for r in generator.generate(image))
print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) / 1e3)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("size", [(1, 3_000_000), (3_000_000, 1)])
def test_thin_pictures_take_memory_for_their_pixels(size):
    """Three megapixels in a line took 11 GB and half a minute; as a square they take 0.3 GB."""
    command = [sys.executable, "-c", THIN, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 800  # MB


def test_grids_that_only_claim_their_size_are_refused():
    with pytest.raises(ValueError, match=r"point_grids\[0\] has 10000000000 points; at most"):
        GeneratorOptions(points_per_side=None, point_grids=[np.broadcast_to(0.5, (10**10, 2))])
