"""What a reader of large pictures gives, whatever the file."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from ..place import Place


class Reader(ABC):
    """A picture that is read in parts. Raises ValueError where it cannot be opened."""

    sizes: Sequence[tuple[int, int]]  # height, width of each level, the finest first
    bands: int
    dtype: np.dtype
    colours: Sequence[int]  # the bands, from 0, that are shown: one, or red, green and blue
    nodata: float | None = None  # the sample of pixels without a value
    place: Place | None = None

    @abstractmethod
    def read(
        self, level: int, x: int, y: int, width: int, height: int, bands: Sequence[int]
    ) -> np.ndarray:
        """Samples (height, width, len(bands)) of a part of a level, which holds it whole."""

    def valid(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray | None:
        """Whether pixels (height, width) have a value; None where only their samples say so."""
        return None


def needed(package: str, meaning: str, extra: str) -> ModuleType:
    """An optional package. Raises ImportError with the line that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ImportError(
            f'{meaning} needs the package {package}: pip install "sam-mlx[{extra}]"'
        ) from None


def is_installed(package: str) -> bool:
    """True if a package can be imported."""
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def split_axes(axes: str, shape: Sequence[int], name: str) -> tuple[int, int, int | None]:
    """The positions of Y, X and the bands (C or S) among named axes, such as "CYX".

    Raises ValueError where the names do not fit the shape.
    """
    axes = axes.upper()
    bands = [axes.index(letter) for letter in "CS" if letter in axes]
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise ValueError(
            f"{name} has shape {tuple(shape)}, and axes is {axes!r}; expected a letter for each "
            "axis, Y and X among them, C for bands, such as YX, YXC or CYX"
        )
    if len(bands) > 1 and shape[bands[0]] == 1:
        bands.reverse()  # one channel of colours
    return axes.index("Y"), axes.index("X"), bands[0] if bands else None


def default_colours(bands: int) -> tuple[int, ...]:
    """The bands that are shown where none are chosen."""
    return (0, 1, 2) if bands >= 3 else (0,)
