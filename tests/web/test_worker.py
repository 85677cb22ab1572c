"""The one thread, and who waits for it."""

import threading
from concurrent.futures import CancelledError

import pytest

from tests.support.web import Page, until  # isort: skip  first: it skips all where it must

from sam_mlx.web import worker as W
from sam_mlx.web.errors import Refusal, Replaced, Stopped


@pytest.fixture
def worker():
    worker = W.Worker()
    yield worker
    worker.close()


@pytest.fixture
def busy(worker):
    """The worker at work, until the event is set."""
    go, begun = threading.Event(), threading.Event()
    worker.submit(lambda: (begun.set(), go.wait(10)), "busy")
    begun.wait(10)
    yield go
    go.set()


def test_all_work_is_done_in_one_thread_in_order(worker):
    done = []
    jobs = [
        worker.submit(lambda i=i: done.append((i, threading.current_thread())), "a")
        for i in range(9)
    ]
    [job.result(10) for job in jobs]
    assert [i for i, _ in done] == list(range(9)) and len({thread for _, thread in done}) == 1


def test_errors_reach_who_asked_and_nobody_else(worker):
    def fail():
        raise ValueError("no")

    failed, fine = worker.submit(fail, "a"), worker.submit(lambda: 1, "b")
    with pytest.raises(ValueError, match="no"):
        failed.result(10)
    assert fine.result(10) == 1


def test_a_newer_hover_of_a_session_replaces_a_waiting_one(worker, busy):
    old = worker.submit(lambda: "old", "a", hover=True)
    click = worker.submit(lambda: "click", "a")
    other = worker.submit(lambda: "other", "b", hover=True)
    new = worker.submit(lambda: "new", "a", hover=True)
    with pytest.raises(Replaced):
        old.result(0)
    busy.set()
    assert [f.result(10) for f in (click, other, new)] == ["click", "other", "new"]


def test_the_queue_is_bounded_in_all_and_for_each_session(worker, busy):
    for _ in range(W.MAX_OF_ONE[W.QUICK]):
        worker.submit(int, "greedy")
    with pytest.raises(Refusal, match="too much to do") as refused:
        worker.submit(int, "greedy")
    assert refused.value.status == 503
    left = W.MAX_WAITING[W.QUICK] - worker.waiting()
    jobs = [worker.submit(int, f"session {i}") for i in range(left)]
    with pytest.raises(Refusal):
        worker.submit(int, "one more")
    busy.set()
    assert [job.result(10) for job in jobs] == [0] * left
    assert worker.submit(int, "one more").result(10) == 0


def test_what_nobody_waits_for_is_not_done(worker, busy):
    done = []
    dropped = worker.submit(lambda: done.append(1), "a")
    worker.drop(dropped)
    assert worker.waiting() == 0
    busy.set()
    worker.submit(int, "a").result(10)
    assert not done and dropped.cancelled()


def test_quick_work_is_done_in_the_midst_of_long_work(worker):
    order = []

    def long():
        order.append("begun")
        until(lambda: worker.waiting() == 3)
        worker.between()
        order.append("ended")

    first = worker.submit(long, "a", W.AUTOMATIC)
    until(lambda: order)
    rest = [
        worker.submit(lambda: order.append("next automatic"), "a", W.AUTOMATIC),
        worker.submit(lambda: order.append("encoded"), "b", W.ENCODE),
        worker.submit(lambda: order.append("click"), "c"),
    ]
    [job.result(10) for job in (first, *rest)]
    assert order == ["begun", "click", "encoded", "ended", "next automatic"]


def test_the_end_cancels_what_waits_and_stops_what_runs():
    worker, begun = W.Worker(), threading.Event()

    def long():
        begun.set()
        while True:
            worker.between()

    running, waiting = worker.submit(long, "a", W.AUTOMATIC), worker.submit(int, "a", W.AUTOMATIC)
    begun.wait(10)
    worker.close()
    with pytest.raises(Stopped):
        running.result(10)
    with pytest.raises(CancelledError):
        waiting.result(10)
    with pytest.raises(Refusal):
        worker.submit(int, "late")


def test_embeddings_are_bounded_by_bytes_and_the_least_used_go(nano):
    from sam_mlx import SamPredictor
    from sam_mlx.web.model import Embeddings
    from tests.support.web import COINS

    embedding = SamPredictor(nano).embed(COINS)
    kept = Embeddings(max_bytes=2 * embedding.features.nbytes)
    for key in "ab":
        kept.put(key, embedding)
    kept.get("a")
    kept.put("c", embedding)
    assert "a" in kept and "c" in kept and kept.nbytes == kept.max_bytes
    with pytest.raises(Refusal, match="not ready"):
        kept.get("b")
    kept.max_bytes = 1
    kept.put("d", embedding)
    assert "d" in kept and "c" not in kept


def test_a_full_queue_is_told_to_clients(page, server, monkeypatch):
    page.ready()
    monkeypatch.setattr(W, "MAX_WAITING", (0, 0, 0))
    for answer in (page.predict(), page.client.post(f"{page.picture}/automatic")):
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert "too much to do" in answer.json()["error"]
    monkeypatch.undo()
    assert page.predict().status_code == 200


def test_a_replaced_hover_answers_409(page, server):
    """Held by the worker, until the newer one has come."""
    page.ready()
    go = threading.Event()
    server.worker.submit(lambda: go.wait(10), "busy")
    answers = {}

    def hover(i):
        answers[i] = page.predict(hover=True, request=i)

    threads = [threading.Thread(target=hover, args=(i,)) for i in range(2)]
    threads[0].start()
    until(lambda: server.worker.waiting() == 1)
    threads[1].start()
    until(lambda: 0 in answers)
    go.set()
    threads[1].join(10)
    assert answers[0].status_code == 409
    assert answers[0].json() == {"error": "replaced by a newer request"}
    assert answers[1].json()["request"] == 1


def test_the_end_of_a_session_ends_its_work(page, server):
    page.ready()
    page.client.post(f"{page.picture}/automatic", json={"points_per_side": 128})
    other = Page(page.client)
    page.client.delete(page.session)
    assert len(other.automatic()) > 20  # which waits for the other to stop
