"""16-bit pictures with an offset: the range that training finds is the model's from then on."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from sam_mlx import InstanceSegmenter, Sam, SamAutomaticMaskGenerator, SamPredictor, cli
from sam_mlx.config import check
from sam_mlx.images import load_image
from sam_mlx.large import open_large
from sam_mlx.tiled.layout import TileOptions
from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.ranges import found_range, has_16_bits
from tests.support.instances import nano_with_decoder
from tests.support.models import SMALL, random_sam
from tests.support.tuner import SIZE, picture

OFFSET = 32_978
WHOLE = (0, 0, *SIZE[::-1])


def write(folder, offset=OFFSET, scale=13):
    """Discs of 16 bits; returns the samples of the first."""
    samples = []
    for i, name in enumerate("ab"):
        pixels, labels = picture(i)
        samples.append(np.uint16(offset + scale * pixels[..., 0].astype(int)))
        for kind, array in (("images", samples[-1]), ("labels", labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{name}.tif")
    return samples


def test_the_range_holds_all_but_the_outermost_thousandths(tmp_path):
    samples = np.stack(write(tmp_path))
    low, high = found_range(open_data(tmp_path))
    outer = np.quantile(samples, (0.001, 0.999))
    # Two rounds of 256 steps; the first has steps of 256 samples, and finds some twenty of them.
    assert outer[0] - 24 <= low <= outer[0] and outer[1] <= high <= outer[1] + 24
    seen = load_image(samples[0], value_range=(low, high))
    assert len(np.unique(seen)) == len(np.unique(samples[0])) > 60
    assert len(np.unique(load_image(samples[0]))) < 20


@pytest.mark.parametrize(("offset", "scale"), [(0, 13), (0, 1), (0, 257), (5000, 200)])
def test_where_the_usual_rule_does_it_stays(tmp_path, offset, scale):
    write(tmp_path, offset, scale)
    assert found_range(open_data(tmp_path)) is None


def test_of_8_bits_there_is_no_range(tmp_path):
    for kind, array in zip(("images", "labels"), picture(0)):
        (tmp_path / kind).mkdir()
        Image.fromarray((array % 7).astype(np.uint8)).save(tmp_path / kind / "a.png")
    (one,) = open_data(tmp_path)
    assert not has_16_bits(one) and found_range([one]) is None


@pytest.fixture
def model():
    made = random_sam(SMALL)
    made.config = check(replace(SMALL, value_range=(32_000.0, 36_000.0)))
    return made


def test_a_model_reads_pictures_by_its_range(model, tmp_path):
    (samples, _) = write(tmp_path / "data")
    given = SamPredictor(random_sam(SMALL)).embed(samples, value_range=(32_000, 36_000))
    assert mx.array_equal(SamPredictor(model).embed(samples).features, given.features)
    other = SamPredictor(model).embed(samples, value_range=(30_000, 40_000))
    assert not mx.array_equal(other.features, given.features)
    scores = [
        [r["predicted_iou"] for r in generator.generate(samples, **more)]
        for one, more in ((model, {}), (random_sam(SMALL), {"value_range": (32_000, 36_000)}))
        for generator in [SamAutomaticMaskGenerator(one, 2, pred_iou_thresh=-10)]
    ]
    assert scores[0] == scores[1]
    model.save_pretrained(tmp_path / "model")
    assert Sam.from_pretrained(tmp_path / "model").config == model.config
    assert "value_range" not in SMALL.to_dict()


@pytest.mark.parametrize("value", [[1, 2, 3], [2, 1], "12", [0, float("inf")], 5])
def test_ranges_in_files_that_do_not_fit(value, model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"value_range": value}))
    with pytest.raises(ValueError, match="value_range"):
        Sam.from_pretrained(tmp_path / "model")


def test_the_commands_read_by_the_models_range(model, tmp_path):
    write(tmp_path / "data")
    model.save_pretrained(tmp_path / "model")
    plain = tmp_path / "plain"
    random_sam(SMALL).save_pretrained(plain)
    path = str(tmp_path / "data" / "images" / "a.tif")
    click, given = ["--point", "12", "15"], ["--value-range", "32000", "36000"]
    for name, arguments in (("model", []), ("plain", given)):
        command = [
            "predict",
            path,
            "--model",
            str(tmp_path / name),
            "-o",
            str(tmp_path / f"{name}-p"),
        ]
        assert cli.main([*command, *click, *arguments]) == 0
        command = ["auto", path, "--model", str(tmp_path / name), "-o", str(tmp_path / f"{name}-a")]
        some = ["--points-per-side", "2", "--format", "rle", "--pred-iou-thresh", "-9"]
        assert cli.main([*command, *some, *arguments]) == 0
    logits = [np.load(tmp_path / f"{name}-p" / "logits.npy") for name in ("model", "plain")]
    np.testing.assert_array_equal(*logits)
    records = [next((tmp_path / f"{n}-a").rglob("*.json")).read_text() for n in ("model", "plain")]
    assert records[0] == records[1]


def test_large_pictures_are_read_by_the_models_range(model, tmp_path):
    (samples, _) = write(tmp_path / "data")
    known = model.config.value_range
    picture = open_large(samples)
    assert picture.ranges != [known]
    same = open_large(samples, value_range=known)
    np.testing.assert_array_equal(picture.read_by(known).read(WHOLE), same.read(WHOLE))
    predictor = SamPredictor(model)
    predictor.set_image(picture)
    assert predictor.windows.picture.ranges == [known]
    with_decoder = nano_with_decoder()
    with_decoder.config = replace(with_decoder.config, value_range=known)
    for search in (SamAutomaticMaskGenerator(model, 2), InstanceSegmenter(with_decoder)):
        assert search.search_large(picture, TileOptions(64, 16)).picture.ranges == [known]
    for own in (
        open_large(samples, value_range=(30_000, 40_000)),
        open_large(samples, percentiles=(1, 99)),
        open_large((samples >> 8).astype(np.uint8)),
    ):
        predictor.set_image(own)
        assert predictor.windows.picture is own


def test_tiles_say_by_which_range_they_were_read(model, tmp_path):
    write(tmp_path / "data")
    model.save_pretrained(tmp_path / "model")
    path, out = tmp_path / "data" / "images" / "a.tif", tmp_path / "out"
    command = ["auto", path, "--model", tmp_path / "model", "--tile", 64, "-o", out]
    more = ["--points-per-side", 2, "--format", "coco"]
    assert cli.main([str(word) for word in (*command, *more)]) == 0
    said = [found for p in out.rglob("*.json") if "ranges" in (found := json.loads(p.read_text()))]
    assert said and all(found["ranges"] == [[32_000, 36_000]] for found in said)
