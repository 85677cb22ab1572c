"""How a command ends when it is told to, by Ctrl-C, SIGTERM or a terminal that is closed: soon,
whatever is under way.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
END_SECONDS = 1.5  # after which the process is left, with the interpreter's own end within two
USUAL = {signal.default_int_handler, signal.SIG_DFL}  # not ignored, as by a shell's "&" or nohup

_number: int | None = None  # of the signal that came


def install() -> None:
    """Have these signals raise KeyboardInterrupt, once, and end this process soon after."""
    for number in SIGNALS:
        if signal.getsignal(number) in USUAL:
            signal.signal(number, _end)


def begin(number: int) -> bool:
    """Leave the process after END_SECONDS at the latest; False if that was begun before."""
    global _number
    if _number is not None:
        return False
    _number = number
    threading.Thread(target=_leave, daemon=True).start()
    return True


def code() -> int:
    """The exit code of a command that was interrupted, as shells have it."""
    return 128 + (_number or signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    if begin(number):  # a second one would interrupt what takes away unfinished files
        raise KeyboardInterrupt


def _leave() -> None:
    time.sleep(END_SECONDS)
    os._exit(code())
