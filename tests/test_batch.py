"""``sam-mlx auto``: its files, and that stopping, sharing and bad pictures change none of them."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sam_mlx import SamAutomaticMaskGenerator, batch
from sam_mlx.cli import main
from sam_mlx.formats.masks import COLUMNS
from sam_mlx.formats.pictures import Overlay
from sam_mlx.masks import label_map
from tests.support.automatic import SMALL, calibrated_pair, squares

pytestmark = pytest.mark.original  # its model has the original's random weights
OPTIONS = dict(points_per_side=6, stability_score_thresh=0.5, box_nms_thresh=0.95)
FLAGS = [s for k, v in OPTIONS.items() for s in ("--" + k.replace("_", "-"), str(v))]
EVERY_FORMAT = ["--format", "masks", "coco", "sa1b", "labelmap", "overlay"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model and three pictures, one of them unreadable."""
    folder = tmp_path_factory.mktemp("auto")
    model = calibrated_pair(SMALL)[1]
    model.save_pretrained(folder / "model")
    (folder / "in").mkdir()
    for i, size in enumerate([(60, 90), (80, 50), (70, 70)]):
        Image.fromarray(squares(*size, seed=i)).save(folder / "in" / f"p{i}.png")
    (folder / "in" / "broken.jpg").write_bytes(b"no picture")
    (folder / "in" / "notes.txt").write_text("ignored")
    return folder


def command(files, out, *more) -> list[str]:
    model = ["--model", str(files / "model")]
    return ["auto", str(files / "in"), "-o", str(out), *model, *FLAGS, *map(str, more)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(files) -> dict[str, bytes]:
    """What an undisturbed run writes."""
    assert main(command(files, files / "whole", *EVERY_FORMAT)) == 1
    return contents(files / "whole")


def test_every_format(files, whole):
    out = files / "whole"
    assert not list(out.glob(".partial*"))
    generator = SamAutomaticMaskGenerator.from_pretrained(files / "model", **OPTIONS)
    records = generator.generate(files / "in" / "p1.png")
    assert len(records) > 1

    for i, record in enumerate(records):
        mask = np.asarray(Image.open(out / "p1" / f"{i}.png"))
        assert (mask == record["segmentation"] * np.uint8(255)).all()
    with open(out / "p1" / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [int(row["area"]) for row in rows] == [r["area"] for r in records]
    assert [float(row["predicted_iou"]) for row in rows] == [r["predicted_iou"] for r in records]

    sa1b = json.loads((out / "p1.json").read_text())
    assert sa1b["image"] == {"image_id": 3, "width": 50, "height": 80, "file_name": "p1.png"}
    assert [a["bbox"] for a in sa1b["annotations"]] == [r["bbox"] for r in records]
    assert list(sa1b["annotations"][0])[0] == "id"

    labels = np.asarray(Image.open(out / "p1_labels.png"))
    assert labels.dtype == np.uint16 and labels.shape == (80, 50)
    assert (labels == label_map([r["segmentation"] for r in records], (80, 50))).all()
    assert Image.open(out / "p1_overlay.png").size == (50, 80)


def test_coco_dataset_loads(files, whole):
    dataset = COCO(files / "whole" / "annotations.json")
    assert [i["file_name"] for i in dataset.loadImgs(dataset.getImgIds())] == [
        "p0.png",
        "p1.png",
        "p2.png",
    ]
    for annotation in dataset.loadAnns(dataset.getAnnIds()):
        image = dataset.imgs[annotation["image_id"]]
        mask = dataset.annToMask(annotation)
        assert mask.shape == (image["height"], image["width"])
        assert mask.sum() == annotation["area"]


def test_unreadable_pictures_are_reported_and_do_not_stop_the_rest(files, whole, capsys):
    assert main(command(files, files / "whole", *EVERY_FORMAT)) == 1
    output = capsys.readouterr()
    assert "broken.jpg" in output.err and "notes.txt" not in output.err
    assert "3 were there already, 1 could not be read" in output.out
    assert contents(files / "whole") == whole


def test_a_stopped_run_continues(files, whole, tmp_path, monkeypatch, capsys):
    """Stopped within the second picture, between two of its results."""
    write_overlay, calls = Overlay.write, []

    def stop(self, result, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half a pict")
            raise KeyboardInterrupt
        write_overlay(self, result, path)

    monkeypatch.setattr(Overlay, "write", stop)
    assert main(command(files, tmp_path / "out", *EVERY_FORMAT)) == 130
    assert "continues" in capsys.readouterr().err
    assert not (tmp_path / "out" / "annotations.json").exists()
    # What a killed process leaves behind.
    (tmp_path / "out" / ".partial-1").mkdir()
    (tmp_path / "out" / ".partial-1" / "left.png").write_bytes(b"half a picture")

    monkeypatch.undo()
    assert main(command(files, tmp_path / "out", *EVERY_FORMAT)) == 1
    assert "1 were there already" in capsys.readouterr().out
    assert contents(tmp_path / "out") == whole


def test_two_processes_write_what_one_writes(files, whole, tmp_path, same_forms):
    launch = [str(Path(sys.executable).with_name("mlx.launch")), "-n", "2", "--backend", "ring"]
    program = [sys.executable, "-m", "sam_mlx", *command(files, tmp_path / "out", *EVERY_FORMAT)]
    done = subprocess.run([*launch, *program], capture_output=True, text=True, timeout=300)
    assert contents(tmp_path / "out") == whole, done.stdout + done.stderr


def test_other_settings_are_refused(files, whole, capsys):
    assert main(command(files, files / "whole", "--box-nms-thresh", 0.5)) == 2
    assert "box_nms_thresh=0.95 (now 0.5)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quantize", "8"], "quantize=None (now 8)"),
        (["--dtype", "float16"], "dtype=None (now float16)"),
        (["--revision", "v2"], "revision=None (now v2)"),
    ],
)
def test_another_way_of_loading_is_refused(files, whole, capsys, flags, message):
    assert main(command(files, files / "whole", *flags)) == 2
    assert message in capsys.readouterr().err
    assert contents(files / "whole") == whole


def test_other_weights_of_the_same_name_are_refused(files, tmp_path, capsys):
    model = tmp_path / "model"
    arguments = command(files, tmp_path / "out", "--model", model)
    arguments[1] = str(files / "in" / "p*.png")
    sam = calibrated_pair(SMALL)[1]
    sam.save_pretrained(model)
    assert main(arguments) == 0
    shutil.rmtree(model)
    sam.mask_decoder.mask_tokens.weight += 1
    sam.save_pretrained(model)
    shutil.rmtree(tmp_path / "out" / "p0")
    assert main(arguments) == 2
    assert "weights=" in capsys.readouterr().err


def test_results_of_one_name_are_refused(files, tmp_path, capsys):
    (tmp_path / "annotations.png").write_bytes((files / "in" / "p0.png").read_bytes())
    arguments = command(files, tmp_path / "out", "--format", "rle", "coco")
    arguments[1] = str(tmp_path / "annotations.png")
    assert main(arguments) == 2
    assert "two results would be called" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_records_as_json(files, tmp_path):
    arguments = command(files, tmp_path / "out", "--convert-to-rle")
    arguments[1] = str(files / "in" / "p*.png")
    assert main(arguments) == 0
    records = json.loads((tmp_path / "out" / "p0.json").read_text())
    assert isinstance(records[0]["segmentation"]["counts"], str)


def test_files_of_the_same_name_keep_apart(tmp_path):
    for name in ("a.png", "a.jpg", "b.png", "deep/b.png", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(batch.find_pictures(str(tmp_path))) == ["a.jpg", "a.png", "b"]
    found = batch.find_pictures(str(tmp_path / "**" / "*.png"))
    assert list(found) == ["a", "b", "deep/b", "deep/c"]
    assert found["deep/c"] == tmp_path / "deep" / "c.png"
    assert list(batch.find_pictures(str(tmp_path / "b.png"))) == ["b"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input": "absent.png"}, "no such picture"),
        ({"input": "absent/*.png"}, "no pictures"),
        ({"output": "in"}, "holds the pictures themselves"),
        ({"more": ["--points-per-side", "0"]}, "points_per_side is 0"),
        ({"more": ["--format", "rle", "sa1b"]}, "choose one"),
        ({"more": ["--model", "absent"]}, "absent"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, capsys, change, message):
    arguments = command(files, files / change.get("output", tmp_path / "out"))
    arguments[1] = str(files / change.get("input", "in"))
    assert main([*arguments, *change.get("more", [])]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
