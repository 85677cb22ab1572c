"""``sam-mlx auto --mode``: which way, what the summary says, and what is refused."""

import json
import sys
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("skimage")
pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from sam_mlx import InstanceSegmenter, Sam
from sam_mlx.cli import main
from sam_mlx.instances.tiles import MapStore
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
        given = [] if "--tile" in arguments else ["--format", "rle"]
        code = main([*command, *given, *FLAGS, *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.mark.slow
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
        assert not (tmp_path / "out").exists()


REFUSED = [  # what only the model shows, or its file
    (["--mode", "apg"], "no instance decoder"),
    (["--mode", "ais", "--tile", "64"], "no instance decoder"),
    (["--adapter", "gone"], "gone"),
    (["--image-size", "7"], "image_size"),
    (["--model", "gone.pth"], "gone.pth"),
]


LACKING = [
    ("roifile", ["--format", "roi"]),
    ("roifile", ["--format", "roi", "--tile", "64"]),
    ("pyogrio.raw", ["--format", "gpkg", "--tile", "64"]),
    ("rasterio", ["--format", "labelmap", "--tile", "64"]),
    ("scipy.ndimage", ["--min-mask-region-area", "9"]),
]


@pytest.mark.parametrize(("package", "arguments"), LACKING)
def test_a_missing_package_leaves_no_folder(
    folder, tmp_path, capsys, monkeypatch, package, arguments
):
    monkeypatch.setitem(sys.modules, package, None)
    command = ["auto", str(folder / "coins.png"), "-o", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"needs {package}" in said or f"needs the package {package}" in said
    assert "pip install" in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "why"), REFUSED)
def test_what_is_refused_leaves_no_folder(folder, tmp_path, capsys, arguments, why):
    for out in (tmp_path / "out", tmp_path / "a" / "b"):
        command = ["auto", str(folder / "coins.png"), "-o", str(out), *arguments]
        assert main(command) == 2
        said = capsys.readouterr().err
        assert why in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


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


TILES = ["--tile", "64", "--overlap", "24", "--center-distance-threshold", "0.55"]


@pytest.mark.slow
def test_tiles(auto, folder, tmp_path, monkeypatch):
    """``auto --tile`` gives what ``generate_large`` gives, also after a stop."""
    code, said = auto(*TILES, "--format", "coco", "labelmap", "qupath", "gpkg", out="whole")
    assert code == 0 and "mode ais, by the model's instance decoder" in said
    assert "larger than half a tile, and cut: " in said
    segmenter = InstanceSegmenter(
        Sam.from_pretrained(folder / "model"),
        foreground_threshold=0.45,
        center_distance_threshold=0.55,
        output_mode="coco_rle",
    )
    expected = list(segmenter.generate_large(folder / "coins.png", 64, 24))
    assert len(expected) > 1 and f"{len(expected)} masks in coins.png, 4 tiles" in said
    found = json.loads((tmp_path / "whole" / "coins.coco.json").read_text())["annotations"]
    assert [one["area"] for one in found] == [r["area"] for r in expected]
    assert all(one["stability_score"] is None for one in found)
    labels = np.array(Image.open(tmp_path / "whole" / "coins.labels.tif"))
    assert np.bincount(labels.ravel())[1:].tolist() == [r["area"] for r in expected]
    (cell, *_) = json.loads((tmp_path / "whole" / "coins.qupath.geojson").read_text())["features"]
    assert "stability_score" not in cell["properties"]["measurements"]

    put, puts = MapStore.put, []

    def stopped(self, key, maps):
        put(self, key, maps)
        puts.append(key)
        if len(puts) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(MapStore, "put", stopped)
    with suppress(KeyboardInterrupt, SystemExit):
        auto(*TILES, "--format", "coco", out="out")
    assert not (tmp_path / "out" / "coins.coco.json").exists()
    assert auto(*TILES, "--format", "coco", out="out")[0] == 0
    assert len(puts) == 4  # each tile once
    name = "coins.coco.json"
    assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_tiles_by_choice(auto, folder, tmp_path):
    code, said = auto(*TILES, "--mode", "apg", "--format", "coco", out="apg")
    assert code == 0 and "mode apg, by the model's instance decoder" in said
    assert "larger than a window, and cut: " in said
    segmenter = InstanceSegmenter(
        Sam.from_pretrained(folder / "model"), "apg", foreground_threshold=0.45,
        center_distance_threshold=0.55, output_mode="coco_rle",
    )  # fmt: skip
    expected = list(segmenter.generate_large(folder / "coins.png", 64, 24))
    found = json.loads((tmp_path / "apg" / "coins.coco.json").read_text())["annotations"]
    assert len(found) > 1 and [one["area"] for one in found] == [r["area"] for r in expected]
    code, said = auto(*TILES, "--mode", "amg", "--format", "coco", "--points-per-side", "8")
    assert code == 0 and "pieces without an answer" in said and "decoder" not in said


def test_labels_as_tiff_are_the_segmenters(auto, folder, tmp_path):
    code, _ = auto("--format", "tiff16", "roi")
    assert code == 0
    segmenter = InstanceSegmenter(Sam.from_pretrained(folder / "model"), foreground_threshold=0.45)
    labels = segmenter.generate(folder / "coins.png").labels
    np.testing.assert_array_equal(Image.open(tmp_path / "out" / "coins_labels.tif"), labels)
    assert (tmp_path / "out" / "coins_rois.zip").exists()


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory):
    """Files that look like pictures until they are read."""
    tifffile = pytest.importorskip("tifffile")
    folder = tmp_path_factory.mktemp("unreadable")
    values = np.random.default_rng(0).integers(0, 255, (300, 260), np.uint8)
    stack = np.stack([values] * 6).reshape(2, 300, 260, 3)
    metadata = {"axes": "CYXS"}
    tifffile.imwrite(folder / "axes.tif", stack, metadata=metadata, photometric="rgb")
    tifffile.imwrite(
        folder / "channels.tif",
        np.stack([values] * 5, 2),
        planarconfig="contig",
        photometric="minisblack",
    )
    Image.fromarray(values).save(folder / "cut.png")
    Image.fromarray(values).save(folder / "cut.tif", compression="tiff_deflate")
    for path in folder.glob("cut.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return folder


CASES = [
    *(("axes.tif", [], mode) for mode in (None, "ais", "apg", "amg")),
    *(("cut.tif", ["--tile", "64"], mode) for mode in ("ais", "apg", "amg")),
    ("channels.tif", [], "apg"),
    ("cut.png", [], "ais"),
    ("cut.png", ["--tile", "64"], "apg"),
]


@pytest.mark.parametrize(("name", "tiles", "mode"), CASES)
def test_pictures_that_cannot_be_read_leave_nothing(
    folder, unreadable, tmp_path, capsys, name, mode, tiles
):
    chosen = [*(["--mode", mode] if mode else []), *tiles]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "note.txt").write_text("mine")
    for out in ("a/b", "there"):
        command = ["auto", str(unreadable / name), "-o", str(tmp_path / out), *chosen]
        assert main([*command, "--model", str(folder / "model")]) in (1, 2)
        said = capsys.readouterr().err
        assert name in said and len(said.strip().splitlines()) <= 2
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "note.txt"]
