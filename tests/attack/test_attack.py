"""A small sample of the attacks, which the modules run by the thousand."""

import subprocess
import sys

import pytest

from tests.attack import pictures


def test_damaged_pictures(tmp_path):
    said = pictures.segment(tmp_path, 200, seed=5)
    assert said["segmented"] >= 20 and len(said) >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="forks, which Metal does not survive")
@pytest.mark.slow
def test_kills(originals):
    """In a process of its own, where MLX has not computed before the forks."""
    command = [sys.executable, "-m", "tests.attack.kills", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="address space is counted on Linux alone")
@pytest.mark.slow
def test_values(originals):
    """In a process of its own, whose address space is bounded."""
    command = [sys.executable, "-m", "tests.attack.values", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tried = [line.split() for line in done.stdout.splitlines()]
    assert len(tried) == 11
    assert all(int(line[-2]) > 0 or line[0] in ("settings:", "special:") for line in tried)
