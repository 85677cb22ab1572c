"""Convert kernels between PyTorch's layout, channels first, and MLX's, channels last."""

import mlx.core as mx
import mlx.nn as nn

from ..registry import Weights

# MLX's axes, as the indices of PyTorch's: (out, in, h, w), or (in, out, h, w) where transposed,
# to (out, h, w, in).
AXES = {nn.Conv2d: (0, 2, 3, 1), nn.ConvTranspose2d: (1, 2, 3, 0)}


def to_mlx(weights: Weights, model: nn.Module) -> dict[str, mx.array]:
    """Tensors in MLX's layout. ``model``'s modules tell which of them are kernels."""
    axes = kernels(model)
    return {
        name: w.transpose(axes[name]) if name in axes and w.ndim == 4 else w
        for name, w in weights.items()
    }


def to_torch(weights: Weights, model: nn.Module) -> dict[str, mx.array]:
    """The inverse of ``to_mlx``."""
    axes = {name: tuple(map(forth.index, range(4))) for name, forth in kernels(model).items()}
    return {name: w.transpose(axes[name]) if name in axes else w for name, w in weights.items()}


def kernels(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """A model's kernels by name, with their axes from ``AXES``."""
    return {
        f"{name}.weight": AXES[type(module)]
        for name, module in model.named_modules()
        if type(module) in AXES
    }
