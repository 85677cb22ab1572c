"""Names that are not here: of the original's insides, and of nobody's."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from typing import Any

IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def stand_in(name: str, instead: str) -> type:
    """A class to import, and to name in annotations; using it raises NotImplementedError."""

    def __init__(self: object, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"{name} is a torch module of the original's; {instead}")

    return type(name, (), {"__init__": __init__, "__module__": __name__})


def unknown(module: str) -> Callable[[str], Any]:
    """``__getattr__`` of a module: says that segment_anything has no such name.

    As AttributeError, and as ImportError in ``from ... import``, which would drop the message.
    """

    def __getattr__(name: str) -> Any:
        message = (
            f"{module} has no {name}: nor has segment_anything 1.0, whose names these are. It is "
            "newer, or another package's"
        )
        caller = sys._getframe(1)
        if caller.f_lasti >= 0 and caller.f_code.co_code[caller.f_lasti] == IMPORT_FROM:
            raise ImportError(message, name=module)
        raise AttributeError(message)

    return __getattr__
