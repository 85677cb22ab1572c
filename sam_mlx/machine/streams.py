"""Independent work, spread over the streams of the device; and whether this process may compute.

On the CPU a stream is one thread, and only its matrix products use more, so there are two. A GPU
needs one.
"""

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import TypeVar

import mlx.core as mx

from .budget import budget
from .linux import why_not_compile

T = TypeVar("T")
Arrays = TypeVar("Arrays", mx.array, list[mx.array])

_thread = threading.local()
_one_only = False
_begun = False  # whether the package has computed in this process
_without_threads = False  # whether this is a forked child that MLX's threads are missing in
_begins = threading.Lock()
_cache = threading.Lock()
_callers = 0  # of bounded_cache, in all threads
_before = 0, 0  # the cache's limit when the first of them came, and since then


def spread(tasks: Sequence[Callable[[], T]], *, evaluate: bool = False) -> list[T]:
    """The results of independent tasks, begun on one stream after another.

    ``evaluate`` computes them a round at a time, one on each stream, so that no more of their
    temporaries live at once; on one stream two rounds do, because the next is put together while
    one is computed, and the last is not waited for. Without it the results are ordinary arrays,
    computed when needed. A task that itself spreads work keeps it on its own stream.
    """
    evaluate = evaluate and not is_differentiated()
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
    if evaluate and len(streams) > 1:
        mx.eval(done)
    return done


def one_by_one(tasks: Sequence[Callable[[mx.array], mx.array]], x: mx.array) -> list[mx.array]:
    """What tasks make of an array, each computed after the one before it, so that the temporaries
    of few are alive.

    On a GPU all are evaluated together, by whoever needs them, but for each ``step`` within; on
    several streams they are evaluated here, a round at a time.
    """
    if width() > 1:
        return spread([partial(task, x) for task in tasks], evaluate=True)
    done: list[mx.array] = []
    with stepwise():
        for task in tasks:
            done.append(task(mx.depends([x], done[-1:])[0] if done else x))
    return done


@contextmanager
def lazily() -> Iterator[None]:
    """For functions that are differentiated: ``spread`` evaluates nothing, for they must not begin
    work, and operations have gradients of their own.
    """
    _thread.lazy = True
    try:
        yield
    finally:
        _thread.lazy = False


def is_differentiated() -> bool:
    """Whether this is within ``lazily``."""
    return getattr(_thread, "lazy", False)


def recomputed(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """Within ``lazily``, the function of arrays with nothing of it kept for its gradients."""
    return mx.checkpoint(function) if is_differentiated() else function


def ahead(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What tasks return, in order. On a GPU, each is called before the result of the one before it
    is handed over: the GPU works on what it has begun meanwhile.
    """
    waiting: deque[T] = deque()
    for task in tasks:
        waiting.append(task())
        if width() > 1 or len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


@contextmanager
def stepwise() -> Iterator[None]:
    """Have ``step`` evaluate. For whoever wants values, not a graph, in little memory."""
    before = getattr(_thread, "steps", None)
    _thread.steps = Steps() if width() == 1 else None
    try:
        yield
    finally:
        _thread.steps = before


class Steps:
    """What was begun within ``stepwise`` and not awaited."""

    def __init__(self) -> None:
        self.begun: deque[mx.array | list[mx.array]] = deque()
        self.nbytes = 0  # of temporaries since the last

    def add(self, x: mx.array | list[mx.array]) -> None:
        self.nbytes = 0
        mx.async_eval(x)
        self.begun.append(x)
        if len(self.begun) > budget().steps_ahead:
            mx.eval(self.begun.popleft())


def step(x: Arrays, nbytes: int | None = None) -> Arrays:
    """The same array or arrays, at a point where a GPU's work can be cut.

    MLX is up to ten command buffers ahead of a GPU, each of which keeps all it refers to: 1.6 GB in
    ViT-B. Within ``stepwise`` it is ahead by a few steps, on small GPUs by one.

    nbytes: of the temporaries since the point before, where these are so few that the queue is cut
    only once they add up.
    """
    steps: Steps | None = getattr(_thread, "steps", None)
    if steps is not None:
        steps.nbytes += nbytes or 0
        if nbytes is None or steps.nbytes >= budget().queue_bytes:
            steps.add(x)
    return x


class Forked(RuntimeError):
    """MLX is not usable in this process."""


def enter() -> None:
    """To be called before the package has MLX compute.

    Raises RuntimeError in a child that was forked after MLX had computed, for the package or for
    other code: MLX's threads are not in the child, and waiting for them would never end.
    """
    global _begun
    if _without_threads:
        raise Forked(
            "MLX has computed in the process that this one was forked from, and its threads do "
            "not survive that: start workers with multiprocessing.get_context('spawn'), a "
            "DataLoader's with multiprocessing_context='spawn'"
        )
    if not _begun:
        with _begins:
            if not _begun:
                begin()
                _begun = True


def begin() -> None:
    """Prepare this process: done once, before its first computation."""
    if on_cpu() and (reason := why_not_compile()):
        mx.disable_compile()
        warnings.warn(
            f"MLX cannot compile, and takes about twice the time: {reason}. "
            "Install g++, or set TMPDIR to a folder where programs run",
            stacklevel=4,
        )
    # An exported function computes on the first stream of the process, from whatever thread.
    add_shared_stream(mx.default_device())


def add_shared_stream(device: mx.Device) -> bool:
    """Make a stream that every thread may use; returns whether it is the first of the process."""
    if not hasattr(mx, "new_thread_unsafe_stream"):  # before MLX 0.32
        return False
    return repr(mx.new_thread_unsafe_stream(device)).endswith(" 0)")  # its number


def _after_fork() -> None:
    """In a child. MLX has computed before if it has a stream, or may have if that is not known."""
    global _without_threads, _begins, _cache, _callers
    _begins, _cache, _callers = threading.Lock(), threading.Lock(), 0
    _without_threads = _without_threads or _begun or not add_shared_stream(mx.Device(mx.cpu))


@contextmanager
def bounded_cache() -> Iterator[None]:
    """Bound what MLX keeps of a GPU's freed memory while the package works: by default it keeps all
    of it, and parts of many shapes do not fit what was freed by others.

    Afterwards the limit is the one before, or the one that the caller has set meanwhile.
    """
    global _callers, _before
    if on_cpu():
        yield
        return
    with _cache:
        _callers += 1
        if _callers == 1:
            bound = budget().cache_bytes
            before = mx.set_cache_limit(bound)
            _before = before, min(before, bound)
            mx.set_cache_limit(_before[1])
    try:
        yield
    finally:
        with _cache:
            _callers -= 1
            if _callers == 0:
                before, ours = _before
                now = mx.set_cache_limit(before)
                if now != ours:
                    mx.set_cache_limit(now)


def clear_cache() -> None:
    """Give back what MLX keeps of a GPU's memory. On the CPU it keeps nothing."""
    if not on_cpu():
        mx.clear_cache()


def width() -> int:
    """How many tasks ``spread`` works on at a time."""
    return len(_streams())


def on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def is_slow(dtype: mx.Dtype) -> bool:
    """Whether the device computes far more slowly in this type than in float32."""
    return dtype != mx.float32 and on_cpu()


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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
