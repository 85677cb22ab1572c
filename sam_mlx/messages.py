"""What errors say of values and names that came from a file: in one line, short, and printable."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_NAME = 100
LONGEST_LINE = 4000

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = LONGEST_NAME


def shown(name: str) -> str:
    """A name, without quotes unless it has characters that steer a terminal."""
    return name[:LONGEST_NAME] if name.isprintable() else repr(name[:LONGEST_NAME])


def short(found: object) -> str:
    """``repr`` of a value of any size and depth."""
    return shown(_repr.repr(found))


def one_line(error: BaseException) -> str:
    """What a command prints of an error."""
    text = " ".join(str(error)[: 2 * LONGEST_LINE].split())
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ..."


@contextmanager
def naming(source: object) -> Iterator[None]:
    """What is found wrong with a file's values is a ValueError that begins with the file's name."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        raise ValueError(f"{source}: {error}") from error
