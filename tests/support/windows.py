"""Windows of label tools, in which scripts in tests/serve/clients click."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

CLIENTS = Path(__file__).parents[1] / "serve" / "clients"
WIDTH, COLOURS = 800, 128  # of a kept picture, at most


def run(script, *arguments, home, launcher=(), cwd=None):
    """What a script prints last, JSON. Its window is on a screen of Xvfb's, where that is there.

    launcher: what stands before the script's name, as a module to run it by.
    """
    variables = {"HOME": str(home), "PYTHONWARNINGS": "ignore"}
    name = CLIENTS / script
    started = [*launcher, name.stem] if launcher else [name]
    command = [sys.executable, *map(str, [*started, *arguments])]
    if shutil.which("xvfb-run"):
        command = ["xvfb-run", "-a", "-s", "-screen 0 1280x900x24", *command]
        variables["QT_QPA_PLATFORM"] = "xcb;offscreen"  # the second without X's libraries
    else:
        variables["QT_QPA_PLATFORM"] = "offscreen"
    variables["PYTHONPATH"] = os.pathsep.join([str(CLIENTS), str(Path(__file__).parents[2])])
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=500,
        check=False, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def shrink(path):
    """A picture of a window, smaller, which says the same."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        few = small.quantize(COLOURS, dither=Image.Dither.NONE, kmeans=1)
    few.save(path, optimize=True)
