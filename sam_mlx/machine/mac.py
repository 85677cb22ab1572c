"""Refuses Macs on which MLX does not exist, with a sentence of its own. Imported before MLX."""

import platform
import sys


def check(system: str, machine: str) -> None:
    """Raise ImportError for an x86 Python on a Mac: pip finds no MLX for it."""
    if system == "darwin" and machine != "arm64":
        raise ImportError(
            f"sam_mlx needs a Mac with Apple silicon and a Python for arm64, and this Python is "
            f"for {machine}: if it runs under Rosetta, install a native one; Intel Macs have no MLX"
        )


check(sys.platform, platform.machine())
