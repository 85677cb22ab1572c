"""Work on several streams: the same results, on whatever thread."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx.machine import streams
from tests.support.budgets import limited


def tasks(x: mx.array) -> list:
    return [partial(lambda i: mx.exp(x) + i, i) for i in range(5)]


@pytest.mark.parametrize("evaluate", [False, True])
def test_results_are_in_order(evaluate):
    x = mx.random.normal((4, 3), key=mx.random.key(0))
    results = streams.spread(tasks(x), evaluate=evaluate)
    assert all(mx.array_equal(result, mx.exp(x) + i) for i, result in enumerate(results))
    assert streams.spread([]) == []


def test_how_many():
    cpu = mx.default_device() == mx.cpu
    one_only = streams.width() == 1 and cpu  # with pytest --plain
    assert streams.width() == (2 if cpu and not one_only else 1)
    assert streams._streams() == streams._streams()


def test_tasks_within_tasks_keep_their_stream():
    def inner() -> mx.Stream:
        assert streams.width() == 1
        return mx.default_stream(mx.default_device())

    def outer() -> tuple[mx.Stream, list[mx.Stream]]:
        return mx.default_stream(mx.default_device()), streams.spread([inner, inner])

    width = streams.width()
    for stream, within in streams.spread([outer] * 4):
        assert within == [stream, stream]
    assert streams.width() == width


def test_a_failing_task_leaves_nothing_behind():
    def fail() -> None:
        raise ZeroDivisionError

    width = streams.width()
    with pytest.raises(ZeroDivisionError):
        streams.spread([fail])
    assert streams.width() == width


def test_one_stream_only():
    width = streams.width()
    streams.use_one()
    try:
        assert streams.width() == 1
    finally:
        streams.use_one(width == 1)
    assert streams.width() == width


@pytest.mark.skipif(not streams.on_cpu(), reason="a GPU keeps what its queue refers to")
def test_on_one_stream_two_rounds_are_alive():
    def task() -> mx.array:
        return mx.exp(mx.ones((1 << 20,))).max()  # of 4 MB

    mx.eval(task())
    before, width = mx.get_active_memory(), streams.width()
    streams.use_one()
    mx.reset_peak_memory()
    try:
        results = streams.spread([task] * 20, evaluate=True)
    finally:
        streams.use_one(width == 1)
    np.testing.assert_allclose(np.array(results), np.e, rtol=1e-6)
    assert mx.get_peak_memory() - before <= 9e6  # 8.4 measured; all of them are 84


def test_tasks_on_one_array_one_after_another(plain):
    x = mx.random.normal((4, 3))
    work = [partial(lambda i, x: mx.exp(x) + i, i) for i in range(5)]
    for on in (False, True):
        plain(on)
        results = streams.one_by_one(work, x)
        assert all(mx.array_equal(result, mx.exp(x) + i) for i, result in enumerate(results))
        assert streams.one_by_one([], x) == []


def test_one_is_begun_ahead_on_a_gpu(plain):
    def begin(i: int) -> int:
        begun.append(i)
        return i

    for on, expected in ((False, streams.width() > 1), (True, False)):
        plain(on)
        begun: list[int] = []
        for i in streams.ahead(partial(begin, i) for i in range(4)):
            assert len(begun) == (i + 1 if expected else min(i + 2, 4))
        assert begun == [0, 1, 2, 3]
    assert list(streams.ahead([])) == []


def test_steps_are_evaluated_a_few_behind(plain, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(mx, "async_eval", lambda x: done.append("begun"))
    monkeypatch.setattr(mx, "eval", lambda x: done.append("awaited"))
    x = mx.ones(3)
    plain()
    assert streams.step(x) is x and done == []  # a graph is wanted
    with limited(steps_ahead=2), streams.stepwise():
        assert all(streams.step(x) is x for _ in range(4))
    assert done == ["begun"] * 3 + ["awaited", "begun", "awaited"]
    plain(False)
    with streams.stepwise():
        streams.step(x)
    assert len(done) == 6 or streams.width() == 1  # a CPU frees memory at once


def test_small_steps_are_taken_together(plain, monkeypatch):
    begun: list[int] = []
    monkeypatch.setattr(mx, "async_eval", lambda x: begun.append(len(x)))
    monkeypatch.setattr(mx, "eval", lambda x: None)
    plain()
    with limited(queue_bytes=100), streams.stepwise():
        for n in (1, 2, 3, 4, 5):
            pair = [mx.ones(n), mx.ones(n)]
            assert streams.step(pair, 40) is pair
        streams.step(mx.ones(7))  # one without a size does not wait for others
        streams.step(mx.ones(8), 99)
        assert begun == [2, 7]
        streams.step(mx.ones(9), 1)
    assert begun == [2, 7, 9]


class Limits:
    """MLX's limit of a GPU's cache."""

    def __init__(self, limit: int):
        self.limit = limit

    def set(self, limit: int) -> int:
        before, self.limit = self.limit, limit
        return before


@pytest.mark.parametrize("given", [1 << 40, 1000])
def test_the_cache_is_bounded_during_calls_alone(given, monkeypatch):
    mlx = Limits(given)
    monkeypatch.setattr(mx, "set_cache_limit", mlx.set)
    monkeypatch.setattr(streams, "on_cpu", lambda: False)
    with limited(cache_bytes=5000):
        with streams.bounded_cache():
            assert mlx.limit == min(given, 5000)
            with streams.bounded_cache():
                pass
            assert mlx.limit == min(given, 5000)
        assert mlx.limit == given
        with pytest.raises(ZeroDivisionError), streams.bounded_cache():
            raise ZeroDivisionError
        assert mlx.limit == given
        with streams.bounded_cache():
            mx.set_cache_limit(77)  # the caller's, in another thread
        assert mlx.limit == 77


def test_in_another_thread():
    """MLX refuses a stream that another thread has made."""
    x = mx.ones((4, 3))
    mx.eval(x, streams.spread(tasks(x)))
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(lambda: np.array(streams.spread(tasks(x))[0])).result()
    np.testing.assert_allclose(there, np.e, rtol=1e-6)
