"""Pieces that several parts of SAM share. Images and grids are channels-last everywhere."""

from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map_with_path

from ..machine.worker import at_work
from ..registry import Weights
from .ops import add_product, conv3x3, step, tokenwise


def conv_as_matmul(conv: nn.Conv2d, x: mx.array) -> mx.array:
    """A convolution whose stride equals its kernel (1x1 included), as one matrix product.

    x: (B, H, W, C), H and W multiples of the kernel k; returns (B, H/k, W/k, out).
    """
    out, k = conv.weight.shape[:2]
    B, H, W, C = x.shape
    if k > 1:
        x = x.reshape(B * H // k, k, W // k, k * C).swapaxes(1, 2)
        x = x.reshape(B, H // k, W // k, k * k * C)
    weight = conv.weight.reshape(out, -1).T
    return add_product(conv.bias, x, weight) if "bias" in conv else x @ weight


def make_neck(width: int, dim: int) -> list[Any]:
    """The last layers of every encoder, from its width to the embedding's.

    Original: ``ImageEncoderViT.neck``.
    """
    return [
        nn.Conv2d(width, dim, 1, bias=False),
        nn.LayerNorm(dim, eps=1e-6),
        nn.Conv2d(dim, dim, 3, padding=1, bias=False),
        nn.LayerNorm(dim, eps=1e-6),
    ]


def apply_neck(neck: list[Any], x: mx.array) -> mx.array:
    """(B, G, G, width) to (B, G, G, dim)."""
    conv1, norm1, conv2, norm2 = neck
    return step(norm2(conv3x3(norm1(conv_as_matmul(conv1, x)), conv2.weight)))


class Linear(nn.Linear):
    """A linear layer over the tokens of a grid."""

    __call__ = tokenwise(nn.Linear.__call__)


class QuantizedLinear(nn.QuantizedLinear):
    """A linear layer whose weights are stored in 8 bits and dequantised for each use.

    MLX's product with packed weights suits a few rows; for 1024 rows of 768 it takes 30 times as
    long on a CPU (3.5 s against 0.11 s).
    """

    bits = 8

    @tokenwise
    def __call__(self, x: mx.array) -> mx.array:
        return mx.addmm(self.bias, x, self.whole_weight().T)

    def whole_weight(self) -> mx.array:
        """The dequantised weight, (out, in)."""
        return mx.dequantize(self.weight, self.scales, self.biases, self.group_size, self.bits)


def quantize_linears(model: nn.Module, wanted: Callable[[str], bool]) -> None:
    """Quantise the linear layers whose path is ``wanted``, in groups of 64 or 32 inputs.

    Layers whose inputs divide into neither stay as they are.
    """
    replace = partial(_quantized, wanted)
    leaves = model.leaf_modules()
    model.update_modules(tree_map_with_path(replace, leaves, is_leaf=nn.Module.is_module))


def _quantized(wanted: Callable[[str], bool], path: str, layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Linear) or not wanted(path):
        return layer
    inputs = layer.weight.shape[1]
    group = next((size for size in (64, 32) if inputs % size == 0), None)
    return QuantizedLinear.from_linear(layer, group, QuantizedLinear.bits) if group else layer


def weights_of(model: nn.Module) -> dict[str, mx.array]:
    """All tensors of a model by name."""
    return dict(tree_flatten(model.parameters()))


def is_quantized(model: nn.Module) -> bool:
    """True if a layer's weights are stored in 8 bits."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them (original: ``common.MLPBlock``)."""

    def __init__(self, dim: int, hidden: int, activation: Callable[[mx.array], mx.array]):
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.activation = activation

    def __call__(self, x: mx.array) -> mx.array:
        return self.lin2(self.activation(self.lin1(x)))


def window_partition(x: mx.array, window: int) -> mx.array:
    """Cut a grid (B, H, W, C) into windows (B*nH*nW, window*window, C), zero-padded to fit.

    The batch is folded into the rows of windows, so that no array has more than five axes
    (the original has six, which Core ML and iOS 17 refuse).
    """
    B, H, W, C = x.shape
    nH, nW = -(-H // window), -(-W // window)
    if (nH * window, nW * window) != (H, W):
        x = mx.pad(x, [(0, 0), (0, nH * window - H), (0, nW * window - W), (0, 0)])
    x = x.reshape(B * nH, window, nW, window, C).swapaxes(1, 2)  # (B*nH, nW, window, window, C)
    return x.reshape(B * nH * nW, window * window, C)


def window_unpartition(windows: mx.array, window: int, shape: tuple[int, int]) -> mx.array:
    """Undo ``window_partition``: (B*nH*nW, window*window, C) to (B, H, W, C), padding dropped."""
    H, W = shape
    nH, nW = -(-H // window), -(-W // window)
    B, C = windows.shape[0] // (nH * nW), windows.shape[-1]
    x = windows.reshape(B * nH, nW, window, window, C).swapaxes(1, 2)
    return x.reshape(B, nH * window, nW * window, C)[:, :H, :W]


@at_work
def as_float32(tensor: mx.array) -> np.ndarray:
    """A tensor as a numpy array, always in float32: numpy lacks some of MLX's types."""
    return np.array(mx.array(tensor).astype(mx.float32))


BATCH_NORM_EPS = 1e-5  # PyTorch's


def fold_batch_norm(weights: Weights, conv: str, norm: str) -> Weights:
    """Tensors in which a batch norm is folded into the convolution before it, which gets a bias if
    it has none. Computed in float64; the kernel, in PyTorch's layout, keeps its type.
    """
    parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    names = [f"{conv}.weight", *parts]
    if not all(name in weights for name in names):
        return weights  # the check at load names the missing ones
    dtype = mx.array(weights[names[0]]).dtype
    kernel, scale, shift, mean, variance = (
        as_float32(weights[name]).astype(np.float64) for name in names
    )
    if f"{conv}.bias" in weights:
        mean = mean - as_float32(weights[f"{conv}.bias"])
    scale = scale / np.sqrt(variance + BATCH_NORM_EPS)
    kernel = kernel * scale[:, None, None, None]
    folded = {f"{conv}.weight": kernel, f"{conv}.bias": shift - mean * scale}
    rest = {name: w for name, w in weights.items() if name not in parts}
    return rest | {n: mx.array(w.astype(np.float32)).astype(dtype) for n, w in folded.items()}


def interpolate_rows(x: np.ndarray, size: int, part: range | None = None) -> np.ndarray:
    """Interpolate a matrix's rows linearly to ``size`` rows, or ``part`` of these, in float64.

    Half-pixel centres, edges clamped, no antialiasing: PyTorch's ``interpolate`` with
    ``align_corners=False``. Applied to an identity matrix, it gives the interpolation matrix.
    """
    rows = np.arange(size) if part is None else np.asarray(part)
    centre = np.maximum((rows + 0.5) * (len(x) / size) - 0.5, 0)
    low = np.minimum(centre.astype(int), len(x) - 1)
    high = np.minimum(low + 1, len(x) - 1)
    share = (centre - low)[:, None]
    return x[low] * (1 - share) + x[high] * share


def cubic_rows(x: np.ndarray, size: int) -> np.ndarray:
    """Resample a matrix's rows to ``size`` rows by cubic convolution, in float64.

    PyTorch's bicubic ``interpolate`` along one axis, with ``align_corners=False``: Keys' kernel
    with a = -0.75, edges clamped.
    """
    centre = (np.arange(size) + 0.5) * (len(x) / size) - 0.5
    low = np.floor(centre).astype(int)
    total = np.zeros((size, *x.shape[1:]))
    for tap in (-1, 0, 1, 2):
        d = np.abs(centre - (low + tap))[:, None]
        near = (1.25 * d - 2.25) * d * d + 1
        far = -0.75 * (((d - 5) * d + 8) * d - 4)
        total += np.where(d <= 1, near, far) * x[np.clip(low + tap, 0, len(x) - 1)]
    return total
