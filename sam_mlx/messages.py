"""Values and names from files as errors show them: on one line, short and printable."""

import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

MAX_NAME = 100
MAX_LINE = 4000
# MLX's errors when it runs out of memory: from its allocators, Metal and CUDA.
NO_MEMORY = re.compile(
    r"\[(metal::)?malloc\w*\]|unable to allocate|out ?of ?memory|insufficient memory", re.IGNORECASE
)
LESS_MEMORY = "a smaller picture or --image-size takes less"

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = MAX_NAME


def shown(name: str) -> str:
    """A name, without quotes unless it has characters that control a terminal."""
    return name[:MAX_NAME] if name.isprintable() else repr(name[:MAX_NAME])


def short(found: object) -> str:
    """``repr`` of a value of any size and depth."""
    try:
        return shown(_repr.repr(found))
    except ValueError:  # Python writes no numbers of more than 4300 digits
        return f"a {type(found).__name__} with too many digits to show"


def some(count: int, thing: str) -> str:
    """``1 tile``, ``2 tiles``."""
    return f"{count} {thing}{'s' * (count != 1)}"


def printable(text: object) -> str:
    """A text or path with its line ends, and characters that control a terminal, escaped."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(error: BaseException | str) -> str:
    """An error's or a warning's message as a command prints it."""
    text = printable(" ".join(str(error)[: 2 * MAX_LINE].split()))
    if isinstance(error, BaseException) and lacks_memory(error):
        text = f"not enough memory{text and ': '}{text}; {LESS_MEMORY}"
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} ..."


def lacks_memory(error: BaseException) -> bool:
    """True if Python, numpy, Pillow or MLX ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Turn errors about a file's values into ValueErrors that begin with the file's name."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        raise ValueError(f"{source}: {error}") from error


@contextmanager
def escaping() -> Iterator[None]:
    """Escape what controls a terminal in errors about files: if nobody catches them, they are shown
    as they are.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if str(error).isprintable():
            raise
        kind = type(error) if isinstance(error, OSError) else ValueError
        raise kind(printable(error)) from error
