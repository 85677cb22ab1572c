"""``sam-mlx auto --mode``: which way, what the summary says, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")

from sam_mlx import InstanceSegmenter, Sam
from sam_mlx.cli import main
from tests.support.instances import nano_with_decoder
from tests.support.source import ROOT

FLAGS = ["--foreground-threshold", "0.45", "--points-per-side", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    nano_with_decoder().save_pretrained(folder / "model")
    coins = Image.open(ROOT / "examples" / "images" / "coins.png")
    coins.resize((90, 80)).save(folder / "coins.png")
    return folder


@pytest.fixture
def auto(folder, tmp_path, capsys):
    def run(*arguments: str, model: str = "model", out: str = "out"):
        model = "nano" if model == "nano" else str(folder / model)
        command = ["auto", str(folder / "coins.png"), "-o", str(tmp_path / out), "--model", model]
        code = main([*command, "--format", "rle", *FLAGS, *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.mark.parametrize("mode", [None, "ais", "apg"])
def test_the_instance_decoder_is_used(auto, folder, tmp_path, mode):
    code, said = auto(*(["--mode", mode] if mode else []))
    assert code == 0 and f"mode {mode or 'ais'}, by the model's instance decoder" in said
    segmenter = InstanceSegmenter(
        Sam.from_pretrained(folder / "model"),
        mode or "ais",
        foreground_threshold=0.45,
        output_mode="coco_rle",
    )
    expected = segmenter.generate(folder / "coins.png")
    found = json.loads((tmp_path / "out" / "coins.json").read_text())
    assert [r["segmentation"] for r in found] == [r["segmentation"] for r in expected]
    assert f"{len(expected)} masks in all" in said
    code, said = auto(*(["--mode", mode] if mode else []))
    assert code == 0 and "1 were there already" in said


def test_a_grid_of_points_by_choice_and_without_the_decoder(auto):
    for arguments in (dict(out="a"), dict(out="b", model="nano")):
        code, said = auto("--mode", "amg", **arguments)
        assert code == 0 and "decoder" not in said
    assert auto(model="nano", out="c")[0] == 0


def test_a_mode_that_the_model_lacks(auto, tmp_path):
    for mode in ("ais", "apg"):
        code, said = auto("--mode", mode, model="nano")
        assert code == 2 and f"no instance decoder, which mode '{mode}' needs" in said
        assert len(said.strip().splitlines()) == 1
        assert not list((tmp_path / "out").glob("*"))


def test_bad_values_are_refused_before_any_work(auto, tmp_path):
    code, said = auto("--nms-threshold", "3")
    assert code == 2 and "nms_threshold is 3.0; expected a number from 0 to 1" in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        auto("--mode", "best")


def test_results_belong_to_their_settings(auto):
    assert auto("--mode", "ais")[0] == 0
    for other in (["--mode", "apg"], ["--mode", "ais", "--min-size", "9"]):
        code, said = auto(*other)
        assert code == 2 and "holds results made with" in said


def test_labels_as_tiff_are_the_segmenters(auto, folder, tmp_path):
    code, _ = auto("--format", "tiff16", "roi")
    assert code == 0
    segmenter = InstanceSegmenter(Sam.from_pretrained(folder / "model"), foreground_threshold=0.45)
    labels = segmenter.generate(folder / "coins.png").labels
    np.testing.assert_array_equal(Image.open(tmp_path / "out" / "coins_labels.tif"), labels)
    assert (tmp_path / "out" / "coins_rois.zip").exists()
