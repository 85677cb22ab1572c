"""Arrays of any framework as numpy's, without importing the framework."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

WIDENED = ("bfloat16", "float8")  # how the names of types that numpy lacks begin


def to_numpy(values: Any, name: str) -> np.ndarray:
    """Numbers that a caller gave as ``name``, as a numpy array.

    Takes what numpy takes, MLX's arrays, and tensors of PyTorch, JAX, TensorFlow, CuPy and others
    by the methods that they have: on any device, with a gradient, of types that numpy lacks, which
    become float32. Raises ValueError, with the type, for anything else.
    """
    if isinstance(values, np.ndarray):
        return values
    try:
        array = np.asarray(_on_host(values))
        if array.dtype == object and hasattr(values, "__dlpack__"):
            array = np.from_dlpack(values)
        if array.dtype.name.startswith(WIDENED):  # JAX's and TensorFlow's, of ml_dtypes
            array = array.astype(np.float32)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{name} is {_kind(values)}, of which numpy says: {error}") from error
    if array.dtype == object:
        raise ValueError(f"{name} is {_kind(values)}; expected numbers, as of a numpy array")
    return array


def _on_host(values: Any) -> Any:
    """A tensor in the CPU's memory, of a type that numpy has."""
    if isinstance(values, mx.array):
        return values.astype(mx.float32) if values.dtype == mx.bfloat16 else values
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # PyTorch's
        values = values.detach().cpu()
        is_wider = str(values.dtype).removeprefix("torch.").startswith(WIDENED)
        return values.float() if is_wider else values
    if hasattr(values, "__cuda_array_interface__") and hasattr(values, "get"):  # CuPy's
        return values.get()
    return values


def _kind(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"of type {module}{kind.__qualname__}"
