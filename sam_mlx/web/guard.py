"""What stands before the server: who may ask, what answers carry, and slow clients.

A page of another site can make a browser send requests here. So the Host of a request must be the
server's own (or a name that was made to point here, DNS rebinding, would do), its Origin too, and
where others than this machine can reach the server, a token is needed.
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
CHUNK_SECONDS = 20.0  # for a client to send or take the next part
CHUNK = 256 << 10  # bytes that are sent at a time


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Left(Exception):
    """A client takes nothing any more."""


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: App, host: str, token: str | None):
        self.app, self.host, self.token = app, host.strip("[]").lower(), token
        self.seconds = CHUNK_SECONDS

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _with_headers(self._paced(send), scope["path"])
        refused = self.refuse(scope)
        if refused is not None:
            await refused(scope, receive, answer)
            return
        try:
            await self.app(scope, self._awaited(receive), answer)
        except Left:
            return  # uvicorn closes the connection of an answer that has no end

    def refuse(self, scope: Message) -> Response | None:
        """An answer to who may not ask; to the page's address with its token, the page's own."""
        headers = Headers(scope=scope)
        if not self.knows(host_of(headers.get("host", ""))):
            return _error(403, "the request's Host is not this server's: open it by its address")
        origin = headers.get("origin")
        own = f"http://{headers['host']}".lower()
        if origin is not None and origin.lower() != own:
            return _error(403, "the request comes from a page of another site")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        ):
            return _error(403, "the request comes from a page of another site")
        return None if self.token is None else self._refuse_without_token(scope, headers)

    def knows(self, name: str) -> bool:
        """Whether a request's host is this server."""
        if is_loopback(self.host):
            return name in LOOPBACK | {self.host}
        if name == self.host or name in LOOPBACK:
            return True
        own = socket.gethostname().lower()
        return self.host in ANY_ADDRESS and (_is_address(name) or name in {own, f"{own}.local"})

    def _refuse_without_token(self, scope: Message, headers: Headers) -> Response | None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        port = (scope.get("server") or ("", 0))[1]
        cookie = f"sam_mlx_{port}"  # cookies of all ports of a host are one
        given = dict(query).get("token")
        if given is not None and self._is_token(given):
            if scope["path"] != "/":
                return None
            rest = urlencode([(k, v) for k, v in query if k != "token"])
            answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
            answer.set_cookie(cookie, given, httponly=True, samesite="strict", path="/")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(bearer) or self._is_token(_cookies(headers).get(cookie, "")):
            return None
        return _error(
            403, "the token is missing or wrong: open the address that the server printed"
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _awaited(self, receive: Receive) -> Receive:
        """Bodies must go on coming; waiting for a client to go away may take its time."""
        body_ended = False

        async def bounded() -> Message:
            nonlocal body_ended
            if body_ended:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.seconds)
            except asyncio.TimeoutError:
                return {"type": "http.disconnect"}
            body_ended = not message.get("more_body", False)
            return message

        return bounded

    def _paced(self, send: Send) -> Send:
        """Answers are sent in parts; a client that takes none for too long is left."""

        async def bounded(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self.seconds)
            except asyncio.TimeoutError:
                raise Left from None

        async def paced(message: Message) -> None:
            body = message.get("body", b"")
            if message["type"] != "http.response.body" or len(body) <= CHUNK:
                await bounded(message)
                return
            more = message.get("more_body", False)
            for i in range(0, len(body), CHUNK):
                last = i + CHUNK >= len(body)
                part = {**message, "body": body[i : i + CHUNK], "more_body": more or not last}
                await bounded(part)

        return paced


def _with_headers(send: Send, path: str) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault(
                "Cache-Control", "no-store" if path.startswith("/api") else "no-cache"
            )
        await send(message)

    return add


def host_of(header: str) -> str:
    """The name of a Host header, without the port."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {k: m.value for k, m in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)
