"""Tiles beside one pass over the same picture, and what a picture's height costs: with nano."""

import json
import subprocess
import sys

import pytest

from examples.benchmarks.large import scene_of_one_pass, to_one_pass
from tests.support.source import ROOT

pytestmark = pytest.mark.slow


def test_tiles_equal_one_pass_wherever_they_lie():
    """One pass goes by boxes, and leaves second masks that repeat the first: the rule of tiles, the
    IoU of masks, is put to both.
    """
    still, moved = to_one_pass()
    for found in (still, moved):
        assert found["masks"] == len(scene_of_one_pass().discs()) == 16 and found["cut"] == 0
        assert found["AP to one pass without repeats"] >= 0.95
    for name in ("AP to one pass without repeats", "AP to one pass", "AP to the discs"):
        assert abs(still[name] - moved[name]) < 0.01


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
    asked. The first height is too low for a coarse pass, which reads every pixel once more.
    """
    found = []
    for height in HEIGHTS:
        program = [sys.executable, "-c", MEASURED, str(height)]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    masks, windows, reads, peaks = zip(*found)
    assert max(peaks) < 1.1 * min(peaks), peaks
    assert reads[2] < 1.1 * reads[1], reads
    for count in (masks, windows):
        rates = [n / height for n, height in zip(count, HEIGHTS)]
        assert rates[2] < 1.1 * rates[1], count
