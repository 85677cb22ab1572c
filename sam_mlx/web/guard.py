"""Layers before the application: who may ask, headers of every answer, and slow clients.

A page of another site can make a browser send requests here. So the Host of a request must be the
server's own, or any name made to point here would work (DNS rebinding); so must its Origin; and a
token is needed: other machines may reach the server, and other users of this one always can.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
ANY_ADDRESS = {"", "0.0.0.0", "::"}
CHUNK_SECONDS = 20.0  # for a client to send or receive the next part
CHUNK = 256 << 10  # bytes that are sent at a time


def guarded(app: App, host: str, token: str | None, ticket: str | None = None) -> App:
    """An application behind all layers, on a server that listens on ``host``."""
    if token is not None:
        app = Token(app, token, ticket)
    return Pace(SafeHeaders(Hosts(Origins(app), host)))


class Check:
    """A layer that lets a request through, or answers it itself."""

    def __init__(self, app: App):
        self.app = app

    def refuse(self, scope: Message, headers: Headers) -> Response | None:
        raise NotImplementedError

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        answer = self.refuse(scope, Headers(scope=scope)) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)


class Hosts(Check):
    """The Host of a request must be one of the server's names."""

    def __init__(self, app: App, host: str):
        super().__init__(app)
        self.host = host.strip("[]").lower()

    def refuse(self, scope: Message, headers: Headers) -> Response | None:
        if self.knows(host_of(headers.get("host", ""))):
            return None
        return error(403, "the request's Host is not this server's: open it by its address")

    def knows(self, name: str) -> bool:
        if is_loopback(self.host):
            return name in LOOPBACK | {self.host}
        # No name of another site can be an address, or this machine's name.
        return name == self.host or name in LOOPBACK | own_names() or is_address(name)


def own_names() -> set[str]:
    """This machine's names on local networks."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return {name, short, f"{short}.local"}


class Origins(Check):
    """A page that makes requests must be this server's own; links to it may be anywhere."""

    def refuse(self, scope: Message, headers: Headers) -> Response | None:
        origin, own = headers.get("origin"), f"http://{headers['host']}"
        foreign = origin is not None and origin.lower() != own.lower()
        is_link = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
            foreign = True
        return error(403, "the request comes from a page of another site") if foreign else None


class Token(Check):
    """A request must carry the token: in its query, as a bearer, or in the page's cookie.

    The page's address with the token sets the cookie, and redirects to itself without the token.
    """

    def __init__(self, app: App, token: str, ticket: str | None = None):
        super().__init__(app)
        self.token = token
        self.ticket = ticket  # as the token in the page's address, for one use

    def refuse(self, scope: Message, headers: Headers) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        port = (scope.get("server") or ("", 0))[1]
        cookie = f"sam_mlx_{port}"  # a host has one set of cookies for all its ports
        given = dict(query).get("token")
        if given is not None and scope["path"] == "/" and self.ticket == given:
            self.ticket = None
            return self.keep(cookie, query)
        if given is not None and self.fits(given):
            return self.keep(cookie, query) if scope["path"] == "/" else None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self.fits(bearer) or self.fits(cookies(headers).get(cookie, "")):
            return None
        return error(403, "the token is missing or wrong: open the address that the server printed")

    def fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def keep(self, cookie: str, query: list[tuple[str, str]]) -> Response:
        # Strict cookies are not sent on the way here from a link in another page; writing requests
        # have to come from this one in any case.
        rest = urlencode([(k, v) for k, v in query if k != "token"])
        answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        answer.set_cookie(cookie, self.token, httponly=True, samesite="lax", path="/")
        return answer


class SafeHeaders:
    """Headers of every answer that forbid browsers what the page does not need."""

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                is_api = scope["path"].startswith("/api")
                headers.setdefault("Cache-Control", "no-store" if is_api else "no-cache")
            await send(message)

        await self.app(scope, receive, add)


class Left(Exception):
    """The client stopped reading."""


class Pace:
    """A time limit for each part of a body to arrive, and of an answer to be received."""

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, awaited(receive), paced(send))
        except (Left, asyncio.CancelledError):  # the latter when the server ends
            return  # uvicorn closes the connection of an answer that has no end


def awaited(receive: Receive) -> Receive:
    """The body must keep coming; after that, waiting for the client to leave has no limit."""
    body_ended = False

    async def bounded() -> Message:
        nonlocal body_ended
        if body_ended:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), CHUNK_SECONDS)
        except asyncio.TimeoutError:
            return {"type": "http.disconnect"}
        body_ended = not message.get("more_body", False)
        return message

    return bounded


def paced(send: Send) -> Send:
    """Answers are sent in parts. Raises Left when a client receives none for too long."""

    async def bounded(message: Message) -> None:
        try:
            await asyncio.wait_for(send(message), CHUNK_SECONDS)
        except asyncio.TimeoutError:
            raise Left from None

    async def in_parts(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) <= CHUNK:
            await bounded(message)
            return
        more = message.get("more_body", False)
        for i in range(0, len(body), CHUNK):
            last = i + CHUNK >= len(body)
            part = {**message, "body": body[i : i + CHUNK], "more_body": more or not last}
            await bounded(part)

    return in_parts


def host_of(header: str) -> str:
    """The name of a Host header, without the port."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def cookies(headers: Headers) -> dict[str, str]:
    try:
        return {k: m.value for k, m in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)
