"""Work on several streams: the same results, on whatever thread."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx.machine import streams


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


def test_in_another_thread():
    """MLX refuses a stream that another thread has made."""
    x = mx.ones((4, 3))
    mx.eval(x, streams.spread(tasks(x)))
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(lambda: np.array(streams.spread(tasks(x))[0])).result()
    np.testing.assert_allclose(there, np.e, rtol=1e-6)
