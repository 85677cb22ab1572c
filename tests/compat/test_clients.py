"""Clients through the launcher, not a line changed, beside themselves on Meta's package.

Each is run twice on nano's weights, in a ``.pth`` file as clients expect them; what they compute
is equal. ``clients.txt`` has the packages; where one is missing, its test is skipped.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.source import ROOT

pytestmark = [pytest.mark.original, pytest.mark.slow, pytest.mark.usefixtures("same_forms")]
CLIENTS = Path(__file__).parent / "clients"
PICTURE = ROOT / "examples" / "images" / "coins.png"
# What each needs.
PACKAGES = {
    "segment_geospatial": ["samgeo", "cv2"],
    "supervision_": ["supervision", "cv2"],
    "autodistill_segment_anything_": ["autodistill_segment_anything", "supervision", "cv2"],
    "napari_segment_anything_": ["napari_segment_anything", "toolz"],
    "napari_sam_": ["napari_sam"],
    "notebooks": ["cv2"],
    "label_studio": [],
    "cvat": [],
    "medsam": [],
    "segment_anything_hq_": ["segment_anything_hq"],
    "micro_sam_": ["micro_sam", "torch_em", "elf", "bioimage_cpp", "zarr"],
}
LOGITS = 1e-3  # of values up to 118; features and scores are far nearer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    from tests.support.compat import nano_pair

    path = tmp_path_factory.mktemp("nano") / "sam_vit_b_01ec64.pth"
    torch.save(nano_pair()[0].state_dict(), path)
    return path


@pytest.fixture(scope="module")
def checkpoint_hq(tmp_path_factory):
    import torch

    from tests.support.automatic import original_of
    from tests.support.hq import hq_nano

    path = tmp_path_factory.mktemp("hq") / "sam_hq_vit_b.pth"
    torch.save(original_of(hq_nano()).state_dict(), path)
    return path


def on_both(client, tmp_path, *arguments):
    """Run a client on both at once; the folders it could write to, ours first."""
    runs = []
    for name, start in {
        "ours": ["-m", "sam_mlx.compat"],
        "original": [str(ROOT / "tests" / "support" / "original_client.py")],
    }.items():
        home = tmp_path / name
        home.mkdir()
        path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        variables = {
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, path))),
            "PIP_NO_INDEX": "1",  # one of them installs what it misses
            "OMP_NUM_THREADS": "1",  # two at once: threads that wait for each other cost most
            "MKL_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, *start, str(CLIENTS / f"{client}.py"), *map(str, arguments)]
        runs.append((home, start_process(command, home, os.environ | variables)))
    for home, process in runs:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, f"{home.name}:\n{output}"
    return [home for home, _ in runs]


def start_process(command, cwd, env):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(command, cwd=cwd, env=env, **pipes)


def need(packages):
    for name in packages:
        if importlib.util.find_spec(name) is None:
            pytest.skip(
                f"{name} is not installed: pip install --no-deps -r tests/compat/clients.txt"
            )


@pytest.mark.parametrize("client", PACKAGES)
def test_client(client, checkpoint, checkpoint_hq, tmp_path):
    need(PACKAGES[client])
    weights = checkpoint_hq if "_hq_" in client else checkpoint
    folders = on_both(client, tmp_path, weights, PICTURE, "found.npz")
    ours, original = (dict(np.load(folder / "found.npz")) for folder in folders)
    assert list(ours) == list(original)
    for name, expected in original.items():
        found = ours[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        assert expected.size, name
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=0, atol=LOGITS, err_msg=name)
        else:
            assert (found == expected).all(), name


AMG = ["--model-type", "vit_b", "--points-per-side", 4, "--crop-n-layers", 1, "--device", "cpu"]
THRESHOLDS = ["--pred-iou-thresh", 0.7, "--stability-score-thresh", 0.8, "--points-per-batch", 16]


@pytest.mark.parametrize("form", [[], ["--convert-to-rle"]])
def test_amg_script(form, checkpoint, tmp_path):
    """Meta's script of automatic masks: files and records, byte for byte."""
    need(["cv2"])
    paths = ["--input", PICTURE, "--output", "out", "--checkpoint", checkpoint]
    folders = on_both("amg", tmp_path, *paths, *AMG, *THRESHOLDS, *form)
    ours, original = (
        {p.relative_to(f): p for p in sorted(f.rglob("out/**/*")) if p.is_file()} for f in folders
    )
    assert list(ours) == list(original) and original
    for name, path in original.items():
        if path.suffix == ".png":
            assert (np.array(Image.open(ours[name])) == np.array(Image.open(path))).all()
        elif path.suffix == ".json":
            assert rounded(ours[name]) == rounded(path)
        else:
            assert ours[name].read_text() == path.read_text()


def rounded(path):
    return json.loads(path.read_text(), parse_float=lambda text: round(float(text), 4))


CELLPOSE = """
from sam_mlx.registry import VARIANTS
VARIANTS["vit_l"] = VARIANTS["nano"]  # which is made sooner
from cellpose.vit import CPSAM
CPSAM()
"""


def test_cellpose_is_told_what_it_needs():
    """Its CPSAM takes SAM's encoder apart."""
    need(["cellpose"])
    command = [sys.executable, "-m", "sam_mlx.compat", "-c", CELLPOSE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("AttributeError: patch_embed.proj has no weight: the layers are MLX's.")
    assert last.endswith("as Cellpose does, needs Meta's package: run it without sam_mlx.compat")
