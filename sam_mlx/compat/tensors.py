"""MLX's arrays as PyTorch's tensors, and back.

PyTorch is imported only once a client expects a tensor: functions on numpy arrays work without it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import mlx.core as mx
import numpy as np

from ..machine import worker

T = TypeVar("T")
P = ParamSpec("P")

TRAINING = (
    "sam_mlx.compat runs inference, and PyTorch's gradients do not reach MLX: train with Meta's "
    "package, then load the checkpoint here"
)


def import_torch() -> Any:
    """PyTorch; ImportError says what works without it."""
    try:
        import torch
    except ImportError:
        raise ImportError(
            "this call gives PyTorch's tensors: pip install torch. set_image, predict and generate "
            "of numpy arrays go without"
        ) from None
    return torch


def at_work(compute: Callable[P, T]) -> Callable[P, T]:
    """``worker.at_work``, with the calling thread's gradient mode of PyTorch."""

    @worker.at_work
    def run_in_mode(mode: Any, *arguments: P.args, **named: P.kwargs) -> T:
        with mode:
            return compute(*arguments, **named)

    @wraps(compute)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        torch = sys.modules.get("torch")
        mode = torch.set_grad_enabled(torch.is_grad_enabled()) if torch else nullcontext()
        return run_in_mode(mode, *arguments, **named)

    return run


def is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(values: Any) -> np.ndarray:
    """The values of a tensor on any device, or of what numpy takes.

    Raises NotImplementedError for a tensor whose gradients would be lost.
    """
    if not is_tensor(values):
        return np.asarray(values)
    torch = import_torch()
    if values.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError(f"a tensor requires a gradient; {TRAINING}")
    values = values.detach().cpu()
    array: np.ndarray = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return array


def to_mlx(values: Any, dtype: mx.Dtype = mx.float32) -> mx.array:
    if isinstance(values, mx.array):
        return values.astype(dtype)
    if is_tensor(values):
        values = unexpanded(values)
    return mx.array(to_numpy(values)).astype(dtype)


def unexpanded(tensor: Any) -> Any:
    """Repeated values once only, along axes of length 1: see ``Tensor.expand``."""
    repeats = (size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor[tuple(slice(0, 1) if repeated else slice(None) for repeated in repeats)]


def to_tensor(values: mx.array | np.ndarray, device: Any = "cpu") -> Any:
    """A contiguous tensor: a copy of an MLX array, or a numpy array's own memory."""
    torch = import_torch()
    is_bfloat16 = isinstance(values, mx.array) and values.dtype == mx.bfloat16
    tensor = torch.from_numpy(np.asarray(mlx_to_numpy(values), order="C"))
    return (tensor.bfloat16() if is_bfloat16 else tensor).to(device)


def mlx_to_numpy(values: mx.array | np.ndarray) -> np.ndarray:
    """A copy of an MLX array, in float32 where it is bfloat16; a numpy array as it is."""
    if not isinstance(values, mx.array):
        return values
    return np.array(values.astype(mx.float32) if values.dtype == mx.bfloat16 else values)


def channels_first(x: mx.array, device: Any) -> Any:
    """(B, H, W, C) to a tensor (B, C, H, W)."""
    return to_tensor(x.transpose(0, 3, 1, 2), device)


def channels_last(tensor: Any, dtype: mx.Dtype = mx.float32) -> mx.array:
    """A tensor (B, C, H, W) to (B, H, W, C)."""
    return to_mlx(tensor, dtype).transpose(0, 2, 3, 1)


def as_size(size: Sequence[Any]) -> tuple[int, int]:
    height, width = size
    return int(height), int(width)


@lru_cache(maxsize=8)
def usable_device(wanted: Any) -> Any:
    """The device that a client asked for, or the CPU if this PyTorch lacks it.

    The model computes where MLX does: the device only says where tensors are handed over.
    """
    torch = import_torch()
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
        return device
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"tensors stay on the CPU: PyTorch cannot use {wanted!r} here ({reason}). The model "
            "computes where MLX does",
            stacklevel=2,
        )
        return torch.device("cpu")


@lru_cache(maxsize=1)
def frozen() -> type:
    """The type of parameters that are handed out: tensors that cannot be trained."""
    torch = import_torch()

    class Frozen(torch.Tensor):  # type: ignore[name-defined]
        @property
        def requires_grad(self) -> bool:
            return False

        @requires_grad.setter
        def requires_grad(self, wanted: bool) -> None:
            self.requires_grad_(wanted)

        def requires_grad_(self, requires_grad: bool = True) -> Frozen:
            if requires_grad:
                raise NotImplementedError(f"a parameter is to require a gradient; {TRAINING}")
            return self

        def __reduce_ex__(self, protocol: Any) -> Any:
            """Pickled as a plain tensor."""
            return self.as_subclass(torch.Tensor).__reduce_ex__(protocol)

        def __deepcopy__(self, memo: Any) -> Frozen:
            copied: Frozen = self.as_subclass(torch.Tensor).clone().as_subclass(Frozen)
            return copied

        @property
        def is_leaf(self) -> bool:
            """Only optimisers ask this, before anything else."""
            raise NotImplementedError(f"an optimiser was given the model's parameters; {TRAINING}")

    return Frozen
