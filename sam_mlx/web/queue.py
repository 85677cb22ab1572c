"""The server's rules for the queue before the model: bounds, and requests no longer wanted.

The package's worker computes (``machine/worker.py``), and its lanes order the work: interactive
requests (predictions, masks of objects), pictures to be encoded, and searches for automatic masks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..machine.worker import END_SECONDS, Lane, checkpoint, submit
from .errors import Refusal, Replaced, Stopped

T = TypeVar("T")

MAX_WAITING = {Lane.INTERACTIVE: 128, Lane.ENCODE: 256, Lane.AUTOMATIC: 32}
MAX_OF_ONE = {Lane.INTERACTIVE: 16, Lane.ENCODE: 64, Lane.AUTOMATIC: 8}  # of one session


@dataclass(eq=False)
class Job(Generic[T]):
    """A session's work for the model: waiting, running, or done."""

    future: Future[T]
    owner: str  # the session's id
    lane: Lane
    hover: bool = False
    replaced: bool = False  # by a newer hover

    @property
    def waits(self) -> bool:
        return not (self.future.running() or self.future.done())

    def drop(self) -> None:
        """The result is no longer wanted: do not compute it, unless that has begun."""
        self.future.cancel()

    def why_cancelled(self) -> Refusal:
        return Replaced() if self.replaced else Refusal(503, "the server is shutting down")


class Queue:
    """The jobs of all sessions. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._jobs: list[Job[Any]] = []  # those that are not done
        self._lock = threading.Lock()
        self._ended = False

    def submit(
        self,
        task: Callable[[], T],
        owner: str,
        lane: Lane = Lane.INTERACTIVE,
        hover: bool = False,
    ) -> Job[T]:
        """Have a task computed. A session's newer hover request replaces one that waits.

        Raises Refusal, 503, when too many wait.
        """
        with self._lock:
            mine = [job for job in self._jobs if job.owner == owner]
            older = [job for job in mine if job.waits and job.hover and hover]
            self._check_room(lane, mine, older)
            job = Job(submit(task, lane), owner, lane, hover)
            self._jobs.append(job)
        job.future.add_done_callback(lambda _: self._forget(job))
        for one in older:
            one.replaced = True
            one.drop()
        return job

    def _forget(self, job: Job[Any]) -> None:
        with self._lock:
            self._jobs.remove(job)

    def _check_room(self, lane: Lane, mine: list[Job[Any]], older: list[Job[Any]]) -> None:
        def count(jobs: list[Job[Any]]) -> int:
            return sum(job.lane == lane and job.waits and job not in older for job in jobs)

        full = count(self._jobs) >= MAX_WAITING[lane] or count(mine) >= MAX_OF_ONE[lane]
        if full or self._ended:
            raise Refusal(503, "the server has too much to do; ask again in a moment")

    @property
    def has_ended(self) -> bool:
        return self._ended

    def waiting(self) -> int:
        with self._lock:
            return sum(job.waits for job in self._jobs)

    @property
    def is_busy(self) -> bool:
        with self._lock:
            return any(job.future.running() for job in self._jobs)

    def between(self) -> None:
        """Called by long work between its steps: runs quicker jobs that have come meanwhile.

        Raises Stopped when the server ends.
        """
        with suppress(CancelledError):  # the process is exiting, so the server has ended
            checkpoint()
            if not self._ended:
                return
        raise Stopped

    def close(self) -> None:
        """Cancel waiting jobs, and give running ones a moment to stop."""
        with self._lock:
            self._ended = True
            left = list(self._jobs)
        for job in left:
            job.drop()
        wait([job.future for job in left], END_SECONDS)
