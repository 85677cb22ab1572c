"""``sam-mlx auto``: its files, and that stopping, sharing and bad pictures change none of them."""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sam_mlx import SamAutomaticMaskGenerator, batch
from sam_mlx.batch import processes, sources, work
from sam_mlx.batch.processes import SETTINGS
from sam_mlx.cli import main
from sam_mlx.files import packaged, temporary_folder
from sam_mlx.formats.masks import COLUMNS
from sam_mlx.formats.pictures import Overlay
from sam_mlx.locks import held
from sam_mlx.masks import label_map
from tests.support.automatic import SMALL, calibrated_sam, squares

OPTIONS = dict(points_per_side=6, stability_score_thresh=0.5, box_nms_thresh=0.95)
FLAGS = [s for k, v in OPTIONS.items() for s in ("--" + k.replace("_", "-"), str(v))]
EVERY_FORMAT = ["--format", "masks", "coco", "sa1b", "labelmap", "overlay"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model and three pictures, one of them unreadable."""
    folder = tmp_path_factory.mktemp("auto")
    calibrated_sam(SMALL).save_pretrained(folder / "model")
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


def pictures(*paths, output="none", recursive=False) -> dict[str, Path]:
    found = sources.find([str(path) for path in paths], Path(output), recursive)
    return sources.named(found.files)


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
    number = sa1b["image"].pop("image_id")
    assert sa1b["image"] == {"width": 50, "height": 80, "file_name": "p1.png"}
    assert 0 < number < 2**53
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
    with temporary_folder(tmp_path / "out") as left:
        pass
    left.mkdir()
    (left / "left.png").write_bytes(b"half a picture")

    monkeypatch.undo()
    assert main(command(files, tmp_path / "out", *EVERY_FORMAT)) == 1
    assert "1 were there already" in capsys.readouterr().out
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
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


NO_MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 8.00 TiB for an array with shape (1048576, 1048576)"),
    RuntimeError("[malloc] Unable to allocate 4398046511104 bytes."),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["load_page", "generate", "Result"])
@pytest.mark.parametrize("error", NO_MEMORY, ids=range(3))
def test_a_picture_too_large_for_memory_is_its_own_failure(
    many, tmp_path, monkeypatch, error, place
):
    """It ended the run with a traceback, and without annotations.json."""
    for i in range(3):
        paint(tmp_path / "in" / f"{i}.png", i, (40 + i, 50))
    module = SamAutomaticMaskGenerator if place == "generate" else work
    usual = getattr(module, place)

    def fail(*given, **named):
        is_named = any(isinstance(x, (str, Path)) and Path(x).name == "1.png" for x in given)
        if is_named or any(getattr(x, "shape", ())[:1] == (41,) for x in given):
            raise error
        return usual(*given, **named)

    monkeypatch.setattr(module, place, fail)
    code, said, told = many(tmp_path / "in")
    assert code == 1 and "2 of 3 pictures segmented" in said
    assert "1 did not fit into memory" in said
    assert f"not segmented: {tmp_path / 'in' / '1.png'}: not enough memory" in told
    assert list(dataset(tmp_path / "out")) == ["0.png", "2.png"]
    monkeypatch.undo()
    code, said, _ = many(tmp_path / "in")
    assert code == 0 and "1 of 3 pictures segmented" in said and "2 were there already" in said


def test_other_errors_of_a_picture_end_the_run(many, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a slip")

    paint(tmp_path / "in" / "a.png", 1)
    monkeypatch.setattr(SamAutomaticMaskGenerator, "generate", fail)
    code, _, error = many(tmp_path / "in")
    assert code == 2 and "a slip" in error


def test_a_name_of_no_user_is_a_name(many, tmp_path, monkeypatch):
    """``~name`` of nobody ended in an error about a home folder."""
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "~no_user" / "a.png", 1)
    assert many("~no_user", out="~none")[0] == 0
    assert (tmp_path / "~none" / "annotations.json").exists()
    code, _, error = many("~nothing")
    assert code == 2 and "no such picture, folder or glob: ~nothing" in error


def test_raw_files_of_cameras_are_counted_and_named(many, tmp_path):
    paint(tmp_path / "in" / "IMG_1.png", 1)
    for name in ("IMG_1.dng", "IMG_2.NEF", "IMG_3.nef", "notes.txt"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "in" / "IMG_1.png").read_bytes())
    code, said, _ = many(tmp_path / "in")
    raw = "(camera raw, which rawpy converts)"
    assert code == 0 and f"left out: 1 .dng {raw}, 2 .nef {raw}, 1 .txt" in said
    code, _, error = many(tmp_path / "in" / "IMG_1.dng", out=tmp_path / "other")
    assert code == 1 and "IMG_1.dng as a picture: its name is that of a camera's raw file" in error
    (tmp_path / "in" / "IMG_1.png").unlink()
    code, _, error = many(tmp_path / "in", out=tmp_path / "none")
    assert code == 2 and f"no pictures: {tmp_path / 'in'}; only 1 .dng {raw}" in error


def found_in(*paths, output="none", recursive=True):
    found = sources.find([str(path) for path in paths], Path(output), recursive)
    return sorted(sources.named(found.files)), {p.name: why for p, why in found.unread.items()}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_links_to_folders_are_followed_once(tmp_path):
    """They were left out; and a glob followed one that leads to itself forty times."""
    data, pool = tmp_path / "in", tmp_path / "pool"
    touch(data / "a.png", data / "days" / "b.png", pool / "c.png", pool / "deep" / "d.png")
    (data / "0").symlink_to(data / "days")  # comes first, and gives no names
    (data / "pool").symlink_to(pool)
    (data / "pool2").symlink_to(pool)
    (pool / "up").symlink_to(pool)
    (pool / "deep" / "round").symlink_to(data)
    expected = ["a", "days/b", "pool/c", "pool/deep/d"]
    assert found_in(data) == (expected, {})
    assert found_in(data / "**" / "*.png") == (expected, {})
    assert found_in(data / "**") == (expected, {})
    (tmp_path / "link").symlink_to(data)
    assert found_in(tmp_path / "link")[0] == expected
    assert len(found_in(tmp_path / "link", data)[0]) == 4
    assert found_in(data / "*" / "*.png")[0] == ["days/b", "pool/c"]
    assert found_in(data, recursive=False) == (["a"], {})
    found = sources.find([str(data)], Path("none"), recursive=False)
    assert found.subfolders == 4


def test_a_picture_is_taken_once_whichever_inputs_lead_to_it(tmp_path):
    data, link = tmp_path / "in", tmp_path / "a_link"
    touch(data / "a.png", data / "deep" / "b.png")
    link.symlink_to(data)
    (data / "deep" / "round").symlink_to(data)
    inputs = (data, link, data / "**" / "*.png", link / "**", link / "*.png", link / "a.png",
              data / "deep" / "round" / "deep" / "b.png", data / "deep" / "**")  # fmt: skip
    for first in inputs:
        for second in (*inputs, ""):
            found = sources.find([str(first), str(second or first)], Path("none"), True)
            names = [path.name for path in found.files]
            assert len(names) == len(set(names)), (first, second)
    found = sources.find([str(link / "**"), str(data)], Path("none"), True)
    assert sorted(found.files) == [data / "a.png", data / "deep" / "b.png"]


def test_many_stars_look_through_the_folders_once(tmp_path, monkeypatch):
    """Twenty in a row took longer than the age of the world."""
    touch(*(tmp_path / "in" / f"{i}" / f"{j}" / "a.png" for i in range(4) for j in range(4)))
    for i in range(4):
        (tmp_path / "in" / f"{i}" / "up").symlink_to(tmp_path / "in")
    listdir, looked = os.listdir, []
    monkeypatch.setattr(os, "listdir", lambda path: looked.append(path) or listdir(path))
    stars = Path(*["**"] * 20)
    assert len(pictures(tmp_path / "in" / stars / "*.png")) == 16
    assert len(looked) < 100


def test_sparse_files_are_not_read(many, tmp_path):
    """To find out whether it had changed, a picture of a terabyte was read whole."""
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "b.png").touch()
    os.truncate(tmp_path / "in" / "b.png", 1 << 40)
    code, said, error = many(tmp_path / "in")
    assert code == 1 and "1 of 1 pictures" in said
    assert "b.png: it has 1,099,511,627,776 bytes; expected at most" in error


def test_globs_are_those_of_the_standard_library(tmp_path):
    touch(*(tmp_path / name for name in ("a.png", "b.jpg", "x/a.png", "x/y/c.png", "x/y/d.txt")))
    touch(tmp_path / ".hidden" / "e.png", tmp_path / "x[1]" / "f.png", tmp_path / ".g.png")
    for pattern in ("*", "*.png", "**/*.png", "x/*/*", "**/y/*.png", "*/a.png", "x/**", "x[1]/*.p*",
                    "?/a.*", "[a-b].*", ".hidden/*.png", ".*.png", "**/**/*.png"):  # fmt: skip
        paths = glob(str(tmp_path / pattern.replace("x[1]", "x[[]1]")), recursive=True)
        expected = {Path(p) for p in paths if p.endswith((".png", ".jpg"))}
        found = sources.find([str(tmp_path / pattern)], Path("none"), False)
        assert set(found.files) == expected, pattern


@pytest.fixture
def locked(monkeypatch):
    """Folders that cannot be read, also by root."""
    listdir, names = os.listdir, set()

    def refuse(folder):
        if Path(folder).name in names:
            raise PermissionError(errno.EACCES, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    return names


def test_what_cannot_be_read_is_counted_and_named(many, tmp_path, locked):
    paint(tmp_path / "in" / "a.png", 1)
    paint(tmp_path / "in" / "secret" / "b.png", 1)
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "in" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    locked.add("secret")
    expected = {
        "secret": "Permission denied",
        "gone.png": "the link leads nowhere",
        "self": "Too many levels of symbolic links",
        "pipe.png": "it is a pipe, not a file",
    }
    assert found_in(tmp_path / "in") == (["a"], expected)
    code, said, error = many(tmp_path / "in", more=["--format", "coco", "--recursive"])
    assert code == 1 and "4 files and folders could not be read" in said
    for name, why in expected.items():
        assert f"not read: {tmp_path / 'in' / name}: {why}\n" in error
    code, said, _ = many(tmp_path / "in" / "secret", tmp_path / "in" / "a.png", out=tmp_path / "b")
    assert code == 1 and "1 of 1 pictures" in said
    for given in ("in/secret", "in/secret/*.png", "in/s*/**"):
        locked.add("secret")
        with pytest.raises(OSError, match="cannot read .*secret: Permission denied"):
            found_in(tmp_path / given)
    for given in ("in/pipe.png", "in/gone.png"):
        with pytest.raises(OSError, match=r"cannot read .*: (it is a pipe|the link leads nowhere)"):
            found_in(tmp_path / given)


def test_a_path_that_may_not_be_looked_at_is_not_missing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(PermissionError, match="cannot read .*x.png: Permission denied"):
        sources.find([str(tmp_path / "x.png")], Path("none"), False)


def test_the_range_of_samples_belongs_to_results(many, tmp_path):
    (tmp_path / "in").mkdir()
    deep = squares(60, 90)[..., 0].astype(np.uint16) * 10
    Image.fromarray(deep).save(tmp_path / "in" / "a.png")
    given = ["--format", "coco", "--value-range", "0", "2550"]
    assert many(tmp_path / "in", more=given)[0] == 0
    assert "1 were there already" in many(tmp_path / "in", more=given)[1]
    for other in (given[:2], [*given[:4], "2551"]):
        code, _, error = many(tmp_path / "in", more=other)
        assert code == 2 and "value_range=[0.0, 2550.0] (now" in error
    paint(tmp_path / "eight" / "a.png", 0, (60, 90))
    Image.fromarray((deep // 10).astype(np.uint8)).save(tmp_path / "eight" / "a.png")
    many(tmp_path / "eight", out=tmp_path / "plain")
    assert dataset(tmp_path / "out") == dataset(tmp_path / "plain")
    assert many(tmp_path / "in", more=["--value-range", "5", "5"])[0] == 2


def test_other_weights_of_the_same_name_are_refused(files, tmp_path, capsys):
    model = tmp_path / "model"
    arguments = command(files, tmp_path / "out", "--model", model)
    arguments[1] = str(files / "in" / "p*.png")
    sam = calibrated_sam(SMALL)
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


def test_names_that_look_like_files_keep_apart():
    """x.png, named so beside x.jpg, was left out where x.png.png is there, too."""
    files = [Path(f) for f in ("x.jpg", "x.png", "x.png.png", "X.PNG.png.png", "x", "y.a", "y.a.b")]
    for some in (files, files[::-1], files[:3], files[1:4], files[4:]):
        assert sorted(sources.named(some).values()) == sorted(some)
    assert sources.named(files[2:3]) == {"x.png": files[2]}
    assert sources.named([Path("y.a")]) == {"y": Path("y.a")}


def test_files_of_the_same_name_keep_apart(tmp_path):
    for name in ("a.png", "a.jpg", "b.png", "deep/b.png", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(pictures(tmp_path)) == ["a.jpg", "a.png", "b"]
    found = pictures(tmp_path / "**" / "*.png")
    assert list(found) == ["a", "b", "deep/b", "deep/c"]
    assert found["deep/c"] == tmp_path / "deep" / "c.png"
    assert list(pictures(tmp_path / "b.png")) == ["b"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input": "absent.png"}, "no such picture"),
        ({"input": "absent/*.png"}, "no pictures"),
        ({"output": "in"}, "holds the pictures themselves"),
        ({"more": ["--points-per-side", "0"]}, "points_per_side is 0"),
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


@pytest.fixture
def many(files, tmp_path, capsys):
    """A function that runs the command on inputs, and gives its code and what it said."""

    def auto(*inputs, out=tmp_path / "out", more=("--format", "coco")):
        flags = ["-o", out, "--model", files / "model", *FLAGS, *more]
        code = main(["auto", *map(str, [*inputs, *flags])])
        output = capsys.readouterr()
        return code, output.out, output.err

    return auto


def paint(path: Path, seed: int, size=(40, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(squares(*size, seed=seed)).save(path)
    return path


def dataset(out: Path) -> dict[str, list]:
    """The masks of annotations.json, by the names of pictures."""
    found = json.loads((out / "annotations.json").read_text())
    return {
        image["file_name"]: [
            {k: v for k, v in a.items() if k not in ("id", "image_id")}
            for a in found["annotations"]
            if a["image_id"] == image["id"]
        ]
        for image in found["images"]
    }


def test_results_belong_to_their_pictures_not_to_their_names(many, tmp_path):
    """Two days with pictures of one name, into one folder."""
    paint(tmp_path / "dayA" / "IMG_1.png", 1)
    paint(tmp_path / "dayB" / "IMG_1.png", 2)
    everything = {"more": ["--format", "coco", "overlay", "masks"]}
    many(tmp_path / "dayB", out=tmp_path / "alone", **everything)
    assert many(tmp_path / "dayA", **everything)[0] == 0
    code, said, _ = many(tmp_path / "dayB", **everything)
    assert code == 0 and "1 made again, for their pictures have changed" in said
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert "1 were there already" in many(tmp_path / "dayB", **everything)[1]


def test_a_picture_that_changed_under_its_name(many, tmp_path):
    path = paint(tmp_path / "in" / "a.bmp", 1)
    many(tmp_path / "in")
    first, stat = dataset(tmp_path / "out"), path.stat()
    paint(path, 2)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert "1 made again" in many(tmp_path / "in")[1]
    assert dataset(tmp_path / "out") != first
    os.utime(path)  # only touched
    assert "1 were there already" in many(tmp_path / "in")[1]


def test_a_picture_of_another_kind_under_the_same_name(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    many(tmp_path / "in")
    (tmp_path / "in" / "a.png").unlink()
    paint(tmp_path / "in" / "a.jpg", 2)
    assert "1 made again" in many(tmp_path / "in")[1]
    assert list(dataset(tmp_path / "out")) == ["a.jpg"]


def test_a_wider_glob_moves_the_common_folder(many, tmp_path):
    for i, day in enumerate(["dayA", "dayB"]):
        paint(tmp_path / "in" / day / "a.png", i)
    many(tmp_path / "in" / "dayA" / "*.png")
    one = dataset(tmp_path / "out")
    _, said, _ = many(tmp_path / "in" / "*" / "*.png")
    found = dataset(tmp_path / "out")
    assert list(found) == ["dayA/a.png", "dayB/a.png"] and found["dayA/a.png"] == one["a.png"]
    assert "of pictures that are not in this run: a\n" in said


def test_pictures_that_are_gone_are_named_and_not_in_the_dataset(many, tmp_path):
    for i, name in enumerate("abc"):
        paint(tmp_path / "in" / f"{name}.png", i)
    many(tmp_path / "in")
    (tmp_path / "in" / "b.png").unlink()
    (tmp_path / "in" / "c.png").write_bytes(b"no picture")
    code, said, error = many(tmp_path / "in")
    assert code == 1 and "not in this run: b\n" in said and "c.png" in error
    assert list(dataset(tmp_path / "out")) == ["a.png"]


def test_pictures_and_results_may_move_together(many, tmp_path):
    paint(tmp_path / "old" / "in" / "a.png", 1)
    many(tmp_path / "old" / "in", out=tmp_path / "old" / "out")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    said = many(tmp_path / "new" / "in", out=tmp_path / "new" / "out")[1]
    assert "1 were there already" in said


def test_formats_of_one_path_one_after_another(many, tmp_path):
    """The first keeps a.json; the second has its name in its files, and again when it continues."""
    paint(tmp_path / "in" / "a.png", 1)
    out = tmp_path / "out"
    many(tmp_path / "in", more=["--format", "rle"])
    many(tmp_path / "in", more=["--format", "sa1b"])
    assert {p.name for p in out.glob("a*")} == {"a.json", "a_sa1b.json"}
    assert isinstance(json.loads((out / "a.json").read_text()), list)
    assert json.loads((out / "a_sa1b.json").read_text())["image"]["file_name"] == "a.png"
    for form in "rle", "sa1b":
        assert "1 were there already" in many(tmp_path / "in", more=["--format", form])[1]
    paint(tmp_path / "in" / "b.png", 2)
    many(tmp_path / "in", more=["--format", "sa1b"])
    assert {p.name for p in out.glob("[ab]*")} == {"a.json", "a_sa1b.json", "b_sa1b.json"}


def test_formats_of_one_path_together(many, tmp_path):
    """Each has its own name in its files, now and when the run continues; --convert-to-rle is one
    more of them.
    """
    picture, out = paint(tmp_path / "in" / "a.png", 1), tmp_path / "out"
    formats = ["--format", "sa1b", "labelme", "tiff16", "tiff32"]
    code, _, _ = many(tmp_path / "in", more=[*formats, "--convert-to-rle"])
    names = {f"a_{end}" for end in (
        "rle.json", "sa1b.json", "labelme.json", "labels_tiff16.tif", "labels_tiff32.tif",
    )}  # fmt: skip
    assert code == 0 and {p.name for p in out.glob("a*")} == names
    records = json.loads((out / "a_rle.json").read_text())
    annotations = json.loads((out / "a_sa1b.json").read_text())["annotations"]
    assert annotations == [{"id": i} | record for i, record in enumerate(records, 1)] != []
    before = contents(out)
    _, said, _ = many(tmp_path / "in", more=[*formats, "--convert-to-rle"])
    assert "1 were there already" in said and contents(out) == before
    # Alone a format has the plain name, and results of other content go, whatever they are called.
    paint(picture, 2)
    many(tmp_path / "in", more=["--format", "rle"])
    assert {p.name for p in out.glob("a*")} == {"a.json"}


def test_what_is_not_of_the_command_is_not_replaced(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    paint(tmp_path / "out" / "a" / "mine.jpg", 1)
    code, _, error = many(tmp_path / "in", more=["--format", "masks"])
    assert code == 2 and "was not written by this command" in error
    paint(tmp_path / "in" / "b.png", 1)
    (tmp_path / "out" / "a").rename(tmp_path / "aside")
    many(tmp_path / "in" / "b.png", more=["--format", "masks"])
    (tmp_path / "aside").rename(tmp_path / "out" / "a")
    code, said, error = many(tmp_path / "in", more=["--format", "masks"])
    assert code == 1 and "mine.jpg" in error and "1 could not be written" in said
    assert (tmp_path / "out" / "a" / "mine.jpg").exists()


def test_an_output_that_cannot_be_a_folder_is_one_line(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "out.png").touch()
    code, _, error = many(tmp_path / "in", out=tmp_path / "out.png")
    assert code == 2 and error.endswith("out.png is a file; -o takes a folder\n")
    code, _, error = many(tmp_path / "in", out=tmp_path / "out.png" / "x")
    assert code == 2 and "cannot write" in error and error.count("\n") == 1


def test_only_the_commands_own_leftovers_are_removed(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    for name in (".partial-0", ".partial-1", ".partial-backup_1"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "mine.txt").write_text("a user's")
    with temporary_folder(tmp_path / "out") as left:
        pass
    left.mkdir()
    assert many(tmp_path / "in")[0] == 0
    assert len(list((tmp_path / "out").glob(".partial-*/mine.txt"))) == 3
    assert not left.exists() and len(list((tmp_path / "out").glob(".partial-*"))) == 3


def test_results_are_written_through_links_and_replace_files_alone(many, tmp_path):
    """Also once the picture has changed, and its results of other content are removed."""
    paint(tmp_path / "in" / "a.png", 1)
    formats = ["masks", "rle", "overlay"]
    more = ["--format", *formats]
    many(tmp_path / "in", more=more)
    results, disk = ("a", "a.json", "a_overlay.png"), tmp_path / "disk"
    disk.mkdir()
    for name in results:
        (tmp_path / "out" / name).rename(disk / name)
        (tmp_path / "out" / name).symlink_to(disk / name)
    assert "1 were there already" in many(tmp_path / "in", more=more)[1]
    before = contents(disk)
    paint(tmp_path / "in" / "a.png", 7, (44, 55))
    assert many(tmp_path / "in", more=more)[0] == 0
    assert all((tmp_path / "out" / name).is_symlink() for name in results)
    after = contents(disk)
    assert all(after[name] != before[name] for name in ("a.json", "a_overlay.png"))
    assert Image.open(disk / "a" / "0.png").size == (55, 44)

    (tmp_path / "out" / "a.json").unlink()
    os.mkfifo(tmp_path / "out" / "a.json")
    (tmp_path / "out" / "a_overlay.png").unlink()
    (tmp_path / "out" / "a_overlay.png").mkdir()
    paint(tmp_path / "in" / "a.png", 8)
    for form, kind in (("rle", "a pipe"), ("overlay", "a folder")):
        code, _, error = many(tmp_path / "in", more=["--format", form])
        assert code == 1 and error.count("\n") == 1 and f"it is {kind}, not a file" in error
    assert (tmp_path / "out" / "a.json").is_fifo() and (tmp_path / "out" / "a_overlay.png").is_dir()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_the_commands_own_files_are_files(many, tmp_path, kind):
    """A lock that is a link was followed, and what it pointed at was emptied."""
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.txt").write_text("a user's")
    for name, message in (
        (".lock", "is not a lock of sam_mlx's own"),
        (".settings.json", "damaged"),
    ):
        path = tmp_path / "out" / name
        path.symlink_to(tmp_path / "mine.txt") if kind == "link" else os.mkfifo(path)
        code, _, error = many(tmp_path / "in")
        assert code == 2 and message in error and error.count("\n") == 1
        path.unlink()
    assert (tmp_path / "mine.txt").read_text() == "a user's"


@pytest.mark.parametrize("place", ["generate", "Result", "finish"])
def test_a_run_ends_when_its_output_folder_is_gone(many, tmp_path, monkeypatch, place):
    """Every picture was segmented for nothing, and the folder was made again, half filled."""
    for i, name in enumerate("abc"):
        paint(tmp_path / "in" / f"{name}.png", i)
    module = {"generate": SamAutomaticMaskGenerator, "Result": work, "finish": batch}[place]
    usual, calls = getattr(module, place), []

    def vanish(*given, **named):
        calls.append(given)
        if len(calls) == (1 if place == "finish" else 2):
            shutil.rmtree(tmp_path / "out")
        return usual(*given, **named)

    monkeypatch.setattr(module, place, vanish)
    code, _, error = many(tmp_path / "in")
    assert code == 2 and error.count("\n") == 1
    assert f"{tmp_path / 'out'} is gone" in error
    assert not (tmp_path / "out").exists() and len(calls) == (1 if place == "finish" else 2)
    monkeypatch.undo()
    assert many(tmp_path / "in")[0] == 0


@pytest.mark.parametrize("form", ["masks", "overlay"])
def test_results_are_no_input(many, tmp_path, form):
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "out").mkdir()
    (tmp_path / "in" / "link").symlink_to("out")
    out, more = tmp_path / "in" / "out", ["--format", form]
    many(tmp_path / "in", out=out, more=more)
    again = [(["*"], []), (["**", "*.png"], []), ([], ["--recursive"])]
    for below, flags in again:
        code, said, _ = many(tmp_path.joinpath("in", *below), out=out, more=[*more, *flags])
        assert code == 0 and "0 of 1 pictures" in said
    linked = many(tmp_path / "in" / "**" / "*.png", out=tmp_path / "in" / "link", more=more)
    assert "0 of 1 pictures" in linked[1]
    code, _, error = many(out, out=out, more=more)
    assert code == 2 and "no pictures" in error and error.count("\n") == 1


def test_masks_are_counted(many, tmp_path):
    for i in range(2):
        paint(tmp_path / "in" / f"p{i}.png", i)
    said = many(tmp_path / "in")[1]
    counts = [len(masks) for masks in dataset(tmp_path / "out").values()]
    assert f"{sum(counts)} masks in all: p0 {counts[0]}, p1 {counts[1]}\n" in said
    for i in range(2, 12):
        shutil.copy(tmp_path / "in" / "p0.png", tmp_path / "in" / f"p{i}.png")
    assert "masks in all\n" in many(tmp_path / "in")[1]
    assert "p11" in many(tmp_path / "in", more=["--format", "coco", "--verbose"])[1]


def test_a_run_that_finds_nothing_says_what_to_do(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    code, said, _ = many(tmp_path / "in", more=["--stability-score-offset", 1000])
    assert code == 0 and "0 masks in all" in said
    assert "no mask in 1 of them: a. Lower --pred-iou-thresh or" in said and "--model" in said


def failing(monkeypatch, error: Exception, name: str) -> None:
    write = Overlay.write

    def fail(self, result, path):
        if result.file_name == name:
            raise error
        write(self, result, path)

    monkeypatch.setattr(Overlay, "write", fail)


def test_a_picture_that_cannot_be_written_does_not_stop_the_rest(many, tmp_path, monkeypatch):
    for i, name in enumerate("ab"):
        paint(tmp_path / "in" / f"{name}.png", i)
    paint(tmp_path / "in" / ("n" * 245 + ".png"), 3)  # too long with _overlay
    with monkeypatch.context() as patch:
        failing(patch, ValueError("65536 masks"), "a.png")
        code, said, error = many(tmp_path / "in", more=["--format", "overlay"])
    assert code == 1 and "1 of 3 pictures" in said and "2 could not be written" in said
    assert error.count("not written") == 2 and "65536 masks" in error and "too long" in error
    assert (tmp_path / "out" / "b_overlay.png").exists()
    (tmp_path / "in" / ("n" * 245 + ".png")).unlink()
    code, said, _ = many(tmp_path / "in", more=["--format", "overlay"])
    assert code == 0 and "1 of 2 pictures" in said


def test_a_full_disk_ends_the_run_with_one_line(many, tmp_path, monkeypatch):
    for i, name in enumerate("abc"):
        paint(tmp_path / "in" / f"{name}.png", i)
    (tmp_path / "in" / "a0.png").write_bytes(b"no picture")
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), "b.png")
    code, _, error = many(tmp_path / "in", more=["--format", "overlay"])
    assert code == 2 and "no space is left" in error and error.count("\n") == 2
    assert "not read: " in error.splitlines()[0]  # those before it are named
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"a_overlay.png", ".settings.json", ".pictures"}


def test_a_name_that_fits_is_written(many, tmp_path):
    paint(tmp_path / "in" / ("n" * 251 + ".png"), 1)
    assert many(tmp_path / "in", more=["--format", "masks"])[0] == 0


def test_a_picture_has_one_number_in_whichever_run_it_is_made(many, tmp_path):
    """They counted the run's pictures: two of a folder could have one."""
    more = ["--format", "sa1b"]
    first = paint(tmp_path / "in" / "b.png", 1)
    many(first, more=more)
    paint(tmp_path / "in" / "a.png", 2)
    many(tmp_path / "in", more=more)
    a, b = (json.loads((tmp_path / "out" / f"{n}.json").read_text())["image"] for n in "ab")
    assert a["image_id"] != b["image_id"]
    many(tmp_path / "in", more=more, out=tmp_path / "again")
    assert json.loads((tmp_path / "again" / "b.json").read_text())["image"] == b


def test_heic_in_a_folder_is_a_picture_whatever_is_installed(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "in" / "b.HEIC").write_bytes(bytes(3) + b"\x18ftypheic" + bytes(12))
    code, said, error = many(tmp_path / "in")
    assert code == 1 and "1 of 2 pictures" in said and "b.HEIC" in error


def test_folders_of_phones_and_macs(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    paint(tmp_path / "in" / "deep" / "b.png", 2)
    paint(tmp_path / "in" / ".hidden" / "c.png", 2)
    for name in ("._a.png", ".DS_Store", ".c.png", "clip.MOV", "clip.mpg", "one.pdf", "two.pdf"):
        (tmp_path / "in" / name).write_bytes(b"no picture")
    code, said, error = many(tmp_path / "in")
    assert code == 0 and error == "" and "1 of 1 pictures" in said
    assert "left out: 1 .mov, 1 .mpg, 2 .pdf, 1 subfolder (--recursive takes them)\n" in said
    code, said, _ = many(tmp_path / "in", more=["--format", "coco", "--recursive"])
    assert code == 0 and list(dataset(tmp_path / "out")) == ["a.png", "deep/b.png"]
    assert "subfolder" not in said
    for inputs in (
        [tmp_path / "in" / "*"],
        [tmp_path / "in" / "a.png", tmp_path / "in" / "one.pdf"],
    ):
        code, said, error = many(*inputs)
        assert code == 0 and error == "" and "0 of 1 pictures" in said
    assert "--recursive" in many(tmp_path)[2]


def test_a_second_run_into_one_folder_says_so_at_once(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    (tmp_path / "out").mkdir()
    with held(tmp_path / "out" / processes.LOCK):
        code, _, error = many(tmp_path / "in")
    assert code == 2 and "another run writes to" in error and error.count("\n") == 1
    assert many(tmp_path / "in")[0] == 0
    assert not (tmp_path / "out" / processes.LOCK).exists()


def test_brackets_in_paths_that_exist_are_no_globs(tmp_path):
    paint(tmp_path / "day [1]" / "a[b].png", 1)
    for source in ("day [1]", "day [1]/a[b].png", "day [1]/*.png", "d*/*.png"):
        assert list(pictures(tmp_path / source)) == ["a[b]"], source


def test_several_inputs(many, tmp_path, monkeypatch):
    paths = [paint(tmp_path / "in" / name, 1) for name in ("a.png", "b/c.png", "b.png")]
    monkeypatch.chdir(tmp_path)
    assert list(pictures(*paths, "in/a.png")) == ["a", "b/c", "b.png"]
    assert many(*paths, more=["--format", "masks", "coco"])[0] == 0
    assert list(dataset(tmp_path / "out")) == ["a.png", "b/c.png", "b.png"]


def test_pictures_of_one_name_are_two_in_every_format(many, tmp_path):
    for day in ("dayA", "dayB"):
        paint(tmp_path / day / "IMG_1.png", ord(day[-1]))
    for form in ("coco", "sa1b", "geojson"):
        assert many(tmp_path / "dayA", tmp_path / "dayB", more=["--format", form])[0] == 0
    assert len(dataset(tmp_path / "out")) == 2
    sa1b = [json.loads((tmp_path / "out" / day / "IMG_1.json").read_text())["image"]
            for day in ("dayA", "dayB")]  # fmt: skip
    assert len({image["image_id"] for image in sa1b}) == 2
    geojson = [json.loads((tmp_path / "out" / day / "IMG_1.geojson").read_text())
               for day in ("dayA", "dayB")]  # fmt: skip
    for images in (sa1b, geojson):
        assert [image["file_name"] for image in images] == ["dayA/IMG_1.png", "dayB/IMG_1.png"]


def test_an_input_that_is_missing_among_several(many, tmp_path, monkeypatch):
    paths = [paint(tmp_path / "in" / "a.png", 1)]
    monkeypatch.chdir(tmp_path)
    assert main(["auto", str(paths[0]), str(tmp_path / "none.png"), "-o", "out"]) == 2


def test_names_differ_where_capitals_do_not_count(tmp_path):
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "A.jpg", 1)
    assert list(pictures(tmp_path)) == ["A.jpg", "a.png"]


def test_an_input_among_the_formats_is_explained(capsys):
    with pytest.raises(SystemExit) as error:
        main(["auto", "-o", "out", "--format", "coco", "overlay", "photos"])
    assert error.value.code == 2
    assert "'photos' is not one of" in (said := capsys.readouterr().err)
    assert "put the input first, or -- before it" in said


def test_the_output_is_below_the_home_that_a_tilde_names(many, tmp_path, monkeypatch):
    paint(tmp_path / "in" / "a.png", 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert many("~/in", out="~/x")[0] == 0
    assert (tmp_path / "x" / "annotations.json").exists() and not (tmp_path / "~").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its disks take only names that are text")
def test_names_that_are_no_text(many, tmp_path):
    paint(tmp_path / "in" / os.fsdecode(b"p\xe9.png"), 1)
    code, said, _ = many(tmp_path / "in")
    assert code == 0 and r"p\udce9" in said
    assert "1 were there already" in many(tmp_path / "in")[1]


@pytest.mark.slow
def test_two_processes_make_again_what_has_changed(files, many, tmp_path, same_forms):
    for i in range(4):
        paint(tmp_path / "in" / f"p{i}.png", i)
    many(tmp_path / "in")
    for i in (1, 2):
        paint(tmp_path / "in" / f"p{i}.png", i + 10)
    many(tmp_path / "in", out=tmp_path / "alone")
    program = [sys.executable, "-m", "sam_mlx", "auto", tmp_path / "in", "-o", tmp_path / "out"]
    program += ["--model", files / "model", *FLAGS, "--format", "coco"]
    launch = [Path(sys.executable).with_name("mlx.launch"), "-n", "2", "--backend", "ring"]
    command = [str(word) for word in (*launch, *program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "2 made again" in done.stdout and "2 were there already" in done.stdout, done.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    with held(tmp_path / "out" / processes.LOCK):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stderr.count("another run writes to") == 1 and "segmented" not in done.stdout


@pytest.mark.parametrize(
    ("name", "format"),
    [("...png", "masks"), (".settings.png", "sa1b"), (".pictures.png", "masks"),
     (".partial-0.png", "masks"), (".coco.png", "masks")],
)  # fmt: skip
def test_pictures_called_as_files_of_the_command(name, format, many, tmp_path):
    picture = paint(tmp_path / "in" / "a.png", 1).rename(tmp_path / "in" / name)
    code, _, error = many(picture, more=["--format", format])
    assert code == 2 and "a result would be called" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_called_as_a_folder(many, tmp_path, monkeypatch):
    """a.png's masks lay where those of a/b.png do, and were not written."""
    for name in ("a.png", "a/b.png"):
        paint(tmp_path / "in" / name, 1)
    monkeypatch.chdir(tmp_path)
    assert many("in/**/*.png", more=["--format", "masks"])[0] == 0
    tables = sorted(str(p.relative_to("out")) for p in Path("out").rglob("metadata.csv"))
    assert tables == ["a.png/metadata.csv", "a/b/metadata.csv"]


def test_damaged_files_of_the_command(many, tmp_path):
    paint(tmp_path / "in" / "a.png", 1)
    assert many(tmp_path / "in")[0] == 0
    part = tmp_path / "out" / ".coco" / "a.json"
    whole = (tmp_path / "out" / "annotations.json").read_bytes()
    for text in ("", "{}", "[1]", '{"image": 3}'):
        part.write_text(text)
        code, _, error = many(tmp_path / "in")
        assert code == 2 and f"{part} is damaged; delete it" in error and error.count("\n") == 1
    part.unlink()
    assert many(tmp_path / "in")[0] == 0
    assert (tmp_path / "out" / "annotations.json").read_bytes() == whole
    for text in ("", "[]", "{"):
        (tmp_path / "out" / ".settings.json").write_text(text)
        code, _, error = many(tmp_path / "in")
        assert code == 2 and ".settings.json is damaged" in error and error.count("\n") == 1


def test_thresholds_are_the_models_own_where_none_are_given(tmp_path, capsys):
    """Meta's would leave out most of what nano finds in the package's own picture."""
    generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=8)
    assert (generator.pred_iou_thresh, generator.stability_score_thresh) == (0.85, 0.9)
    coins, out = str(packaged("coins.png")), tmp_path / "out"
    assert main(["auto", coins, "-o", str(out), "--points-per-side", "8", "--format", "rle"]) == 0
    settings = json.loads((out / SETTINGS).read_text())
    assert (settings["pred_iou_thresh"], settings["stability_score_thresh"]) == (0.85, 0.9)
    said = capsys.readouterr().out
    assert "the model's own thresholds: --pred-iou-thresh 0.85 --stability-score-thresh 0.9" in said
    with open(out / "coins.json") as file:
        assert len(json.load(file)) == len(generator.generate(coins)) > 10


def test_metas_models_keep_metas_thresholds(files, tmp_path, capsys):
    out, flag = tmp_path / "out", "--pred-iou-thresh"
    assert main([*command(files, out), "--format", "rle"]) == 1
    assert json.loads((out / SETTINGS).read_text())["pred_iou_thresh"] == 0.88
    assert "own thresholds" not in capsys.readouterr().out
    assert main([*command(files, out), flag, "0.88", "--format", "rle"]) == 1  # the same
    assert main([*command(files, out), flag, "0.85", "--format", "rle"]) == 2


def test_thresholds_that_were_given_are_not_the_models(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*command(files, out), "--pred-iou-thresh", "0.7", "--format", "rle"]) == 1
    assert main([*command(files, out), "--format", "rle"]) == 2
    assert "pred_iou_thresh=0.7 (now the model's own)" in capsys.readouterr().err


def test_thresholds_of_other_models_are_not_taken_for_the_models_own(tmp_path, monkeypatch):
    """Meta's, given with nano and then no more: the results were those of Meta's for ever."""
    auto = ["auto", str(packaged("coins.png")), "-o", str(tmp_path / "out"), "--format", "rle"]
    auto += ["--points-per-side", "8", "--keep"]
    assert main(auto) == 0
    first = (tmp_path / "out" / "coins.json").read_bytes()
    assert main([*auto, "--pred-iou-thresh", "0.88", "--stability-score-thresh", "0.95"]) == 0
    assert (tmp_path / "out" / "coins.json").read_bytes() != first
    assert main(auto) == 0
    assert (tmp_path / "out" / "coins.json").read_bytes() == first
    monkeypatch.setattr("sam_mlx.commands.auto.load_model", None)  # known without it
    assert main(auto) == 0


def test_other_options_overwrite_where_that_is_asked_for(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(files, out, "--format", "rle")) == 1
    before = contents(out)
    changed = [*command(files, out, "--format", "rle"), "--pred-iou-thresh", "0.99"]
    assert main(changed) == 2
    assert "--overwrite makes them again; or use another folder" in capsys.readouterr().err
    assert contents(out) == before
    assert main([*changed, "--overwrite"]) == 1
    fresh = tmp_path / "fresh"
    assert main([*command(files, fresh, "--format", "rle"), "--pred-iou-thresh", "0.99"]) == 1
    assert (out / "p0.json").read_bytes() == (fresh / "p0.json").read_bytes()
    assert (out / "p0.json").read_bytes() != before["p0.json"]
    capsys.readouterr()
    assert main([*changed, "--overwrite"]) == 1
    assert "3 were there already" in capsys.readouterr().out  # nothing is other than it was


def test_kept_answers_are_filtered_without_the_model(files, tmp_path, monkeypatch, capsys):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert main(command(files, out, "--keep", "--format", "rle")) == 1
    assert len(list((out / ".answers").iterdir())) == 3
    higher = ["--pred-iou-thresh", "0.9", "--box-nms-thresh", "0.5"]
    assert main([*command(files, fresh, "--format", "rle"), *higher]) == 1
    monkeypatch.setattr(SamAutomaticMaskGenerator, "generate", None)
    monkeypatch.setattr(SamAutomaticMaskGenerator, "predict", None)
    assert main([*command(files, out, "--format", "rle"), *higher]) == 1
    assert "3 of 4 pictures segmented" in capsys.readouterr().out
    for name in ("p0.json", "p1.json", "p2.json"):
        assert (out / name).read_bytes() == (fresh / name).read_bytes()
    assert main([*command(files, out, "--format", "rle"), *higher, "--points-per-side", "3"]) == 2
    assert "points_per_side=6 (now 3)" in capsys.readouterr().err


def test_answers_of_other_points_or_pictures_are_not_used(files, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(files / "in" / "p0.png", tmp_path / "in" / "p.png")
    flags = ["-o", str(tmp_path / "out"), "--model", str(files / "model"), *FLAGS]
    run = ["auto", str(tmp_path / "in"), *flags, "--format", "rle", "--keep"]
    assert main(run) == 0
    (first,) = (tmp_path / "out" / ".answers").iterdir()
    shutil.copy(files / "in" / "p1.png", tmp_path / "in" / "p.png")
    assert main(run) == 0
    assert len(list((tmp_path / "out" / ".answers").iterdir())) == 2
    assert main([*run, "--points-per-side", "3", "--overwrite"]) == 0
    assert not first.exists() and len(list((tmp_path / "out" / ".answers").iterdir())) == 1


def test_thresholds_below_what_is_kept_ask_the_model_again(files, tmp_path):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert main(command(files, out, "--keep", "--format", "rle")) == 1
    lower = ["--pred-iou-thresh", "0.1"]
    assert main([*command(files, fresh, "--format", "rle"), *lower]) == 1
    assert main([*command(files, out, "--format", "rle"), *lower]) == 1
    assert (out / "p1.json").read_bytes() == (fresh / "p1.json").read_bytes()
