"""The settings of the process on Linux, each seen from a process of its own."""

import errno
import mmap
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sam_mlx.machine import linux

MKL = list(Path(sys.prefix, "lib").glob("libmkl_rt.so*"))
PROGRAM = """
import {first}, {second}
import mlx.core as mx
print("MKL" if "libmkl_rt" in open("/proc/self/maps").read() else "reference")
print((mx.ones((3, 3)) @ mx.ones((3, 3))).sum().item())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux only")
@pytest.mark.parametrize(
    ("first", "second", "environment", "library"),
    [
        ("sam_mlx", "mlx.core", {}, "MKL"),
        ("sam_mlx", "mlx.core", {"SAM_MLX_LINUX_TUNING": "0"}, "reference"),
        ("mlx.core", "sam_mlx", {}, "reference"),  # too late to take effect
    ],
)
def test_which_blas_is_loaded(first, second, environment, library, monkeypatch):
    if library == "MKL" and (platform.machine() != "x86_64" or not MKL):
        pytest.skip("MKL is not installed")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = PROGRAM.format(first=first, second=second)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [library, "27.0"]


BESIDE_TORCH = """
import os
before = dict(os.environ)
{first}
import torch
torch.ones(9, 9) @ torch.ones(9, 9)
print({{name for name in os.environ if before.get(name) != os.environ[name]}})
print(torch.get_num_threads(), torch.__config__.parallel_info())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux only")
@pytest.mark.original
def test_torch_in_the_same_process_keeps_its_threads_and_children_their_environment():
    """The threads of its own loops, and those that it finds MKL to have."""
    results = []
    for first in ("", "import sam_mlx, mlx.core as mx; mx.eval(mx.ones((9, 9)) @ mx.ones((9, 9)))"):
        program = BESIDE_TORCH.format(first=first)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        changed, found = done.stdout.split("\n", 1)
        assert changed == "set()"
        results.append(re.findall(r"(\w+_threads\(\)) : (\d+)", found))
    assert results[0] == results[1] and len(results[0]) >= 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux only")
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TMPDIR", "/no/such/folder", "/no/such/folder, the folder for temporary files"),
        ("TMPDIR", "/proc", "/proc, the folder for temporary files"),
        ("PATH", "/no/such/folder", "there is no g++"),
    ],
)
def test_where_mlx_cannot_compile_it_computes_and_says_so(name, value, reason):
    """MLX's own errors came from a C++ library or a shell, in the middle of a prediction."""
    program = "from sam_mlx import SamPredictor as P; import numpy; p = P.from_pretrained('nano')"
    program += (
        "; p.set_image(numpy.zeros((20, 20, 3), 'uint8')); print(p.predict([[9, 9]], [1])[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env={**os.environ, name: value},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("["), done.stderr
    assert done.stderr.count("MLX cannot compile") == 1 and reason in done.stderr


def test_a_folder_without_programs_is_recognised(monkeypatch):
    """A mount with noexec, which only the system's owner can make."""
    assert linux.why_not_compile() is None

    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(mmap, "mmap", refuse)
    monkeypatch.setenv("TMPDIR", "")
    assert "/tmp, the folder" in linux.why_not_compile()


@pytest.mark.skipif(sys.platform != "linux", reason="pip installs a backend elsewhere")
def test_mlx_without_a_backend_names_what_to_install(tmp_path):
    """As after ``pip install sam_mlx`` alone: mlx is there, and its library is not."""
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "core.py").write_text("raise ImportError('libmlx.so: no such file')")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", "import sam_mlx"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: MLX has no backend") and "pip install 'mlx[cpu]'" in last


MEMORY = """
import sys
{first}
import numpy as np

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def fill():
    blocks = [np.ones(1 << 18) for _ in range(400)]  # 2 MB each
    kept = [np.ones(1 << 10) for _ in range(400)]  # between which they lie
    return kept

before = resident()
kept = fill()
after = resident() - before
{then}
print(after, resident() - before)
"""
PREDICT = (
    "p = sam_mlx.SamPredictor.from_pretrained('nano'); p.set_image(np.zeros((99, 99, 3), 'uint8'))"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux only")
@pytest.mark.parametrize(
    ("first", "then"),
    [("", ""), ("import sam_mlx", ""), ("import sam_mlx", f"{PREDICT}; fill()")],
    ids=["numpy alone", "beside sam_mlx", "after set_image"],
)
def test_freed_memory_is_returned(first, then):
    """Of 800 MB, none was returned once the package had been imported."""
    program = MEMORY.format(first=first, then=then)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert all(float(word) < 400 for word in done.stdout.split()), done.stdout
