"""The benchmarks: each measurement that needs no ViT-B, and the table."""

import importlib
import json
import subprocess
import sys
from ast import literal_eval

import numpy as np
import pytest

from examples.benchmarks import compiled, mac, run, tf32  # before mlx.core

# isort: split
import mlx.core as mx

from tests.support.source import ROOT

FOLDER = ROOT / "examples" / "benchmarks"
CALLED_BY_RUN = {"bench_mlx_examples", "bench_sam_mlx", "bench_torch", "prepare"}
BENCHMARKS = sorted({path.stem for path in FOLDER.glob("*.py")} - {"drawn", "loop"})
PLATE = "examples/images/plate.png"


def output(name: str, *arguments: str) -> str:
    """What a benchmark prints, run as the README says."""
    command = [sys.executable, "-m", f"examples.benchmarks.{name}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env={"PATH": ""}
    ).stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_are_run_as_modules(name):
    module = importlib.import_module(f"examples.benchmarks.{name}")
    assert callable(module.main)
    command = f"python -m examples.benchmarks.{name}"
    assert name in CALLED_BY_RUN or command in module.__doc__
    assert name in CALLED_BY_RUN | {"web_pictures"} or command in (FOLDER / "README.md").read_text()


def test_instances_of_drawn_maps_are_counted(monkeypatch, capsys):
    pytest.importorskip("skimage")
    from examples.benchmarks import instances

    monkeypatch.setattr(instances, "WIDTH", 512)
    instances.flood(640)
    assert capsys.readouterr().out.startswith("| 640 | 1 | 80 |")


def test_no_document_runs_them_as_scripts():
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")]
    documents += ROOT.glob("examples/**/*.py")
    assert [p for p in documents if "python examples/benchmarks" in p.read_text()] == []


def measure(name: str, measurement: str, model: str) -> dict:
    options = {
        "model": model,
        "image": PLATE,
        "dtype": "float32",
        "repeats": "2",
        "seconds": "5",
        "points-per-side": "2",
    }
    flags = [part for option, value in options.items() for part in (f"--{option}", value)]
    return json.loads(output(name, measurement, *flags).splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("measurement", ["set_image", "automatic", "upscale", "load", "import"])
def test_measurements_with_nano(measurement):
    figures = measure("bench_sam_mlx", measurement, "nano")
    assert 0 < figures["seconds"] < 60 and 1 <= figures["repeats"] <= 2
    assert figures["peak_mb"] > 10
    assert (figures["masks"] is not None) == (measurement == "automatic")


def test_table():
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


@pytest.mark.slow
def test_precision():
    lines = output("precision", "nano", PLATE, "--dtypes", "float32").splitlines()
    rows = [line.split("|")[1:-1] for line in lines[2:]]
    names = [row[0].strip() for row in rows]
    assert names == ["float32", "float32, encoder in 8 bits"]
    sizes = [float(row[1].split()[0]) for row in rows]
    # Of 1.99 M weights, the 0.98 M of the encoder's linear layers take 1.125 bytes instead of 4.
    assert sizes[1] == pytest.approx(sizes[0] - 0.98 * (4 - 1.125), abs=0.1)
    worst = [float(row[-1]) for row in rows]
    assert worst[0] == 1 and worst[1] >= 0.95  # measured: 0.956


def test_tf32_of_both_kinds():
    """To the nearest, ties to even; and towards zero."""
    bit = 2.0**-10  # the last of the mantissa that is kept
    x = mx.array([1, 1 + 0.75 * bit, 1 + bit / 2, 1 + 1.5 * bit, -1 - 0.75 * bit])
    assert tf32.rounded(x).tolist() == [1, 1 + bit, 1, 1 + 2 * bit, -1 - bit]
    assert tf32.truncated(x).tolist() == [1, 1, 1, 1 + bit, -1]


def test_tf32_of_products():
    a, b = (mx.random.normal(shape, key=mx.random.key(0)) for shape in ((8, 32), (32, 16)))
    q = mx.random.normal((1, 2, 8, 64))
    exact = a @ b, mx.addmm(b[0], a, b), mx.fast.scaled_dot_product_attention(q, q, q, scale=0.1)
    with tf32.products(tf32.truncated):
        cut = a @ b, mx.addmm(b[0], a, b), mx.fast.scaled_dot_product_attention(q, q, q, scale=0.1)
        one_row = a[:1] @ b
    expected = np.array(tf32.truncated(a)) @ np.array(tf32.truncated(b))
    np.testing.assert_allclose(np.array(cut[0]), expected, atol=1e-5)
    for x, y in zip(exact, cut):
        assert 1e-5 < mx.abs(x - y).max().item() < 0.1
    assert mx.allclose(one_row, exact[0][:1], atol=1e-5)


def test_the_table_of_a_mac(monkeypatch, capsys):
    """With the rows' processes replaced: float32 in TF32 is measured both ways, failures show."""
    figures = {"encoder": 0.0123, "one": 1.5, "memory": 2e9, "embedding": 1e-3, "iou": 0.99}
    asked = []

    def measured(args, row, model, folder, environment=None):
        asked.append((row, environment or {}))
        return None if row == "float16" else figures

    monkeypatch.setattr(mac, "measured", measured)
    monkeypatch.setattr(mac, "uses_tf32", lambda: True)
    monkeypatch.setattr("sys.argv", ["mac", "--models", "nano"])
    mac.main()
    about, _, *table = capsys.readouterr().out.splitlines()
    assert "mlx " in about and "TF32 on" in about
    assert table[2] == "| nano | float32 | 12.3 ms | 1.50 s |  |  | 2.00 GB | 1.0e-03 |  | 0.9900 |"
    assert table[3].startswith("| nano | float32, MLX_ENABLE_TF32=0 |")
    assert table[4] == "| nano | float16 | failed |  |  |  |  |  |  |  |"
    assert {len(row.split("|")) for row in table} == {len(mac.HEAD) + 2}
    zero = {"MLX_ENABLE_TF32": "0"}
    assert asked == [("reference", {}), ("float32", {}), ("float32", zero), ("float16", {})]


def test_what_compiling_would_save(monkeypatch, capsys):
    """A tenth of the decoder's kernels, and none of the encoder's."""
    monkeypatch.setattr("sys.argv", ["compiled", "--model", "nano"])
    compiled.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    rows = {cells[1].strip(): cells[2:4] for cells in (line.split("|") for line in lines)}
    before, after = (list(map(int, column)) for column in zip(*rows.values()))
    assert len(rows) == 4 and before[2:] == after[2:]
    assert all(0.85 * a <= b < a for a, b in zip(before[:2], after[:2]))


@pytest.mark.slow
def test_mac():
    """On a CPU the reference is what is measured in float32."""
    small = ["--models", "nano", "--seconds", "0", "--prompts", "2", "--points-per-side", "2"]
    rows = [line.split(" | ") for line in output("mac", *small).splitlines()[4:]]
    assert [row[1] for row in rows] == ["float32", "float16"]
    assert all("failed" not in row for row in rows)
    off = [float(row[7]) for row in rows]
    # Measured 0 and 4.1e-3.
    assert off[0] <= 1e-4 <= off[1] <= 1e-2


@pytest.mark.slow
def test_tf32():
    rows = [line.split(" | ") for line in output("tf32", "--points", "2").splitlines()[2:]]
    embedding = [float(row[1]) for row in rows]
    # Measured 1.4e-3, 8.5e-3, 3.4e-3: whatever the points.
    assert 1e-3 < embedding[0] < 2e-3 < embedding[2] < 5e-3 < embedding[1] < 1e-2


@pytest.mark.slow
def test_scale(tmp_path):
    pytest.importorskip("matplotlib")
    lines = output("scale", str(tmp_path / "scale.png"), "--largest", "1").splitlines()
    assert [line.split(":")[0] for line in lines] == ["prompts 1", "batch 1"]
    assert (tmp_path / "scale.png").stat().st_size > 1000


@pytest.mark.original
@pytest.mark.slow
def test_compat():
    lines = output("compat", "--rounds", "1").splitlines()
    names = [line.split("  ")[0] for line in lines[1:]]
    assert names == ["sam_mlx", "sam_mlx.compat", "features as a tensor", "predict_torch"]


@pytest.mark.original
@pytest.mark.slow
def test_automatic_masks_of_both_sides():
    """The benchmark runs, and both sides find the same masks."""
    thresholds = ["--pred-iou-thresh", "0.3", "--stability-score-thresh", "0.3"]
    lines = output("automatic_masks", PLATE, "--points-per-side", "4", *thresholds).splitlines()
    sides = [literal_eval(line.split(maxsplit=1)[1]) for line in lines]
    assert len(sides) == 2 and all(0 < side["seconds"] < 60 for side in sides)
    assert sides[0]["masks"] == sides[1]["masks"] > 0
    assert sides[0]["area"] == sides[1]["area"]
