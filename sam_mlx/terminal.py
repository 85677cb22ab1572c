"""How commands print: a line at a time, for any terminal, whether or not anything reads it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from .messages import one_line, printable


def say(text: object, *, error: bool = False) -> None:
    """Print a line to stdout, or with ``error`` to stderr.

    Characters that control a terminal are escaped, and so are those that its encoding lacks: names
    of files may hold both. Once nothing can be printed, as after ``| head``, nothing is.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before Python started
        return
    encoding = stream.encoding or "utf-8"
    line = printable(str(text)).encode(encoding, "backslashreplace").decode(encoding)
    _unless_closed(stream, lambda: stream.write(f"{line}\n"))


@contextmanager
def as_lines(command: str) -> Iterator[None]:
    """Have a command's warnings printed as lines, and end it silently if nothing reads them."""
    _open_streams()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say(
            f"{command}: warning: {one_line(message)}", error=True
        )
        try:
            yield
        finally:
            for stream in filter(None, (sys.stdout, sys.stderr)):  # argparse prints by itself
                _unless_closed(stream)


def _unless_closed(stream: TextIO, write: Callable[[], object] = lambda: None) -> None:
    try:
        write()
        stream.flush()
    except (OSError, ValueError):  # nobody reads it, the disk is full, the terminal is gone
        # What the stream still holds goes there too, or Python complains at exit.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _open_streams() -> None:
    """Where stdin, stdout or stderr are closed, open nothing under their numbers.

    A result would take one of them, and whatever is printed there would go into it.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) < 3:  # it takes the lowest
        pass
    os.close(free)
