"""The shell command, run as a user runs it but within this process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlx.core import __version__ as mlx_version
from PIL import Image

from sam_mlx import SamPredictor, cli
from sam_mlx.cli import COMMANDS, main
from sam_mlx.files import packaged
from sam_mlx.masks import decode_rle

MAX = 10**9  # pixels of a picture that the page opens as an ordinary one


@pytest.fixture(scope="module")
def files(small_sam, photograph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    small_sam.save_pretrained(folder / "model")
    Image.fromarray(photograph).save(folder / "photograph.png")
    return folder


def run(files, tmp_path, *arguments) -> int:
    model = ("--model", files / "model")
    command = ("predict", files / "photograph.png", "-o", tmp_path / "out", *model, *arguments)
    return main([str(a) for a in command])


def test_predict(files, tmp_path, capsys, small_sam, photograph):
    assert run(files, tmp_path, "--point", 200, 130, "--negative", 10, 20) == 0
    predictor = SamPredictor(small_sam)
    predictor.set_image(photograph)
    masks, scores, logits = predictor.predict(
        [[200, 130], [10, 20]], [1, 0], multimask_output=False
    )
    written = np.asarray(Image.open(tmp_path / "out" / "mask.png"))
    np.testing.assert_array_equal(written, masks[0] * np.uint8(255))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "logits.npy"), logits)
    overlay = Image.open(tmp_path / "out" / "overlay.png")
    assert overlay.size == (512, 512) and overlay.mode == "RGB"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "logits.npy",
        "mask.png",
        "overlay.png",
    ]
    output = capsys.readouterr().out
    assert f"predicted IoU {scores[0]:.3f}" in output and f"area {masks.sum()} px" in output


def test_a_click_gives_the_best_of_three(files, tmp_path, small_sam, photograph):
    assert run(files, tmp_path, "--point", 200, 130) == 0
    predictor = SamPredictor(small_sam)
    predictor.set_image(photograph)
    masks, scores, _ = predictor.predict([[200, 130]], [1])
    written = np.asarray(Image.open(tmp_path / "out" / "mask.png"))
    np.testing.assert_array_equal(written > 0, masks[scores.argmax()])


def test_multimask_box_and_mask_input(files, tmp_path):
    assert run(files, tmp_path, "--box", 10, 20, 300, 400, "--multimask") == 0
    assert len(list((tmp_path / "out").glob("mask_*.png"))) == 3
    logits = tmp_path / "out" / "logits.npy"
    assert run(files, tmp_path, "--mask-input", logits, "--point", 5, 6) == 0
    assert (tmp_path / "out" / "mask.png").exists()


def test_a_box_that_reaches_beyond_the_picture_is_told(files, tmp_path, capsys):
    assert run(files, tmp_path, "--box", -2, 1, 700, 9) == 0
    assert "the box -2 1 700 9 reaches beyond the picture" in capsys.readouterr().err
    assert run(files, tmp_path, "--box", 0, 0, 512, 512) == 0
    assert capsys.readouterr().err == ""


def test_predictions_leave_nothing_of_each_other(files, tmp_path):
    def written() -> set[str]:
        return {path.name for path in (tmp_path / "out").iterdir()} - {"logits.npy", "overlay.png"}

    three = {"mask_0.png", "mask_1.png", "mask_2.png"}
    assert run(files, tmp_path, "--point", 200, 130) == 0
    assert written() == {"mask.png"}
    (tmp_path / "out" / "mask_of_mine.png").touch()
    assert run(files, tmp_path, "--point", 200, 130, "--multimask") == 0
    assert written() == {*three, "mask_of_mine.png"}
    assert run(files, tmp_path, "--point", 200, 130) == 0
    assert written() == {"mask.png", "mask_of_mine.png"}


def test_the_overlay_of_three_masks_shows_three(files, tmp_path, photograph):
    assert run(files, tmp_path, "--point", 200, 130, "--multimask") == 0
    masks = [np.asarray(Image.open(tmp_path / "out" / f"mask_{i}.png")) > 0 for i in range(3)]
    changed = (np.asarray(Image.open(tmp_path / "out" / "overlay.png")) != photograph).any(2)
    for mask in masks:
        assert changed[mask].mean() > 0.95


def test_predict_in_the_output_formats(files, tmp_path, capsys):
    formats = "coco", "svg", "geojson", "cutout", "labelmap", "rle"
    assert run(files, tmp_path, "--point", 200, 130, "--format", *formats) == 0
    out = tmp_path / "out"
    names = ("annotations.json", "object.geojson", "object.json", "object.svg",
             "object_cutout.png", "object_labels.png")  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == [
        names[0], "logits.npy", "mask.png", *names[1:], "overlay.png",
    ]  # fmt: skip
    told = capsys.readouterr().out
    assert all(str(out / name) in told for name in names)
    mask = np.asarray(Image.open(out / "mask.png")) > 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "object_cutout.png"))[..., 3] > 0, mask
    )
    np.testing.assert_array_equal(np.asarray(Image.open(out / "object_labels.png")) == 1, mask)
    dataset = json.loads((out / "annotations.json").read_text())
    assert dataset["images"][0]["file_name"] == "photograph.png"
    (annotation,) = dataset["annotations"]
    np.testing.assert_array_equal(decode_rle([annotation["segmentation"]])[0], mask)
    assert json.loads((out / "object.json").read_text())[0]["point_coords"] == [[200, 130]]
    assert run(files, tmp_path, "--box", 9, 9, 300, 300, "--multimask", "--format", "svg") == 0
    assert (out / "object.svg").read_text().count("<path") == 3


def test_predict_in_formats_that_share_a_name(files, tmp_path):
    formats = "sa1b", "rle", "labelme", "tiff16", "tiff32", "rle"
    assert run(files, tmp_path, "--point", 200, 130, "--format", *formats) == 0
    out = tmp_path / "out"
    assert {p.name for p in out.glob("object*")} == {
        "object_sa1b.json", "object_rle.json", "object_labelme.json",
        "object_labels_tiff16.tif", "object_labels_tiff32.tif",
    }  # fmt: skip
    (record,) = json.loads((out / "object_rle.json").read_text())
    assert json.loads((out / "object_sa1b.json").read_text())["annotations"] == [{"id": 1} | record]


def test_web_needs_its_extra():
    """In a process of its own, into which no other test has imported it."""
    code = "import sys; sys.modules['starlette'] = None; import sam_mlx.cli as cli; "
    command = [sys.executable, "-c", code + "sys.exit(cli.main(['web', '--no-open']))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.endswith('starlette, which is not installed: pip install "sam-mlx[web]"')


def test_web_opens_files_and_folders_and_else_the_coins(tmp_path):
    from sam_mlx.commands.web import find

    for name in ("b.png", "a.JPG", "text.txt", "._b.png"):
        (tmp_path / name).touch()
    assert find([], MAX) == [packaged("coins.png")]
    assert [p.name for p in find([str(tmp_path)], MAX)] == ["a.JPG", "b.png"]
    assert find([str(tmp_path / "text.txt")], MAX) == [tmp_path / "text.txt"]
    (tmp_path / "none").mkdir()
    for given, words in [
        ("none", "no pictures: .*none"),
        ("nothing", "no such picture, folder or"),
    ]:
        with pytest.raises(FileNotFoundError, match=words):
            find([str(tmp_path / given)], MAX)


def test_web_names_what_it_leaves_out_of_folders(tmp_path, capsys):
    from sam_mlx.commands.web import find

    for name in ("a.png", "b.NEF", "c.dng", "d.dng", "e\x1b[31m.x\x1by"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.png")
    assert [p.name for p in find([str(tmp_path)], MAX)] == ["a.png"]
    raw = "(camera raw, which rawpy converts)"
    assert capsys.readouterr().err.splitlines() == [
        f"left out: 2 .dng {raw}, 1 .nef {raw}, 1 .x\\x1by",
        f"left out: {tmp_path / 'pipe.png'}: it is a pipe, not a file",
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(OSError, match="pipe.png: it is a pipe"):
        find([str(tmp_path)], MAX)
    (tmp_path / "pipe.png").unlink()
    with pytest.raises(FileNotFoundError, match="no pictures: .*; only 2 .dng"):
        find([str(tmp_path)], MAX)


@pytest.mark.parametrize("content", ["pipe", "sparse", "claims"])
def test_a_mask_input_is_a_file_of_bounded_size(tmp_path, capsys, content):
    path = tmp_path / "logits.npy"
    if content == "pipe":
        os.mkfifo(path)
    else:
        np.save(path, np.zeros((1, 8, 8), np.float32))
    if content == "sparse":
        os.truncate(path, 1 << 40)
    elif content == "claims":
        path.write_bytes(path.read_bytes().replace(b"(1, 8, 8), ", b"(99999999999, 99999999), "))
    flags = ["--mask-input", str(path), "-o", str(tmp_path / "out")]
    assert main(["predict", str(packaged("coins.png")), *flags]) == 2
    error = capsys.readouterr().err
    words = {"pipe": "it is a pipe", "sparse": "it has 1,099,511,627,776", "claims": "not a .npy"}
    assert error.count("\n") == 1 and words[content] in error


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_web_refuses_what_is_no_port(port, capsys):
    with pytest.raises(SystemExit):
        main(["web", f"--port={port}"])
    assert "is not a port" in capsys.readouterr().err


def test_the_picture_is_not_replaced_by_a_result(files, tmp_path, photograph, capsys):
    (tmp_path / "out").mkdir()
    picture = tmp_path / "out" / "mask_1.png"
    Image.fromarray(photograph).save(picture)
    assert main(["predict", str(picture), "--point", "5", "5", "-o", str(tmp_path / "out")]) == 2
    assert "would be replaced" in capsys.readouterr().err
    np.testing.assert_array_equal(Image.open(picture), photograph)


def test_nano_says_when_it_is_unsure(tmp_path, capsys, photograph):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    out = ["-o", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "photograph.png"), "--point", "50", "50", *out]) == 0
    error = capsys.readouterr().err
    assert "--model vit_b knows photographs" in error and error.count("\n") == 1
    coins = Path(__file__).parents[1] / "examples" / "images" / "coins.png"
    assert main(["predict", str(coins), "--point", "138", "53", *out]) == 0
    assert capsys.readouterr().err == ""


def test_another_model_is_not_advised_about(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sam_mlx.commands.predict.LOW_SCORE", 9)
    assert run(files, tmp_path, "--point", 200, 130) == 0
    assert capsys.readouterr().err == ""


def test_the_output_is_below_the_home_that_a_tilde_names(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    picture, model = str(files / "photograph.png"), str(files / "model")
    command = ["predict", picture, "--point", "5", "6", "--model", model, "--output=~/x"]
    assert main(command) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_names_no_default_that_says_nothing(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: None)" not in text and "(default: [])" not in text
    assert command != "auto" or "(default: the model's own; 0.88 for Meta's models)" in text


def test_verbose_prints_times_and_memory(files, tmp_path, capsys):
    assert run(files, tmp_path, "--point", 5, 6, "--verbose") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "peak MLX memory" in line]
    assert [line.split(":")[0].split()[0] for line in lines] == ["loaded", "set_image", "predict"]


def test_info_says_how_pictures_are_prepared(capsys):
    for flags, text in ((), "as sam's"), (("--preprocess", "medsam"), "as medsam's"):
        assert main(["info", "nano", *flags]) == 0
        assert f"pictures     prepared {text}" in capsys.readouterr().out


def test_info(files, capsys):
    assert main(["info", str(files / "model")]) == 0
    output = capsys.readouterr().out
    assert "128 x 128 pixels, patch 8" in output and "image_encoder" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to segment"),
        (("--box", 9, 9, 1, 1), "x0 <= x1"),
        (("--point", "nan", 1), "NaN"),
        (("--point", 1, 1, "--model", "./none"), "no such file or folder"),
        (("--point", 1, 1, "--mask-input", "none.npy"), "no such mask input"),
        (("--mask-input", __file__), "is not a .npy array"),
        (("--point", 512, 3), "the point 512 3 is outside the picture, which is 512 x 512"),
        (("--point", 5, 5, "--negative", 5, -1), "the point 5 -1 is outside"),
        (("--box", 600, 1, 700, 9), "the box 600 1 700 9 is outside the picture"),
        (("--box", 1, 1, 9, 9, "--box", 20, 20, 30, 30), "predict_batch"),
        (("--box", 0.1, 0.2, 0.9, 1), "coordinates are pixels, not shares of the picture"),
        (("--point", 5, 5, "-o", "mask.jpg"), "a mask is written as .png, or give a folder"),
        (("--point", 5, 5, "-o", "m.png", "--multimask"), "--multimask and --format need a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(files, tmp_path, capsys, arguments, message):
    assert run(files, tmp_path, *arguments) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_how_large_pictures_may_be(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert run(files, tmp_path, "--point", 1, 1) == 2
    assert "--max-pixels" in capsys.readouterr().err
    assert run(files, tmp_path, "--point", 1, 1, "--max-pixels", 10**6) == 0


def test_what_does_not_fit_into_memory_is_one_line(files, tmp_path, capsys, monkeypatch):
    """Also of sizes that no memory holds: MemoryError was a traceback."""
    assert run(files, tmp_path, "--point", 1, 1, "--image-size", 1000000) == 2
    assert (
        "image_size is 1000000; expected a whole number from 1 to 65536" in capsys.readouterr().err
    )
    for error in (MemoryError(), RuntimeError("[malloc] Unable to allocate 9 bytes.")):

        def fail(*_, error=error, **__):
            raise error

        for name in ("sam_mlx.commands.predict.load_image", "sam_mlx.SamPredictor.set_image"):
            with monkeypatch.context() as patch:
                patch.setattr(name, fail)
                assert run(files, tmp_path, "--point", 1, 1) == 2
            told = capsys.readouterr().err
            assert told.startswith("sam-mlx predict: not enough memory") and told.count("\n") == 1


@pytest.mark.parametrize("size", ["480", "0x9", "axb", "1x2x3", "-4x5"])
def test_a_size_that_is_none_is_named(size, capsys):
    """argparse said: invalid image_size value."""
    with pytest.raises(SystemExit):
        main(["export", "nano", "out", f"--sizes={size}"])
    assert f"'{size}' is not a size; expected HEIGHTxWIDTH" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
def test_the_range_of_samples(files, tmp_path, capsys, photograph):
    deep = photograph[..., 0].astype(np.uint16) << 5
    Image.fromarray(deep).save(tmp_path / "deep.png")
    masks = []
    for flags in ((), ("--value-range", 0, 8191), ("--value-range", 0, 65535)):
        command = ["predict", tmp_path / "deep.png", "-o", tmp_path / "out", "--point", 200, 130]
        assert main([str(a) for a in [*command, "--model", files / "model", *flags]]) == 0
        masks.append((tmp_path / "out" / "logits.npy").read_bytes())
    assert masks[0] == masks[1] != masks[2]
    capsys.readouterr()
    assert run(files, tmp_path, "--point", 1, 1, "--value-range", 9, 1) == 2
    assert "value_range is [9.0, 1.0]; expected two numbers" in capsys.readouterr().err


def test_bad_files(files, tmp_path, capsys):
    (tmp_path / "text.png").write_text("nothing")
    for image, message in (("text.png", "cannot read"), ("none.png", "no such image file")):
        command = ["predict", str(tmp_path / image), "--point", "1", "1", "-o", str(tmp_path / "o")]
        assert main(command) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "out").write_text("a file")
    assert run(files, tmp_path, "--point", 1, 1) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(ImportError("needs scipy"), 2), (KeyboardInterrupt(), 130)]
)
def test_no_traceback(monkeypatch, capsys, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("sam_mlx.Sam.load", fail)
    assert main(["info", "nano"]) == code
    assert str(error) in capsys.readouterr().err


def test_bad_usage_exits_with_2(files, tmp_path):
    for arguments in (("--point", "a", "b"), ("--dtype", "float8", "--point", 1, 1), ("--what",)):
        with pytest.raises(SystemExit) as error:
            run(files, tmp_path, *arguments)
        assert error.value.code == 2


@pytest.mark.parametrize(("arguments", "meant"), [
    (["predict", "--pont", "1", "2"], "there is no --pont: did you mean --point?"),
    (["auto", "--poinst-per-side=8"], "there is no --poinst-per-side: did you mean --points-per"),
    (["predct", "x.png"], "did you mean predict?"),
    (["auto", "x", "-o", "y", "--quantum", "8"], "there is no --quantum"),
])  # fmt: skip
def test_the_error_comes_first_and_says_what_may_be_meant(arguments, meant, capsys):
    required = {"predict": ["x.png", "-o", "y"], "auto": ["x", "-o", "y"]}.get(arguments[0], [])
    with pytest.raises(SystemExit) as left:
        main([arguments[0], *required, *arguments[1:]])
    error, usage = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and meant in error and "error:" in error
    assert usage.startswith("usage: sam-mlx") and "--help" in usage


def test_alone_it_shows_what_one_does(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"sam-mlx {name}" in text for name in ("predict", "auto", "web", "finetune"))
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("sam-mlx 0.")


def test_coordinates_may_be_joined_by_commas(files, tmp_path, monkeypatch):
    assert run(files, tmp_path, "--point", "5,6", "--box", "1.5,2,30,40") == 0
    first = (tmp_path / "out" / "mask.png").read_bytes()
    assert run(files, tmp_path, "--point", 5, 6, "--box", 1.5, 2, 30, 40) == 0
    assert (tmp_path / "out" / "mask.png").read_bytes() == first
    assert cli.apart(["predict", "1,2", "--mask-input", "3,4", "--point", "-1,.5"]) == [
        "predict", "1,2", "--mask-input", "3,4", "--point", "-1", ".5",
    ]  # fmt: skip


def test_a_file_for_the_mask_alone(files, tmp_path):
    out = tmp_path / "sub" / "m.PNG"
    assert run(files, tmp_path, "--point", 5, 6, "-o", out) == 0
    assert run(files, tmp_path, "--point", 5, 6) == 0
    assert out.read_bytes() == (tmp_path / "out" / "mask.png").read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["m.PNG"]


def test_names_of_formats_that_are_written_anyway(files, tmp_path):
    assert run(files, tmp_path, "--point", 5, 6, "--format", "overlay", "masks", "rle") == 0
    assert (tmp_path / "out" / "overlay.png").exists()


@pytest.mark.parametrize(("flag", "hint"), [("--pred-iou-thresh", ", as in 0.88"),
                                            ("--box-nms-thresh", ", as in 0.88")])  # fmt: skip
def test_percentages_are_no_thresholds(flag, hint, tmp_path, capsys):
    assert main(["auto", "none.png", "-o", str(tmp_path / "out"), flag, "88"]) == 2
    assert f"{flag} is 88; expected a number up to 1{hint}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_doctor_tells_what_a_report_needs(capsys, monkeypatch):
    monkeypatch.setenv("SAM_MLX_MEMORY_LIMIT", "2147483648")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    named = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert {"sam-mlx", "system", "python", "device", "float32", "packages"} <= named.keys()
    assert f"mlx {mlx_version}" in named["packages"] and "numpy " in named["packages"]
    assert "SAM_MLX_MEMORY_LIMIT=2147483648" in named["settings"]
    assert "HF_TOKEN" in named["settings"] and "secret" not in text


def test_module_and_help(files):
    command = [sys.executable, "-m", "sam_mlx", "predict", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--negative" in result.stdout


def test_shells_can_complete_commands(capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as left:
        main(["--print-completion", "zsh"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef sam-mlx") and "--points-per-side" in text


@pytest.mark.parametrize(
    ("command", "titles"),
    [
        ("auto", ["finding masks by a grid of points:", "large pictures:", "the model:"]),
        ("predict", ["what is written:", "reading the picture:", "the model:"]),
        ("finetune", ["the data:", "the training:", "the model:"]),
        ("evaluate", ["reading pictures:", "the models:"]),
        ("serve", ["Label Studio:", "the models:"]),
        ("web", ["reading pictures:", "the model:"]),
        ("export", ["the model:"]),
    ],
)
def test_help_is_in_groups_and_has_defaults_as_one_types_them(command, titles, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert all(f"\n{title}" in text for title in titles)
    defaults = re.findall(r"\(default: (.*?)\)\n", text)
    assert [value for value in defaults if re.search(r"\d\.\d{4}|[\[\]{}]|None", value)] == []
    assert command != "auto" or "0.341" in defaults
