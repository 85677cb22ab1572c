"""Tiles beside one pass over the same picture, and what a picture's height costs: with nano."""

import json
import subprocess
import sys

import pytest

from examples.benchmarks.large import scene_of_one_pass, to_one_pass
from tests.support.source import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("offset", [0, 144])
def test_tiles_equal_one_pass(offset):
    """On discs that one pass itself finds once each, wherever the tiles lie."""
    found = to_one_pass(offset)
    discs = len(scene_of_one_pass().discs())
    assert found["one pass"] == found["tiles"] == discs >= 16
    assert found["cut"] == 0
    assert found["ap"] >= 0.95


MEASURED = """
import json, resource, sys
from examples.benchmarks.drawn import Drawn
from examples.benchmarks.large import nano
from sam_mlx.large import open_large
from sam_mlx.predictor import SamPredictor
from sam_mlx.tiled.layout import TileOptions

embed, windows = SamPredictor.embed, []
SamPredictor.embed = lambda self, image: windows.append(image.shape) or embed(self, image)
height = int(sys.argv[1])
scene = Drawn(height, 1536, cell=160)
search = nano(3).search_large(open_large(scene), TileOptions(512, 128))
masks = sum(1 for _ in search)
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps([masks, len(windows), scene.read / (height * 1536), peak]))
"""
HEIGHTS = (2048, 4096, 8192)


def test_memory_and_work_for_a_pixel_do_not_grow_with_the_height():
    """The work is the windows that are encoded, and the pixels that are read: a clock is not
    asked. Measured: peak ... .
    """
    found = []
    for height in HEIGHTS:
        program = [sys.executable, "-c", MEASURED, str(height)]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    masks, windows, reads, peaks = zip(*found)
    assert max(peaks) < 1.1 * min(peaks), peaks
    for count in (masks, windows):
        rates = [n / height for n, height in zip(count, HEIGHTS)]
        assert max(rates) < 1.25 * min(rates), count
    assert max(reads) < 1.25 * min(reads), reads
