"""Work that several clients may wait for at once, and that is dropped when none does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from ..web.errors import Refusal
from ..web.queue import Job

T = TypeVar("T")

TOO_MUCH = "the server has too much to do; ask again in a moment"


@dataclass(eq=False)
class Work(Generic[T]):
    """Something that is being made; ``stopped`` is set when it is no longer wanted."""

    key: Hashable
    future: Future[T] = field(default_factory=Future)
    stopped: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0
    job: Job[Any] | None = None

    def stop(self) -> None:
        self.stopped.set()
        if self.job is not None:
            self.job.drop()


@dataclass(eq=False)
class Share(Generic[T]):
    """One client's part in it, as ``Incoming.result_of`` takes it."""

    work: Work[T]
    leave: Callable[[Work[T]], None]

    @property
    def future(self) -> Future[T]:
        return self.work.future

    def drop(self) -> None:
        self.leave(self.work)

    def why_cancelled(self) -> Refusal:
        return Refusal(503, "the server is shutting down")


class Works(Generic[T]):
    """All work of a kind, by what it is. Callable from any thread.

    patient: the last one that nobody waits for goes on, for who comes again: tools give up waiting
    after a time.
    """

    def __init__(self, most: int, patient: bool = False):
        self.most, self.patient = most, patient
        self._works: dict[Hashable, Work[T]] = {}
        self._left: Work[T] | None = None
        self._lock = threading.RLock()

    def join(self, key: Hashable, begin: Callable[[Work[T]], None]) -> Share[T]:
        """A part in work, which ``begin`` has begun unless it is under way.

        Raises Refusal, 503, when too much is.
        """
        with self._lock:
            work = self._works.get(key)
            if work is None or work.stopped.is_set():
                if len(self._works) >= self.most:
                    raise Refusal(503, TOO_MUCH)
                work = Work(key)
                begin(work)
                self._works[key] = work
                work.future.add_done_callback(partial(self._forget, work))
            work.waiting += 1
            if self._left is work:
                self._left = None
        return Share(work, self._leave)

    def _forget(self, work: Work[T], future: Future[T]) -> None:
        with self._lock:
            if self._works.get(work.key) is work:
                del self._works[work.key]
            if self._left is work:
                self._left = None

    def _leave(self, work: Work[T]) -> None:
        with self._lock:
            work.waiting -= 1
            if work.waiting > 0 or work.future.done():
                return
            left, self._left = self._left, work if self.patient else None
        unwanted = left if self.patient else work
        if unwanted is not None:
            unwanted.stop()
