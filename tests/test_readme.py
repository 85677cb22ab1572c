"""README's blocks, run as they stand where nothing is downloaded.

Where they name a model of the hub or a picture of the reader's, nano and another take their place.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_mlx import Sam
from tests.support.automatic import original_of
from tests.support.source import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|bash|python)\n(.*?)^```$", README, re.M | re.S)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [
    line for _, text in BLOCKS if _ != "python" for line in text.replace("\\\n", "").split("\n")
]
COMMANDS = [
    line
    for line in SHELL
    if line.startswith(("sam-mlx", "mlx.launch", "python -m sam_mlx.compat -c"))
    and not line.startswith("sam-mlx web")
]
# What the other lines are, and where they run.
ELSEWHERE = {
    "pip install": ".ci/run, a fresh environment",
    "sam-mlx web": "tests/web: ends when it is interrupted",
    "python -m sam_mlx.compat": "tests/compat: a program of the reader's",
    "python -m convert": "tests/convert: needs a released checkpoint",
    "python -m examples.benchmarks.run": "tests/examples/test_benchmarks.py: hours, and a clone",
}
RELEASED = ("sam_vit_b_01ec64.pth", "medsam_vit_b.pth")  # here of nano's sizes
ADAPTER = "my-adapter"


@pytest.fixture(scope="module")
def files(originals, tmp_path_factory):
    """What readers have that torch writes: checkpoints and an adapter, of nano."""
    from tests.support.adapters import adapter_of

    folder = tmp_path_factory.mktemp("files")
    original = original_of(Sam.from_pretrained("nano"))
    for name in RELEASED:
        originals.torch.save(original.state_dict(), folder / name)
    adapter_of(original, folder / ADAPTER)
    return folder


@pytest.fixture
def folder(request, tmp_path):
    """The reader's folder, with files that torch writes only where the block names one."""
    (block,) = request.node.callspec.params.values()
    for name in (*RELEASED, ADAPTER):
        if name in block:
            (tmp_path / name).symlink_to(request.getfixturevalue("files") / name)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "photos").mkdir()
    picture = Image.open(ROOT / "examples" / "images" / "coins.png")
    picture.save(tmp_path / "photos" / "coins.png")
    picture.resize((1800, 1200)).save(tmp_path / "truck.jpg")
    picture.save(tmp_path / "picture.jpg")
    picture.save(tmp_path / "ortho.tif")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("text", PYTHON, ids=range(len(PYTHON)))
def test_python(text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(text.replace("facebook/sam-vit-base", "nano"), names)
    if "masks" in names:
        assert names["masks"].shape == (3, 1200, 1800) and names["masks"].dtype == np.bool_
    else:
        assert isinstance(names["records"], list)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, folder, same_forms):
    command = command.split("  #")[0].replace("facebook/sam-vit-base", "nano")
    command = re.sub(r"--model sam_vit_b(?=\s)", "--model nano", command)
    command = command.replace("--point 500 375", "--point 99 75")
    command = command.replace("INPUT...", "INPUT")
    for name, value in {
        "IMAGE": "picture.jpg", "INPUT": "photos", "OUT": "made", "MODEL": "nano",
        "X0 Y0 X1 Y1": "10 20 200 220", "X Y": "60 70",
    }.items():  # fmt: skip
        command = re.sub(rf"\b{name}\b", value, command)
    run = f"{sys.executable} -m sam_mlx"
    command = command.replace("python -m sam_mlx", run)
    command = re.sub(r"^sam-mlx", run, command)
    command = re.sub(r"^mlx.launch", str(Path(sys.executable).with_name("mlx.launch")), command)
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_other_line_is_known():
    rest = [line for line in SHELL if line and line not in COMMANDS]
    assert [line for line in rest if not line.startswith(tuple(ELSEWHERE))] == []
