"""Run the functions in exported files, from any thread.

MLX computes them on the process's first stream. If the package made it, any thread may use it; if
the program used MLX before, it belongs to one thread, usually the main one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx

from ..machine.worker import long_work

Outputs = list[mx.array]
Run = Callable[..., Outputs]

PROGRAM = """
import sys
import sam_mlx
import mlx.core as mx
from sam_mlx.export.running import evaluated, import_function, read, write
path, inputs, outputs = sys.argv[1:]
write(outputs, evaluated(import_function(path), *read(inputs)))
"""


def load(path: Path) -> Run:
    """The function in a file, from arrays to evaluated arrays.

    Raises RuntimeError or ValueError if it cannot be read or run.
    """
    function = long_work(import_function)(path)

    def run(*inputs: mx.array) -> Outputs:
        with suppress_no_stream():
            return long_work(evaluated)(function, *inputs)
        with suppress_no_stream():
            return evaluated(function, *inputs)
        return in_another_process(path, *inputs)

    return run


def import_function(path: Path) -> Callable[..., Outputs]:
    """A stored function as one of Python."""
    function: Any = mx.import_function(str(path))
    return lambda *inputs: list(function(*inputs))


@contextmanager
def suppress_no_stream() -> Iterator[None]:
    """Ignore MLX's error that the first stream belongs to another thread."""
    try:
        yield
    except RuntimeError as error:
        if "There is no Stream" not in str(error):
            raise


def evaluated(function: Callable[..., Outputs], *inputs: mx.array) -> Outputs:
    """The outputs, computed."""
    outputs = function(*inputs)
    mx.eval(outputs)
    return outputs


def in_another_process(path: Path, *inputs: mx.array) -> Outputs:
    """Run a file's function for a thread that neither owns nor shares the first stream."""
    with TemporaryDirectory() as folder:
        names = [str(Path(folder, f"{name}.safetensors")) for name in ("inputs", "outputs")]
        write(names[0], list(inputs))
        command = [sys.executable, "-c", PROGRAM, str(path), *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().rpartition("\n")[2] or "it does not run")
        return read(names[1])


@long_work
def write(path: str, arrays: Outputs) -> None:
    """Write arrays in order as safetensors."""
    mx.save_safetensors(path, {str(i): x for i, x in enumerate(arrays)})


@long_work
def read(path: str) -> Outputs:
    """The arrays of ``write``, in order."""
    arrays = mx.load(path)
    assert isinstance(arrays, dict)
    return [arrays[str(i)] for i in range(len(arrays))]
