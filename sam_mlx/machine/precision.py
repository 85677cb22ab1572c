"""Whether this device computes float32 products in TF32: with 10 of float32's 23 bits of mantissa.

MLX does so by default where the hardware can: on Nvidia's GPUs since Ampere, which round, and on
Apple's with neural accelerators (M5), which cut bits off. It is not asked, so its own conditions
are repeated here (0.31 to 0.32.4): ``enable_tf32`` and ``is_nax_available``.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import mlx.core as mx

VARIABLE = "MLX_ENABLE_TF32"
MIN_MACOS = (26, 2)
MIN_GENERATION = 17  # of Apple's GPUs, the 17 of "applegpu_g17s"; M5
MIN_PHONE_GENERATION = 18  # "applegpu_g18p"
MIN_CAPABILITY = 8  # of Nvidia's GPUs; Ampere


def device_kind() -> str:
    """ "cpu", "metal" or "cuda"."""
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def uses_tf32() -> bool:
    """Whether float32 products on the default device are TF32, unless a factor has one row."""
    kind = device_kind()
    if kind == "cpu" or not is_allowed():
        return False
    return has_units(kind, mx.device_info(mx.default_device()), platform.mac_ver()[0])


@lru_cache
def is_allowed() -> bool:
    """Whether the environment allows it. Read once, as MLX does."""
    value = os.environ.get(VARIABLE)
    return value is None or number(value) != 0


def number(text: str) -> int:
    """What C's ``atoi`` makes of it: anything but digits is 0."""
    digits = re.match(r"\s*[+-]?\d+", text)
    return int(digits[0]) if digits else 0


def has_units(kind: str, info: Mapping[str, Any], macos: str) -> bool:
    """Whether a GPU has units for TF32 that MLX uses. info: ``mx.device_info``."""
    if kind == "cuda":
        return int(info.get("compute_capability_major", MIN_CAPABILITY)) >= MIN_CAPABILITY
    generation = re.search(r"_g(\d+)(\w?)", str(info.get("architecture", "")))
    if generation is None:
        return False
    least = MIN_PHONE_GENERATION if generation[2] == "p" else MIN_GENERATION
    return int(generation[1]) >= least and version_of(macos) >= MIN_MACOS


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: (0, 32, 1) of "0.32.1.dev2"."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()
