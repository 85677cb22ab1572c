"""The server as a process: the address, the browser, uvicorn."""

from __future__ import annotations

import resource
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import ending
from .addresses import addresses_of, code_of, token_in
from .application import application
from .backend import Backend
from .guard import App, is_loopback

HEAD_SECONDS = 15.0  # for a client to send a request's head
MAX_CONNECTIONS = 512
MAX_FILES = 4096  # that the process has open; Macs allow 256 unless asked for more


class Protocol(H11Protocol):
    """uvicorn's, but it does not wait forever for a client that sends nothing, or slowly.

    Where connections are too many, a new one takes the place of the one that is idle longest, first
    of those on which nothing was ever asked.
    """

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._seen: Any = None
        self._timer = self.loop.call_later(self.head_seconds, self._look)
        self._last = self.loop.time()
        self._given_up = False
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self._last = self.loop.time()
        super().data_received(data)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        there = [c for c in self.connections if isinstance(c, Protocol) and not c._given_up]
        idle = [c for c in there if c.is_idle and c is not self]
        if len(there) > MAX_CONNECTIONS and idle:
            oldest = min(idle, key=lambda c: (c.cycle is not None, c._last))
            oldest._given_up = True
            oldest.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close a connection on which no request has begun since the last look."""
        if self.is_idle and self.cycle is self._seen:
            self.transport.close()
            return
        self._seen = self.cycle
        self._timer = self.loop.call_later(self.head_seconds, self._look)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that clients may come once the address is printed.

    Raises OSError that says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Nagle's algorithm delays small answers by 40 ms; asyncio switches it off only for sockets that
    # say they are TCP.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(MAX_CONNECTIONS)
    except (OSError, OverflowError) as error:
        found.close()
        why = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"cannot listen on {host} port {port}: {why}; choose another --port"
        ) from None
    return found


def allow_files() -> None:
    """Raise the bound of open files, among them connections, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server(uvicorn.Server):
    """uvicorn's, but it ends soon whatever is under way."""

    def __init__(self, config: uvicorn.Config, leave: Callable[[], None] = lambda: None):
        super().__init__(config)
        self.leave = leave  # called once, in a thread

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGHUP comes when a terminal is closed, unless a shell's nohup has it ignored."""
        before = signal.getsignal(signal.SIGHUP)
        if before is signal.SIG_IGN:
            with super().capture_signals():
                yield
            return
        signal.signal(signal.SIGHUP, self.handle_exit)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: Any) -> None:
        if ending.begin(sig):
            threading.Thread(target=self.leave, daemon=True).start()
        super().handle_exit(sig, frame)


def serve(
    backend: Backend, host: str, port: int, browser: bool, say: Callable[[str], None]
) -> None:
    """Answer until the process is interrupted."""
    token = token_in(backend.keeper.folder if backend.keeper is not None else None)
    ticket = secrets.token_urlsafe(24)
    allow_files()
    listening = bind(host, port)
    port = listening.getsockname()[1]
    addresses = addresses_of(host, port, token)
    for address in addresses:
        say(address)
    if not is_loopback(host) and sys.stdout.isatty():
        for line in (code_of(addresses[-1]) or "").splitlines():
            say(line)
    say(f"Work is kept in {backend.place}. Ctrl+C ends the server.")

    def leave() -> None:
        say(backend.last_words())
        backend.close_files()

    running = Server(configuration(backend, host, token, ticket), leave)
    if browser:
        # Other users see the arguments of the browser's process, so they hold a token for one use.
        address = addresses_of(host, port, ticket)[0]
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        running.run([listening])
    finally:
        backend.close()


def configuration(
    backend: Backend, host: str, token: str | None, ticket: str | None = None
) -> uvicorn.Config:
    return configured(application(backend, host, token, ticket))


def configured(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=Protocol, ws="none", lifespan="off",
        log_level="warning", access_log=False, server_header=False,
        limit_concurrency=2 * MAX_CONNECTIONS, timeout_keep_alive=10,
        timeout_graceful_shutdown=1, proxy_headers=False,
    )  # fmt: skip
