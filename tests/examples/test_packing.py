"""An app that PyInstaller packs, as docs/apps.md says: nano and MLX's libraries are in it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import sam_mlx.__pyinstaller as hooks
from sam_mlx import SamPredictor
from sam_mlx.files import packaged
from tests.support.source import ROOT

# What tests install, and huggingface-hub and tqdm would use: gigabytes.
OTHERS = "torch", "transformers", "scipy", "skimage", "pandas", "matplotlib", "IPython", "pytest"


def test_the_entry_point_leads_to_the_hook():
    text = (ROOT / "pyproject.toml").read_text()
    (module, name) = re.findall(r'^hook-dirs = "([\w.]+):(\w+)"$', text, re.M)[0]
    assert module == hooks.__name__
    (folder,) = getattr(hooks, name)()
    assert (ROOT / "sam_mlx" / "__pyinstaller" / "hook-sam_mlx.py").parent.samefile(folder)


@pytest.mark.slow
def test_the_app_of_the_guide(tmp_path):
    pytest.importorskip("PyInstaller")
    (app,) = re.findall(r"^```py\n(import sys\n.*?)^```$", (ROOT / "docs" / "apps.md").read_text(),
                        re.M | re.S)  # fmt: skip
    (tmp_path / "app.py").write_text(app)
    pack = [sys.executable, "-m", "PyInstaller", "--onedir", "app.py"]
    pack += ["--additional-hooks-dir", *hooks.hook_dirs()]  # an editable install may be older
    pack += [word for name in OTHERS for word in ("--exclude-module", name)]
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
