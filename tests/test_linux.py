"""The settings of the process on Linux, each seen from a process of its own."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="settings of Linux only")
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
