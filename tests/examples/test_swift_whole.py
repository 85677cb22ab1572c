"""The Swift package on MLX, compared with ``SamPredictor`` on the same version of MLX.

    MLX_SWIFT=FOLDER pytest tests/examples/test_swift_whole.py

FOLDER has the sources of mlx-swift with its submodules. On Linux they are built for the CPU, which
takes four minutes on two cores. SWIFT_BUILD names a folder in which to keep the build.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam_mlx import ImageEmbedding, SamPredictor
from sam_mlx.export.readers import READERS
from tests.support.source import ROOT

SOURCES = os.environ.get("MLX_SWIFT")
MLX = READERS["swift"][-1].mlx
SUITES = "SegmentAnythingTests"

pytestmark = [
    pytest.mark.skipif(shutil.which("swift") is None, reason="not installed: swift"),
    pytest.mark.skipif(
        SOURCES is None, reason="MLX_SWIFT does not name a folder with mlx-swift's sources"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The export and the masks of an environment with the app's MLX."""
    folder = tmp_path_factory.mktemp("whole")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    extra = "[cpu]" if sys.platform == "linux" else ""
    wanted = [f"mlx{extra}=={MLX}", f"{ROOT}{extra}"]
    subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    script = ROOT / "tests" / "support" / "swift_whole.py"
    subprocess.run([str(python), str(script), str(folder)], check=True)
    return folder


def test_the_sources_are_of_that_mlx():
    manifest = Path(SOURCES, "Package.swift").read_text()
    assert re.search(r'"MLX_VERSION", to: "\\"(.*?)\\""', manifest)[1] == MLX


def test_equals_sam_predictor(folder):
    build = os.environ.get("SWIFT_BUILD", str(folder / "build"))
    env = os.environ | {"SAM_WHOLE": str(folder), "SPM_CUDA": "0"}
    quietly: dict[str, Any] = {"env": env, "capture_output": True, "text": True}
    command = ["swift", "test", "--package-path", str(ROOT), "--scratch-path", build]
    done = subprocess.run(
        [
            *command,
            *["-c", "release", "-Xswiftc", "-enable-testing", "--filter", "SegmentAnythingTests"],
        ],
        **quietly,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "Test run with 13 tests" in done.stdout  # none of them skipped

    # README's blocks and the command line.
    built = subprocess.run(["swift", "build", *command[2:], "-c", "release"], **quietly)
    assert built.returncode == 0, built.stdout[-6000:]

    # Python reads what Swift saved.
    whole = json.loads((folder / "whole.json").read_text())
    case = whole["cases"][whole["ofEmbedding"]]
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image_embedding(ImageEmbedding.load(folder / "swift.safetensors"))
    (point,) = case["points"]
    masks, scores, _ = predictor.predict([[point["x"], point["y"]]], [1])
    np.testing.assert_allclose(scores, case["scores"], atol=1e-5)
    height, width = np.array(Image.open(folder / case["picture"])).shape[:2]
    expected = np.fromfile(folder / case["bits"], np.uint8).reshape(3, height, width) > 0
    assert (masks != expected).mean() < 1e-4
