"""One thread that has the model, and the requests that wait for it.

Three lanes: interactive requests (predictions, masks of objects), pictures to be encoded, and
searches for automatic masks. The first goes first, also in the middle of a search, which lets
waiting requests in between its batches.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from .errors import Refusal, Replaced, Stopped

T = TypeVar("T")

QUICK, ENCODE, AUTOMATIC = range(3)  # lanes
MAX_WAITING = (128, 256, 32)  # in each lane
MAX_OF_ONE = (16, 64, 8)  # of one session


@dataclass(eq=False)
class Job:
    task: Callable[[], Any]
    owner: str  # a session's id
    hover: bool = False
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.task())
        except BaseException as error:
            self.future.set_exception(error)


class Worker:
    """Runs jobs one after another. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lanes: tuple[deque[Job], ...] = (deque(), deque(), deque())
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="sam_mlx.web", daemon=True)
        self._thread.start()

    def submit(
        self, task: Callable[[], T], owner: str, lane: int = QUICK, hover: bool = False
    ) -> Future[T]:
        """The future result. A newer hover request of a session replaces one that waits.

        Raises Refusal, 503, when too many wait.
        """
        job = Job(task, owner, hover)
        with self._changed:
            waiting = self._lanes[lane]
            older = [j for j in waiting if hover and j.hover and j.owner == owner]
            for j in older:
                waiting.remove(j)
            mine = sum(j.owner == owner for j in waiting)
            if len(waiting) >= MAX_WAITING[lane] or mine >= MAX_OF_ONE[lane] or self._ended:
                raise Refusal(503, "the server has too much to do; ask again in a moment")
            waiting.append(job)
            self._changed.notify()
        for j in older:
            j.future.set_exception(Replaced())
        return cast("Future[T]", job.future)

    def drop(self, future: Future[Any]) -> None:
        """Nobody waits for that result any longer."""
        with self._changed:
            for waiting in self._lanes:
                for job in [j for j in waiting if j.future is future]:
                    waiting.remove(job)
        future.cancel()

    def between(self) -> None:
        """Called by long work, in its thread: does the quicker jobs that have come meanwhile.

        Raises Stopped when the server ends.
        """
        while job := self._next(lanes=2):
            job.run()
        if self._ended:
            raise Stopped

    def waiting(self) -> int:
        with self._changed:
            return sum(map(len, self._lanes))

    def close(self) -> None:
        with self._changed:
            self._ended = True
            left = [job for waiting in self._lanes for job in waiting]
            for waiting in self._lanes:
                waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.future.cancel()
        self._thread.join()

    def _next(self, lanes: int = 3) -> Job | None:
        with self._changed:
            return next((lane.popleft() for lane in self._lanes[:lanes] if lane), None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or any(self._lanes))
            job = self._next()
            if job is not None:
                job.run()
            elif self._ended:
                return
