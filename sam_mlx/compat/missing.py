"""Names that this package does not have: the original's internals, and names that exist nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def stand_in(name: str, instead: str) -> type:
    """A class to import and to use in annotations; calling it raises NotImplementedError."""

    def __init__(self: object, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"{name} is a torch module of the original; {instead}")

    return type(name, (), {"__init__": __init__, "__module__": __name__})


def unknown(module: str, original: str = "segment_anything 1.0") -> Callable[[str], Any]:
    """``__getattr__`` of a module: an AttributeError says that the original has no such name.

    ``from ... import`` drops that message: its ImportError names the file in this package.
    """

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"{module} has no {name}, and neither has {original}, whose names these are: "
            f"{name} belongs to a newer version or to another package"
        )

    return __getattr__
