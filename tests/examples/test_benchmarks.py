"""The benchmarks' scripts: each measurement that needs no ViT-B, and the table."""

import json
import subprocess
import sys
from ast import literal_eval

import pytest

FOLDER = "examples/benchmarks"


def measure(script: str, measurement: str, model: str) -> dict:
    options = {
        "model": model,
        "image": "examples/images/plate.png",
        "dtype": "float32",
        "repeats": "2",
        "seconds": "5",
        "points-per-side": "2",
    }
    command = [sys.executable, f"{FOLDER}/{script}", measurement]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={"PYTHONPATH": ".", "PATH": ""}
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("measurement", ["set_image", "automatic", "upscale", "load", "import"])
def test_measurements_with_nano(measurement):
    figures = measure("bench_sam_mlx.py", measurement, "nano")
    assert 0 < figures["seconds"] < 60 and 1 <= figures["repeats"] <= 2
    assert figures["peak_mb"] > 10
    assert (figures["masks"] is not None) == (measurement == "automatic")


def test_table(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import run

    figures = {
        ("upscale", "sam_mlx"): {"seconds": 0.01, "peak_mb": 100},
        ("upscale", "PyTorch"): {"seconds": 0.04, "peak_mb": 1000},
        ("load", "sam_mlx"): {"seconds": 1.5, "peak_mb": 100},
        ("load", "PyTorch"): None,
        ("automatic", "sam_mlx"): {"seconds": 1586.3, "peak_mb": 100},
    }
    names = ["upscale", "load", "automatic"]
    assert run.table(names, ["sam_mlx", "PyTorch"], figures)[2:] == [
        "| 3 masks to 1200x1800 | 10 ms, 0.10 GB | 40 ms, 1.00 GB | 0.25, 0.10 |",
        "| load the model from disk | 1.5 s, 0.10 GB |  |  |",
        "| automatic masks | 1586 s, 0.10 GB |  |  |",
    ]


def test_precision():
    command = [sys.executable, f"{FOLDER}/precision.py", "nano", "examples/images/plate.png"]
    done = subprocess.run(
        [*command, "--dtypes", "float32"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PYTHONPATH": ".", "PATH": ""},
    )
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    names = [row[0].strip() for row in rows]
    assert names == ["float32", "float32, encoder in 8 bits"]
    sizes = [float(row[1].split()[0]) for row in rows]
    # Of 1.99 M weights, the 0.98 M of the encoder's linear layers take 1.125 bytes instead of 4.
    assert sizes[1] == pytest.approx(sizes[0] - 0.98 * (4 - 1.125), abs=0.1)
    worst = [float(row[-1]) for row in rows]
    assert worst[0] == 1 and worst[1] >= 0.95  # measured: 0.956


def test_scale(tmp_path):
    pytest.importorskip("matplotlib")
    command = [sys.executable, f"{FOLDER}/scale.py", str(tmp_path / "scale.png")]
    env = {"PYTHONPATH": ".", "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--largest", "1"], stdout=subprocess.PIPE, text=True, check=True, env=env
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["prompts 1", "batch 1"]
    assert (tmp_path / "scale.png").stat().st_size > 1000


def test_compat():
    command = [sys.executable, f"{FOLDER}/compat.py", "--rounds", "1"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={"PYTHONPATH": ".", "PATH": ""}
    )
    names = [line.split("  ")[0] for line in done.stdout.splitlines()[1:]]
    assert names == ["sam_mlx", "sam_mlx.compat", "features as a tensor", "predict_torch"]


def test_automatic_masks_of_both_sides():
    """The benchmark runs, and both sides find the same."""
    command = [sys.executable, "-m", "examples.benchmarks.automatic_masks"]
    command += ["examples/images/plate.png", "--points-per-side", "4"]
    done = subprocess.run(
        [*command, "--pred-iou-thresh", "0.3", "--stability-score-thresh", "0.3"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    sides = [literal_eval(line.split(maxsplit=1)[1]) for line in done.stdout.splitlines()]
    assert len(sides) == 2 and all(0 < side["seconds"] < 60 for side in sides)
    assert sides[0]["masks"] == sides[1]["masks"] > 0
    assert sides[0]["area"] == sides[1]["area"]
