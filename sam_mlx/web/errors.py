"""What the server answers when it refuses a request, or fails."""

from __future__ import annotations

import logging

from ..messages import one_line


class Refusal(Exception):
    """One sentence for the client, with an HTTP status."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Replaced(Refusal):
    """A newer request of the same session has replaced this one."""

    def __init__(self) -> None:
        super().__init__(409, "replaced by a newer request")


class Stopped(Exception):
    """Raised within background work whose result is no longer wanted."""


def sentence(error: BaseException) -> str:
    """What a client learns of an error. Details of an unexpected one stay on the server."""
    if isinstance(error, Stopped):
        return "it was stopped"
    return one_line(error) if is_expected(error) else "the server failed; its terminal says why"


def reported(error: BaseException) -> str:
    """The sentence for an error in background work, which is also logged."""
    if not is_expected(error):
        logging.getLogger(__name__).error("work in the background failed", exc_info=error)
    return sentence(error)


def is_expected(error: BaseException) -> bool:
    return isinstance(error, (Refusal, Stopped, ValueError, ImportError))
