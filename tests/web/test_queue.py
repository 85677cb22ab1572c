"""The server's rules for the queue before the model."""

import threading
from concurrent.futures import CancelledError

import pytest

from tests.support.web import Page, until  # isort: skip  first: it skips all where it must

from sam_mlx.machine.worker import Lane
from sam_mlx.web import queue as Q
from sam_mlx.web.errors import Refusal, Replaced, Stopped

SECONDS = 300  # that a test waits for what must come


@pytest.fixture
def queue():
    queue = Q.Queue()
    yield queue
    queue.close()


def hold(queue):
    """Keep the worker at work, until the event is set."""
    go, begun = threading.Event(), threading.Event()
    queue.submit(lambda: (begun.set(), go.wait(SECONDS)), "busy")
    assert begun.wait(SECONDS)
    return go


@pytest.fixture
def busy(queue):
    go = hold(queue)
    yield go
    go.set()


def test_a_newer_hover_of_a_session_replaces_a_waiting_one(queue, busy):
    old = queue.submit(lambda: "old", "a", hover=True)
    click = queue.submit(lambda: "click", "a")
    other = queue.submit(lambda: "other", "b", hover=True)
    new = queue.submit(lambda: "new", "a", hover=True)
    assert old.future.cancelled() and isinstance(old.why_cancelled(), Replaced)
    busy.set()
    results = [job.future.result(SECONDS) for job in (click, other, new)]
    assert results == ["click", "other", "new"]


def test_a_hover_that_runs_is_not_replaced(queue):
    go, begun = threading.Event(), threading.Event()
    old = queue.submit(lambda: (begun.set(), go.wait(SECONDS)), "a", hover=True)
    assert begun.wait(SECONDS)
    queue.submit(int, "a", hover=True)
    go.set()
    assert old.future.result(SECONDS)


def test_the_queue_is_bounded_in_all_and_for_each_session(queue, busy):
    for _ in range(Q.MAX_OF_ONE[Lane.INTERACTIVE]):
        queue.submit(int, "greedy")
    with pytest.raises(Refusal, match="too much to do") as refused:
        queue.submit(int, "greedy")
    assert refused.value.status == 503
    queue.submit(int, "greedy", Lane.ENCODE)
    left = Q.MAX_WAITING[Lane.INTERACTIVE] - Q.MAX_OF_ONE[Lane.INTERACTIVE]
    jobs = [queue.submit(int, f"session {i}") for i in range(left)]
    with pytest.raises(Refusal):
        queue.submit(int, "one more")
    busy.set()
    assert [job.future.result(SECONDS) for job in jobs] == [0] * left
    until(lambda: queue.waiting() == 0)
    assert queue.submit(int, "one more").future.result(SECONDS) == 0


def test_a_hover_that_finds_no_room_replaces_nothing(queue, busy, monkeypatch):
    old = queue.submit(int, "a", hover=True)
    queue.submit(int, "b")
    monkeypatch.setitem(Q.MAX_WAITING, Lane.INTERACTIVE, 1)
    with pytest.raises(Refusal):
        queue.submit(int, "a", hover=True)
    busy.set()
    assert old.future.result(SECONDS) == 0


def test_what_nobody_waits_for_is_not_done(queue, busy):
    done = []
    dropped = queue.submit(lambda: done.append(1), "a")
    dropped.drop()
    assert queue.waiting() == 0
    busy.set()
    queue.submit(int, "a").future.result(SECONDS)
    assert not done and dropped.future.cancelled()


def test_quick_work_is_done_during_a_search(queue):
    order = []
    go, begun = threading.Event(), threading.Event()

    def search():
        begun.set()
        go.wait(SECONDS)
        queue.between()
        order.append("ended")

    first = queue.submit(search, "a", Lane.AUTOMATIC)
    assert begun.wait(SECONDS)
    rest = [
        queue.submit(lambda: order.append("next search"), "a", Lane.AUTOMATIC),
        queue.submit(lambda: order.append("encoded"), "b", Lane.ENCODE),
        queue.submit(lambda: order.append("click"), "c"),
    ]
    go.set()
    [job.future.result(SECONDS) for job in (first, *rest)]
    assert order == ["click", "encoded", "ended", "next search"]


def test_the_end_cancels_what_waits_and_stops_what_runs():
    queue, begun = Q.Queue(), threading.Event()

    def search():
        begun.set()
        while True:
            queue.between()

    running = queue.submit(search, "a", Lane.AUTOMATIC)
    waiting = queue.submit(int, "a", Lane.AUTOMATIC)
    assert begun.wait(SECONDS)
    queue.close()
    with pytest.raises(Stopped):
        running.future.result(SECONDS)
    with pytest.raises(CancelledError):
        waiting.future.result(SECONDS)
    assert waiting.why_cancelled().status == 503
    with pytest.raises(Refusal):
        queue.submit(int, "late")


def test_a_full_queue_is_told_to_clients(page, server, monkeypatch):
    page.ready()
    for lane in Lane:
        monkeypatch.setitem(Q.MAX_WAITING, lane, 0)
    for answer in (page.predict(), page.client.post(f"{page.picture}/automatic")):
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "too much to do" in answer.json()["error"]
    monkeypatch.undo()
    assert page.predict().status_code == 200


def test_a_replaced_hover_answers_409(page, server):
    """It waits behind other work, until the newer one has come."""
    page.ready()
    go = hold(server.queue)
    answers = {}

    def hover(i):
        answers[i] = page.predict(hover=True, request=i)

    threads = [threading.Thread(target=hover, args=(i,)) for i in range(2)]
    threads[0].start()
    until(lambda: server.queue.waiting() == 1)
    threads[1].start()
    until(lambda: 0 in answers)
    go.set()
    threads[1].join(SECONDS)
    assert answers[0].status_code == 409
    assert answers[0].json() == {"error": "replaced by a newer request"}
    assert answers[1].json()["request"] == 1


def test_the_end_of_a_session_ends_its_work(page, server):
    page.ready()
    page.client.post(f"{page.picture}/automatic", json={"points_per_side": 128})
    other = Page(page.client)
    page.client.delete(page.session)
    assert len(other.automatic()) > 20  # which waits for the other to stop
