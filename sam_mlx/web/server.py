"""The server as a process: the address, the browser, uvicorn."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import ending
from .application import application
from .backend import Backend
from .guard import ANY_ADDRESS, App, is_loopback

HEAD_SECONDS = 15.0  # for a client to send a request's head
MAX_CONNECTIONS = 512


class Protocol(H11Protocol):
    """uvicorn's, but it does not wait forever for a client that sends nothing, or slowly."""

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._seen: Any = None
        self._timer = self.loop.call_later(self.head_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close a connection on which no request has begun since the last look."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._seen:
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


class Server(uvicorn.Server):
    """uvicorn's, but it ends soon whatever is under way."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        ending.begin(sig)
        super().handle_exit(sig, frame)


def serve(
    backend: Backend, host: str, port: int, browser: bool, say: Callable[[str], None]
) -> None:
    """Answer until the process is interrupted."""
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    listening = bind(host, port)
    address = address_of(host, listening.getsockname()[1], token)
    say(address)
    say("Ctrl+C ends the server; unsaved work is lost.")
    running = Server(configuration(backend, host, token))
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    try:
        running.run([listening])
    finally:
        backend.close()


def configuration(backend: Backend, host: str, token: str | None) -> uvicorn.Config:
    return configured(application(backend, host, token))


def configured(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=Protocol, ws="none", lifespan="off",
        log_level="warning", access_log=False, server_header=False,
        limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=10,
        timeout_graceful_shutdown=1, proxy_headers=False,
    )  # fmt: skip


def address_of(host: str, port: int, token: str | None) -> str:
    """The page's address, with the token where one is needed."""
    name = socket.gethostname() if host in ANY_ADDRESS else host
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
