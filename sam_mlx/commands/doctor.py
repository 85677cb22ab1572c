"""``sam-mlx doctor``: what a report of a fault needs."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, metadata, version

import mlx.core as mx

from ..machine.budget import budget
from ..machine.precision import VARIABLE, device_kind, uses_tf32
from ..terminal import say

HELP = "print what a bug report needs: system, device, versions"
DESCRIPTION = (
    "Print the system, the device, the versions of packages and the settings of the environment "
    "that matter here. Nothing secret is among them: of tokens and proxies only the names."
)
SHOWN = ("SAM_MLX_", "MLX_", "OMP_", "MKL_")  # with their values
SETTINGS = (*SHOWN, "HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def add(parser: argparse.ArgumentParser) -> None:
    """The command has no flags."""


def run(args: argparse.Namespace) -> int:
    for name, value in report().items():
        say(f"{name:<12} {value}")
    return 0


def report() -> dict[str, str]:
    """What is told, by name."""
    return {
        "sam-mlx": f"{installed('sam-mlx')}, {sys.modules['sam_mlx'].__path__[0]}",
        "system": f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores",
        "python": f"{platform.python_version()}, {sys.executable}",
        "device": device(),
        "float32": "computed in TF32: " + VARIABLE + "=0 avoids it" if uses_tf32() else "exact",
        "budget": f"{budget().decoder_bytes / 1e6:.0f} MB for the decoder's parts",
        "packages": versions(("mlx", "numpy", "pillow", "safetensors", "huggingface-hub", "torch")),
        "extras": versions(optional()) or "none",
        "settings": ", ".join(settings()) or "none",
    }


def device() -> str:
    """The device that computes, its name and its memory, as MLX tells them."""
    info = mx.device_info(mx.default_device())
    name = info.get("device_name") or info.get("architecture") or ""
    memory = info.get("memory_size") or info.get("total_memory")
    size = f", {int(memory) / 2**30:.0f} GB" if memory else ""
    return f"{device_kind()} {name}{size}"


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(packages: tuple[str, ...]) -> str:
    found = {name: installed(name) for name in packages}
    return ", ".join(f"{name} {value}" for name, value in found.items() if value)


def optional() -> tuple[str, ...]:
    """Packages that the extras of users name, without those of tests and documentation."""
    apart = ("test", "docs", "convert", "cpu", "dev", "compat")
    names = []
    for line in metadata("sam-mlx").get_all("Requires-Dist") or ():
        extra = re.search(r"extra == ['\"](.*?)['\"]", line)
        if extra and not extra[1].startswith(apart):
            names.append(re.split(r"[\s;<>=\[(!~]", line, maxsplit=1)[0])
    return tuple(dict.fromkeys(name for name in names if name not in ("mlx", "sam-mlx")))


def settings() -> list[str]:
    """Variables of the environment, with values where they tell nothing private."""
    names = sorted(name for name in os.environ if name.startswith(SETTINGS))
    return [f"{name}={os.environ[name]}" if name.startswith(SHOWN) else name for name in names]
