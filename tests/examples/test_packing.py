"""An app that PyInstaller packs, as docs/apps.md says: nano and MLX's libraries are in it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sam_mlx import SamPredictor
from sam_mlx.files import packaged
from tests.support.source import ROOT

pytest.importorskip("PyInstaller")
pytestmark = pytest.mark.slow


def test_the_app_of_the_guide(tmp_path):
    (app,) = re.findall(r"^```py\n(import sys\n.*?)^```$", (ROOT / "docs" / "apps.md").read_text(),
                        re.M | re.S)  # fmt: skip
    (tmp_path / "app.py").write_text(app)
    pack = [sys.executable, "-m", "PyInstaller", "--onedir", "app.py"]
    done = subprocess.run(pack, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    run = [tmp_path / "dist" / "app" / "app", packaged("coins.png"), "138", "53", "mask.png"]
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-3000:]
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image(packaged("coins.png"))
    masks, scores, _ = predictor.predict([[138, 53]], [1])
    found = np.asarray(Image.open(tmp_path / "mask.png"))
    # Without MKL, which is not packed, sums are in another order.
    assert (found != masks[scores.argmax()]).mean() < 1e-3
