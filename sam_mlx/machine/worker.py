"""One worker thread, and one queue, for the whole package.

MLX keeps streams and compiled functions for every thread that uses it, even after the thread has
ended, so memory and system threads would grow with each. Therefore one worker computes for all
threads but the main one, and steps of seconds for that as well:

* ``at_work`` and ``long_work`` are the decorators for functions that evaluate arrays: callable from
  any thread;
* ``submit(task, lane)`` queues a task and returns a ``concurrent.futures.Future``. Cancelling the
  future drops the task if it is still waiting. Calls of the package within a task run at once;
* ``checkpoint(cancel)`` is called by long work between its parts. In the worker it runs the tasks
  that wait in earlier lanes; in every thread it raises CancelledError once ``cancel`` is set.

Lanes are served in the order of ``Lane``, each first come, first served. Long work in another
thread, as ``generate``, queues each of its parts: others get their turn in between, and a progress
function, which is called in that thread, holds up nobody.

At exit waiting tasks are cancelled, and running work is abandoned after ``END_SECONDS``.
"""

import atexit
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextvars import copy_context
from enum import IntEnum
from functools import partial, wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import mlx.core as mx
import mlx.nn as nn

from . import linux
from .streams import bounded_cache, enter

T = TypeVar("T")
P = ParamSpec("P")

END_SECONDS = 1.0  # for which the exit of the process waits for running work
# Before MLX 0.32 two threads that compute at once can end the process: the worker does it for all.
TWO_MAY_COMPUTE = hasattr(mx, "new_thread_unsafe_stream")


class Cancel(Protocol):
    """A ``threading.Event``, or another object with its ``is_set``: whether work is to stop."""

    def is_set(self) -> bool: ...


class Lane(IntEnum):
    """The order in which waiting tasks are served."""

    INTERACTIVE = 0  # somebody waits for the answer
    ENCODE = 1  # pictures that will be asked about
    AUTOMATIC = 2  # automatic masks: up to minutes, with checkpoints


class Worker:
    """A thread that runs tasks one after another. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, OrderedDict[Future[Any], Callable[[], Any]]]
        self._lanes = {lane: OrderedDict() for lane in Lane}
        self._changed = threading.Condition()
        self._running: list[Lane] = []  # the lanes of running tasks, each begun within the last
        self._ended = self._stop = False
        self._thread = threading.Thread(target=self._run, name="sam_mlx", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # since Python 3.12 no thread begins while the process exits
            self._thread = threading.main_thread()

    def submit(self, task: Callable[[], T], lane: Lane = Lane.INTERACTIVE) -> Future[T]:
        """Queue a task; returns the future of its result.

        ``future.cancel()`` drops the task if it is still waiting. After the end of the worker the
        future is cancelled from the start.
        """
        future: Future[T] = Future()
        with self._changed:
            if accepted := self._accepts():
                self._lanes[lane][future] = task
                self._changed.notify_all()
        if not accepted:
            future.cancel()
        future.add_done_callback(partial(self._forget, lane))
        return future

    def call(self, task: Callable[[], T], given: Sequence[Any] = ()) -> T:
        """The result of a task that is run in its turn, or at once within another task.

        given: the task's arguments. Arrays in them are evaluated by the calling thread, whose
        streams they need. After the end of the worker this raises SystemExit, which ends a daemon
        thread quietly, and in the main thread RuntimeError if abandoned work is still running.
        """
        if self.is_current:
            return task()
        if self._accepts():  # a thread that is in MLX when the interpreter ends aborts the process
            evaluate(given)
        future = self.submit(partial(copy_context().run, task))
        try:
            return future.result()
        except CancelledError:
            if not future.cancelled():
                raise
        finally:
            future.cancel()  # after KeyboardInterrupt nobody waits for it
            del future  # it holds the exception, whose traceback holds this frame
        if is_main_thread():
            raise RuntimeError("the process is exiting while other work of sam_mlx is under way")
        sys.exit("the process is exiting")

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the worker's."""
        return threading.current_thread() is self._thread

    def checkpoint(self) -> None:
        """Run the tasks that wait in earlier lanes than the running one's; elsewhere do nothing.

        Raises CancelledError if the process is exiting.
        """
        if not (self.is_current and self._running):
            return
        while self._run_one([lane for lane in Lane if lane < self._running[-1]]):
            pass
        if self._stop:
            raise CancelledError("the process is exiting")

    def end(self) -> None:
        """Cancel waiting tasks, and wait up to ``END_SECONDS`` for the running one.

        Afterwards only the main thread is served: it runs the functions registered with atexit.
        """
        with self._changed:
            self._ended = True
            self._stop = bool(self._running)
            left = [future for waiting in self._lanes.values() for future in waiting]
        for future in left:
            future.cancel()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, END_SECONDS):
                linux.leave_threads()

    def _accepts(self) -> bool:
        return not self._ended or (is_main_thread() and not self._running)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(self._lanes.values()))
            self._run_one(list(Lane))

    def _run_one(self, lanes: list[Lane]) -> bool:
        """Run the first task that waits in these lanes, if any; the thread keeps nothing of it."""
        with self._changed:
            lane = next((lane for lane in lanes if self._lanes[lane]), None)
            if lane is None:
                return False
            future, task = self._lanes[lane].popitem(last=False)
            self._running.append(lane)
        try:
            if future.set_running_or_notify_cancel():
                run(task, future)
        finally:
            del task, future  # the future's exception holds this frame, through its traceback
            with self._changed:
                self._running.pop()
                self._stop = self._stop and bool(self._running)
                self._changed.notify_all()
        return True

    def _forget(self, lane: Lane, future: Future[Any]) -> None:
        """Drop a task that was cancelled while it waited."""
        with self._changed:
            self._lanes[lane].pop(future, None)


def run(task: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(task())
    except BaseException as error:
        future.set_exception(error)
    finally:
        del task, future


_worker: Worker | None = None
_begins = threading.Lock()


def worker() -> Worker:
    """The package's worker, started at its first use."""
    global _worker
    with _begins:
        if _worker is None:
            _worker = Worker()
        return _worker


def submit(task: Callable[[], T], lane: Lane = Lane.INTERACTIVE) -> Future[T]:
    """Queue a task for the package's worker; arrays in its result are evaluated."""
    enter()
    return worker().submit(partial(evaluated, task), lane)


def checkpoint(cancel: Cancel | None = None) -> None:
    """To be called by long work between its parts: ``Worker.checkpoint`` of the package's worker.

    Raises CancelledError once ``cancel`` is set.
    """
    if _worker is not None:
        _worker.checkpoint()
    if cancel is not None and not hasattr(cancel, "is_set"):
        raise ValueError(f"cancel is {cancel!r}; expected a threading.Event or None")
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled, as the caller asked")


def apart(build: Callable[[], T]) -> T:
    """Build a model in the worker, without spending the caller's random numbers.

    The state of the worker's own generator is evaluated: it would otherwise keep every step since
    the first.
    """
    enter()

    def run() -> T:
        made = build()
        mx.eval(list(cast("list[mx.array]", mx.random.state)))
        return made

    return worker().call(run)


def at_work(compute: Callable[P, T]) -> Callable[P, T]:
    """Decorator for functions that evaluate arrays; callable from any thread.

    The main thread computes itself, which saves 0.2 ms; for others the worker computes. Lazy arrays
    in the arguments, and in models among them, are evaluated by the calling thread, whose streams
    they need, and those in the result by the one that computes.
    """
    return _door(compute, main_computes=True)


def long_work(compute: Callable[P, T]) -> Callable[P, T]:
    """``at_work`` for steps of seconds, which the worker does for the main thread, too.

    Python handles signals, as that of Ctrl-C, only in the main thread, and not while MLX computes
    there.
    """
    return _door(compute, main_computes=False)


def _door(compute: Callable[P, T], main_computes: bool) -> Callable[P, T]:
    compute = linux.own_memory()(bounded_cache()(compute))

    @wraps(compute)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        enter()
        if worker().is_current:
            return compute(*arguments, **named)
        task = partial(evaluated, partial(compute, *arguments, **named))
        if main_computes and TWO_MAY_COMPUTE and is_main_thread():
            return task()
        return worker().call(task, (arguments, named))

    return run


def is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def where_held(compute: Callable[P, T], array: object) -> Callable[P, T]:
    """``compute`` at work if ``array`` is MLX's, and as it is if it is numpy's."""
    return at_work(compute) if isinstance(array, mx.array) else compute


def evaluated(compute: Callable[[], T]) -> T:
    result = compute()
    evaluate(result)
    return result


def evaluate(value: Any) -> None:
    """Evaluate the arrays in a value. Only the thread that built them can do so."""
    try:
        mx.eval(list(arrays_in(value)))
    except RuntimeError as error:
        if "There is no Stream" not in str(error):
            raise
        raise RuntimeError(
            "an array or a model was built in another thread and not evaluated, which MLX can do "
            "in that thread only: call mx.eval(array) or mx.eval(model.parameters()) there"
        ) from error


def arrays_in(value: Any, seen: set[int] | None = None) -> Iterator[mx.array | nn.Module]:
    """The arrays and models in a value, its collections, and the package's objects in it."""
    if isinstance(value, (mx.array, nn.Module)):
        yield value
        return
    ours = type(value).__module__.startswith("sam_mlx.") and hasattr(value, "__dict__")
    values = vars(value) if ours else value
    seen = set() if seen is None else seen
    if isinstance(values, (list, tuple, dict)) and id(value) not in seen:
        seen.add(id(value))
        for part in values.values() if isinstance(values, dict) else values:
            yield from arrays_in(part, seen)


def _end() -> None:
    if _worker is not None:
        _worker.end()


def _after_fork() -> None:
    """A child has only the thread that forked it."""
    global _worker, _begins
    _worker, _begins = None, threading.Lock()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
