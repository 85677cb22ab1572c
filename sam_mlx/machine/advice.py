"""What somebody who loads a model should know about this machine: warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import version

import mlx.core as mx

from .precision import VARIABLE, uses_tf32, version_of
from .streams import is_slow

GOOD_MLX = "0.32.1"  # the first without the faults that ``advice`` names

_said: set[str] = set()


def warn_about(dtype: mx.Dtype, *, any_version: bool = False, stacklevel: int = 2) -> None:
    """Warn about a model in this type on this device, and about this MLX unless any will do."""
    for text in advice(dtype, any_version):
        warnings.warn(text, stacklevel=stacklevel + 1)


def advice(dtype: mx.Dtype, any_version: bool = False) -> Iterator[str]:
    if is_slow(dtype):
        yield (
            f"{dtype} on a CPU: MLX is far slower with it than with float32, and takes "
            "more memory; use dtype='float32'"
        )
    if dtype == mx.float32 and uses_tf32() and is_new("tf32"):
        yield (
            "this GPU computes float32 products in TF32, with 10 bits of mantissa: use "
            f"dtype='float16' for speed, or set {VARIABLE}=0 before Python starts for the "
            "numbers of float32 (docs/precision.md has the differences)"
        )
    here = version("mlx")
    if not any_version and version_of(here) < version_of(GOOD_MLX) and is_new("version"):
        yield (
            f"MLX {here} has faults with threads and with errors of the GPU that are fixed in "
            f"{GOOD_MLX}: pip install -U mlx (only exports for apps need an older one)"
        )


def is_new(what: str) -> bool:
    """Whether this process has not been told yet."""
    if what in _said:
        return False
    _said.add(what)
    return True
