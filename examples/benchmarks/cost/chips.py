"""GPUs by name, and the time that kernels would take on one: a model, not a measurement.

Each kernel takes the longer of its arithmetic and its traffic, at the share of the peak in
``EFFICIENCY``. Whatever the shares, no chip is faster than either of its floors: all arithmetic at
its peak, all bytes at its bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from .kernels import Kernel, Step


@dataclass(frozen=True)
class Chip:
    name: str
    peak: float  # FLOP/s in float32
    bandwidth: float  # bytes/s
    cores: int
    source: str
    half: float = 1  # the peak in half precision, as a multiple
    launch: float = 2e-6  # seconds a kernel on the GPU
    host: float = 0  # seconds a kernel on the host, which does not wait for the GPU meanwhile


CHIPS = [
    Chip(
        "M1", 2.6e12, 68e9, 8,
        "Apple's announcement, 2020; bandwidth: 128 bits of LPDDR4X-4266",
    ),
    Chip(
        "M2 Pro", 6.8e12, 200e9, 19,
        "Apple's announcement, 2023; peak: 19 cores x 128 x 2 x 1.4 GHz, a measured clock",
    ),
    Chip(
        "M4 Max", 17e12, 546e9, 40,
        "Apple's announcement, 2024; peak: 40 cores x 128 x 2 x 1.66 GHz, a measured clock",
    ),
    Chip(
        "H200", 67e12, 4800e9, 132,
        "Nvidia's data sheet, dense, without TF32; 13.5 us a launch, as measured (see the README)",
        half=989 / 67, host=13.5e-6,
    ),
]  # fmt: skip
# The share of the peak in arithmetic, and of the bandwidth. Assumed, as MLX's kernels are known to
# reach about this on large inputs.
EFFICIENCY = {
    "product": (0.7, 0.8),
    "attention": (0.6, 0.7),
    "convolution": (0.5, 0.7),
    "depthwise": (0.5, 0.5),
    "softmax": (0.5, 0.7),
    "norm": (0.5, 0.7),
    "reduce": (0.5, 0.7),
    "flat": (0.5, 0.85),
    "strided": (0.5, 0.6),
}
BLOCK = 64  # rows and columns of a product that one group computes
SOFTMAX_GROUP = 1.5e-6  # seconds; 24 run on a core, each on 128 values of a row


def peak(chip: Chip, dtype: mx.Dtype) -> float:
    return chip.peak * (1 if dtype == mx.float32 else chip.half)


def seconds(kernel: Kernel, chip: Chip, dtype: mx.Dtype) -> float:
    arithmetic, traffic = EFFICIENCY[kernel.kind]
    if kernel.product is not None:
        arithmetic *= filled(*kernel.product, chip)
    longest = max(
        kernel.flops / (peak(chip, dtype) * arithmetic),
        (kernel.read + kernel.written) / (chip.bandwidth * traffic),
    )
    if kernel.rows is not None:
        number, length = kernel.rows
        longest = max(longest, number * -(-length // 128) * SOFTMAX_GROUP / (24 * chip.cores))
    return longest + chip.launch * kernel.launches


def filled(number: int, rows: int, columns: int, terms: int, chip: Chip) -> float:
    """The share of a chip that a product keeps busy: small ones do not fill blocks, or cores."""
    blocks = number * -(-rows // BLOCK) * -(-columns // BLOCK)
    shares = min(rows, columns) / BLOCK, blocks / (2 * chip.cores)
    return max(0.05, min(1, shares[0])) * max(0.05, min(1, shares[1])) * min(1, terms / BLOCK)


def total_seconds(steps: Sequence[Step], chip: Chip, dtype: mx.Dtype) -> float:
    """The longer of the GPU's time and the host's, which works ahead of it."""
    kernels = [kernel for step in steps for kernel in step.kernels]
    launches = sum(kernel.launches for kernel in kernels)
    return max(sum(seconds(kernel, chip, dtype) for kernel in kernels), launches * chip.host)


def floors(steps: Sequence[Step], chip: Chip, dtype: mx.Dtype) -> tuple[float, float]:
    """Seconds of all arithmetic at the peak, and of all bytes at the bandwidth."""
    kernels = [kernel for step in steps for kernel in step.kernels]
    flops = sum(kernel.flops for kernel in kernels)
    moved = sum(kernel.read + kernel.written for kernel in kernels)
    return flops / peak(chip, dtype), moved / chip.bandwidth
