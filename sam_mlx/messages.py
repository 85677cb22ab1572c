"""Values and names from files as errors show them: on one line, short and printable."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

MAX_NAME = 100
MAX_LINE = 4000

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = MAX_NAME


def shown(name: str) -> str:
    """A name, without quotes unless it has characters that control a terminal."""
    return name[:MAX_NAME] if name.isprintable() else repr(name[:MAX_NAME])


def short(found: object) -> str:
    """``repr`` of a value of any size and depth."""
    return shown(_repr.repr(found))


def one_line(error: BaseException) -> str:
    """An error's message as a command prints it."""
    text = " ".join(str(error)[: 2 * MAX_LINE].split())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]} ..."


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Turn errors about a file's values into ValueErrors that begin with the file's name."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        raise ValueError(f"{source}: {error}") from error
