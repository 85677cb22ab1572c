"""Read pickles as inert values.

A machine for the opcodes of ``pickletools`` that builds only containers, numbers and strings. What
a pickle would import or call becomes an ``Inert``, which merely records it: nothing is imported.
``pytorch`` reads PyTorch's files with it.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ...messages import shown

T = TypeVar("T")

MAX_DEPTH, MAX_NAMES = 16, 1_000_000  # of nested values
MAX_PATH = 400  # characters of a tensor's name, with all that it is nested in
MAX_STEPS = 500_000  # of a pickle; ViT-H with the state of its training takes 100,000
Key = str | bytes | int | float | bool | None
MARK = object()
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list,
}  # fmt: skip
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
TO_THE_MARK = {"TUPLE": tuple, "LIST": list, "FROZENSET": list}


@dataclass(eq=False)
class Inert:
    """An object that a pickle names or would make: name, arguments, and the state it would get."""

    name: str
    arguments: Any = None
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def read(
    data: bytes,
    call: Callable[[str, Any], Any] = Inert,
    persistent: Callable[[Any], Any] = lambda key: Inert("a persistent id", key),
) -> Any:
    """The value that a pickle describes.

    call: takes the name and the arguments of a call, and returns the value that stands for it.
    persistent: the same for a reference to an object outside the pickle. Raises ValueError for a
    pickle that is damaged, takes more than MAX_STEPS, or has opcodes that weights never need.
    """
    machine = Machine(call, persistent)
    try:
        for opcode, argument, _ in opcodes(data):
            machine.spend(1)
            machine.step(opcode.name, argument)
        return machine.pop()
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"its pickle is damaged ({type(error).__name__})") from error
    except ValueError as error:
        if not re.search(r"values to unpack|zip\(\)", str(error)):
            raise
        raise ValueError("its pickle is damaged: a call has other arguments") from error


def opcodes(data: bytes) -> Iterator[tuple[Any, Any, int | None]]:
    try:
        yield from pickletools.genops(data)
    except ValueError as error:
        raise ValueError(f"its pickle is damaged: {shown(str(error))}") from error


class Machine:
    """A pickle machine's stack and memo."""

    def __init__(self, call: Callable[[str, Any], Any], persistent: Callable[[Any], Any]):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.call, self.persistent = call, persistent
        self.steps = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError(f"its pickle takes more than {MAX_STEPS:,} steps; weights take fewer")

    def step(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.pop_some(TUPLES[name])))
        elif name in TO_THE_MARK:
            self.stack.append(TO_THE_MARK[name](self.pop_to_mark()))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._act(name, argument)

    def _act(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self.stack.append(MARK)
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                self.stack.append(self.stack[-1])
            case "DICT":
                self.stack.append(pairs(self.pop_to_mark()))
            case "GLOBAL":
                self.stack.append(Inert(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                self.stack.append(Inert(".".join(self.pop_some(2))))
            case "REDUCE" | "NEWOBJ":
                self._call(*self.pop_some(2))
            case "NEWOBJ_EX":
                self._call(*self.pop_some(3)[:2])
            case "BINPERSID":
                self.stack.append(self.persistent(self.pop()))
            case _:
                self._fill(name)

    def _call(self, called: Any, arguments: Any) -> None:
        """A call may go through a list that the pickle has made once, many times."""
        self.spend(sum(len(a) for a in arguments[:9] if isinstance(a, (list, tuple, dict))))
        self.stack.append(self.call(called.name, arguments))

    def _fill(self, name: str) -> None:
        """Run an opcode that changes the object below it on the stack."""
        if name == "BUILD":
            state = self.pop()
            if isinstance(self.stack[-1], Inert):
                self.stack[-1].state = state
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            values = [self.pop()] if name == "APPEND" else self.pop_to_mark()
            if isinstance(self.stack[-1], list):
                self.stack[-1].extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            values = self.pop_some(2) if name == "SETITEM" else self.pop_to_mark()
            target = self.stack[-1].items if isinstance(self.stack[-1], Inert) else self.stack[-1]
            target.update(pairs(values))
        else:
            raise ValueError(f"its pickle has the opcode {name}, which weights never need")

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_some(self, n: int) -> list[Any]:
        values = self.stack[-n:]
        if len(values) < n or any(value is MARK for value in values):
            raise IndexError(n)
        del self.stack[-n:]
        return values

    def pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise IndexError(at)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values


def pairs(values: list[Any]) -> dict[Key, Any]:
    """A dictionary from alternating keys and values; only plain keys, whose hash is cheap."""
    plain = (str, bytes, int, float, bool, type(None))
    return {k: v for k, v in zip(values[::2], values[1::2], strict=True) if isinstance(k, plain)}


def leaves(values: Any, kind: type[T]) -> dict[str, T]:
    """All values of a kind in nested dictionaries, lists and pickled objects, by path."""
    found: dict[str, T] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", values, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, kind):
            found[path] = value
        if id(value) in seen or depth > MAX_DEPTH or len(seen) > MAX_NAMES:
            continue
        holds = (kind, Inert, dict, list, tuple)
        children = [(key, child) for key, child in _children(value) if isinstance(child, holds)]
        if children:
            seen.add(id(value))
        for key, child in reversed(children):  # keeps the file's order: the last is taken first
            name = f"{path}.{key}" if path else str(key)
            if len(name) <= MAX_PATH:
                waiting.append((name, child, depth + 1))
    return found


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Inert):
        yield from value.items.items()
        if isinstance(value.state, dict):
            yield from value.state.items()
    elif isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
