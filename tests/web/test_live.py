"""A server on a socket: clients that are slow, vanish, are many, or send what nobody expects."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.support.web import COINS, Page, png, until  # isort: skip  first: it skips all where it must

from sam_mlx.web import guard
from sam_mlx.web.server import HEAD_SECONDS, Protocol, bind

SECONDS = 14  # of patience, less than the server has by itself


@pytest.fixture
def page(live):
    with httpx.Client(base_url=f"http://127.0.0.1:{live}", timeout=SECONDS) as client:
        yield Page(client)


def test_patience():
    assert min(HEAD_SECONDS, guard.CHUNK_SECONDS) > SECONDS


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def head(path, length, method="POST"):
    lines = f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"
    return "\r\n".join([*lines, "", ""]).encode()


def test_an_upload_that_is_cut_off_leaves_nothing(live, page, server):
    data = COINS.read_bytes()
    client = connected(live)
    client.sendall(head(f"{page.session}/pictures?name=x", len(data)) + data[:5000])
    until(lambda: list(server.store.folder.iterdir()))
    client.close()
    until(lambda: not list(server.store.folder.iterdir()))
    assert len(page.client.get(page.session).json()["pictures"]) == 1


def test_a_body_that_stops_coming_is_given_up(live, page, server, monkeypatch):
    monkeypatch.setattr(guard, "CHUNK_SECONDS", 0.3)
    client = connected(live)
    client.sendall(head(f"{page.session}/pictures", 1000) + b"x")
    assert client.recv(100).startswith(b"HTTP/1.1 408")
    assert not list(server.store.folder.iterdir())


def test_a_head_that_does_not_come_is_given_up(monkeypatch, live):
    monkeypatch.setattr(Protocol, "head_seconds", 0.2)
    clients = [connected(live) for _ in range(5)]
    clients[0].sendall(b"GET / HTTP/1.1\r\nHost: 127")
    clients[1].sendall(head("/api/openapi.json", 0, "GET"))
    assert clients[1].recv(100).startswith(b"HTTP/1.1 200")
    for client in (clients[0], *clients[2:]):
        assert client.recv(100) == b""


def test_a_thousand_idle_connections_keep_nobody_out(live, page):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle = [connected(live) for _ in range(1000)]
    idle[-1].sendall(b"GET / HTTP/1.1\r\nHost: 127")
    working = httpx.Client(base_url=f"http://127.0.0.1:{live}", timeout=SECONDS)
    for _ in range(3):
        assert page.client.get(page.session).status_code == 200
        assert working.get(page.session).status_code == 200
        idle += [connected(live) for _ in range(100)]
    working.close()
    for client in idle:
        client.close()


def test_who_reads_nothing_holds_nobody_up(live, page):
    page.ready()
    slow = [connected(live) for _ in range(20)]
    for client in slow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.sendall(head(f"{page.picture}/image", 0, "GET") * 20)
    assert page.predict().status_code == 200
    for client in slow:
        client.close()


def test_who_takes_no_more_of_an_answer_is_left(live, page, server, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3))
    added = page.add(png(noise)).json()
    left = threading.Event()

    class Left(guard.Left):
        def __init__(self):
            left.set()

    monkeypatch.setattr(guard, "Left", Left)
    monkeypatch.setattr(guard, "CHUNK_SECONDS", 0.5)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", live))
    client.settimeout(SECONDS)
    client.sendall(head(f"{page.session}/pictures/{added['id']}/image", 0, "GET"))
    assert left.wait(60)
    count = 0
    with contextlib.suppress(ConnectionError):
        while part := client.recv(1 << 20):
            count += len(part)
    assert 0 < count < 5_000_000 < noise.size


def test_a_vanished_client_is_not_computed_for(live, page, server):
    page.ready()
    go, begun = threading.Event(), threading.Event()
    server.queue.submit(lambda: (begun.set(), go.wait(60)), "busy")
    assert begun.wait(60)
    body = json.dumps({"points": [[1, 1]], "labels": [1]}).encode()
    client = connected(live)
    client.sendall(head(f"{page.picture}/predict", len(body)) + body)
    until(lambda: server.queue.waiting() == 1)
    client.close()
    until(lambda: server.queue.waiting() == 0)
    go.set()
    assert page.predict().status_code == 200


@pytest.mark.parametrize(
    "data", [b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"POST /api/sessions HTTP/1.1\r\n\r\n",
             b"GET " + b"a" * 100_000, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
             b"POST /api/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
             b"GET /%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]
)  # fmt: skip
def test_what_is_not_a_request(live, page, data):
    client = connected(live)
    client.sendall(data)
    assert client.recv(100)[:10] in (b"HTTP/1.1 4", b"")
    assert page.client.get(page.session).status_code == 200


@pytest.mark.slow
def test_fifty_clients(live):
    from examples.benchmarks.web_clients import run

    # In a thread: Playwright, of tests before, keeps a loop of events in this one.
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(run, f"http://127.0.0.1:{live}", clients=50, seconds=4).result()
    assert found.errors == {} and found.sessions == 50
    assert len(found.seconds["hover"]) >= 50


def test_the_command_says_where_it_is_and_answers(tmp_path):
    env = os.environ | {"XDG_DATA_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "sam_mlx", "web", str(COINS), "--no-open", "--port", "0"]
    tokens = []
    for sent in (signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        try:
            address = process.stdout.readline().strip()
            root, _, token = address.partition("?token=")
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", root) and len(token) == 32
            assert str(tmp_path) in process.stdout.readline()
            assert httpx.post(f"{root}api/sessions", timeout=60).status_code == 403
            with httpx.Client(follow_redirects=True, timeout=60) as browser:
                assert browser.get(address).status_code == 200
                session = browser.post(f"{root}api/sessions").json()["session"]
                edit = {"erase": False, "radius": 3, "path": [[5, 5]]}
                picture = f"{root}api/sessions/{session}/pictures/p1"
                assert browser.post(f"{picture}/objects", json={"edits": [edit]}).is_success
            tokens.append(token)
        finally:
            process.send_signal(sent)
            said, _ = process.communicate(timeout=60)
        assert said.startswith("Ending. Work is kept") and process.returncode == 0
    assert tokens[0] == tokens[1]  # open pages go on after a restart
    assert len(list((tmp_path / "sam_mlx" / "sessions").glob("*.json"))) == 2


def test_a_port_that_is_taken(live):
    with pytest.raises(OSError, match=r"port \d+: Address already in use; choose another --port"):
        bind("127.0.0.1", live)
    with pytest.raises(OSError, match="cannot listen on 203.0.113.1 port 0"):
        bind("203.0.113.1", 0)


def test_clients_may_come_as_soon_as_the_address_is_known():
    with bind("127.0.0.1", 0) as listening:
        connected(listening.getsockname()[1]).close()


def test_small_answers_do_not_wait_for_others():
    """asyncio switches Nagle's algorithm off for sockets that say that they are TCP."""
    with bind("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
