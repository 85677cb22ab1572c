"""Independent work, spread over the streams of the device; and in which thread it is done.

On the CPU a stream is one thread, and of its operations only matrix products use more, so there
are two. A GPU needs one.
"""

import atexit
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial, wraps
from itertools import cycle
from queue import SimpleQueue
from typing import ParamSpec, TypeVar, cast

import mlx.core as mx

from .linux import own_memory, why_not_compile

T = TypeVar("T")
P = ParamSpec("P")

_thread = threading.local()
_one_only = False
_process: int | None = None  # where MLX has computed
_worker: "Worker | None" = None
_worker_begins = threading.Lock()


def spread(tasks: Sequence[Callable[[], T]], *, evaluate: bool = False) -> list[T]:
    """The results of tasks that do not depend on each other, begun on one stream after another.

    ``evaluate`` computes them a round at a time, one on each stream, so that no more of their
    temporaries live at once; on one stream two rounds do, for the next is put together while one
    is computed. Without it they are arrays like others, computed when needed. A task that spreads
    work in turn keeps it on its own stream.
    """
    streams = _streams()
    done: list[T] = []
    for task, stream in zip(tasks, cycle(streams)):
        with mx.stream(stream), _within_task():
            done.append(task())
        if evaluate and len(streams) == 1:
            mx.async_eval(done[-1])
            mx.eval(done[-2:-1])
        elif evaluate and stream == streams[-1]:
            mx.eval(done[-len(streams) :])
    if evaluate:
        mx.eval(done)
    return done


def enter() -> None:
    """Called where the package makes MLX compute.

    Raises RuntimeError in a child that was forked after that: MLX's threads are not in it, and
    waiting for them would never end.
    """
    global _process
    if _process is None:
        _process = os.getpid()
        if on_cpu() and (reason := why_not_compile()):
            mx.disable_compile()
            warnings.warn(
                f"MLX cannot compile, and takes about twice the time: {reason}. "
                "Install g++, or set TMPDIR to a folder where programs run",
                stacklevel=3,
            )
    elif _process != os.getpid():
        raise RuntimeError(
            "MLX has computed in the process that this one was forked from, and its threads do "
            "not survive that: start workers with multiprocessing.get_context('spawn'), a "
            "DataLoader's with multiprocessing_context='spawn'"
        )


def at_work(compute: Callable[P, T]) -> Callable[P, T]:
    """Decorates what computes, and returns with the values: it may be called from any thread.

    MLX keeps streams and compiled functions for each thread, also when it has ended: memory and
    the system's threads grow with every one, and a process that had some may abort at its end. So
    other threads than the main one have one of the package's compute for them, in turn.
    """

    compute = own_memory()(compute)

    @wraps(compute)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        enter()
        if threading.current_thread() is threading.main_thread():
            return compute(*arguments, **named)
        return start_worker().call(partial(compute, *arguments, **named))

    return run


def apart(build: Callable[[], T]) -> T:
    """What ``build`` makes, without spending the caller's random numbers.

    MLX has a generator for each thread, so it is made in the package's. The numbers that it draws
    wait for their predecessors until one is computed.
    """
    enter()

    def run() -> T:
        made = build()
        mx.eval(list(cast("list[mx.array]", mx.random.state)))
        return made

    return start_worker().call(run)


def start_worker() -> "Worker":
    global _worker
    with _worker_begins:
        if _worker is None:
            # The first stream of a process is the main thread's: exported functions ask for it.
            mx.default_stream(mx.default_device())
            _worker = Worker()
        return _worker


class Worker:
    """A thread that computes what others ask for, one after another."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="sam_mlx", daemon=True)
        self.thread.start()
        atexit.register(self._end)

    def call(self, task: Callable[[], T]) -> T:
        if threading.current_thread() is self.thread:
            return task()
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(task())
            except BaseException as error:
                result.set_exception(error)

        self.tasks.put(run)
        return result.result()

    def _run(self) -> None:
        while task := self.tasks.get():
            task()
        if hasattr(mx, "clear_streams"):  # since MLX 0.31.2
            mx.clear_streams()

    def _end(self) -> None:
        self.tasks.put(None)
        self.thread.join()


def clear_cache() -> None:
    """Give back what MLX keeps of a GPU's memory. On the CPU it keeps nothing."""
    if not on_cpu():
        mx.clear_cache()


def width() -> int:
    """How many tasks ``spread`` works on at a time."""
    return len(_streams())


def on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def use_one(on: bool = True) -> None:
    """Keep all work on one stream, as a GPU does."""
    global _one_only
    _one_only = on


def _streams() -> list[mx.Stream]:
    streams = [mx.default_stream(mx.default_device())]
    if on_cpu() and not _one_only and not getattr(_thread, "within_task", False):
        if not hasattr(_thread, "second"):  # no other thread can use it
            _thread.second = mx.new_stream(mx.cpu)
        streams.append(_thread.second)
    return streams


@contextmanager
def _within_task() -> Iterator[None]:
    before = getattr(_thread, "within_task", False)
    _thread.within_task = True
    try:
        yield
    finally:
        _thread.within_task = before
