"""The token that requests carry, wherever each tool can put it."""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response

from ..web.guard import App, Check, Message, Receive, Send, error

PREFIX = "/token/"  # of addresses: for tools that send nothing but an address


class Key(Check):
    """A request must carry the token: in the header Token, as Authorization (a bearer, the
    password of basic authentication, or after the word Token), in its query, or before its path.
    """

    def __init__(self, app: App, token: str):
        super().__init__(app)
        self.token = token.encode()

    def refuse(self, scope: Message, headers: Headers) -> Response | None:
        given = [headers.get("token", ""), *authorized(headers), *in_query(scope)]
        if any(self.fits(one) for one in given):
            return None
        return error(403, "the token is missing or wrong: it is on the first screen of the server")

    def fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(PREFIX):
            token, slash, rest = path.removeprefix(PREFIX).partition("/")
            if slash and self.fits(token):
                await self.app({**scope, "path": f"/{rest}"}, receive, send)
                return
        await super().__call__(scope, receive, send)


def authorized(headers: Headers) -> list[str]:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token"):
        return [value]
    if kind.lower() != "basic":
        return []
    try:
        return [base64.b64decode(value, validate=True).decode().partition(":")[2]]
    except (binascii.Error, ValueError):
        return []


def in_query(scope: Message) -> list[str]:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [])


def with_token(address: str, token: str | None) -> str:
    """A server's address, for tools that send nothing but an address."""
    return f"{address.rstrip('/')}{PREFIX}{token}/" if token else address
