"""The application: the API's endpoints over a backend, the page's files, and errors as answers."""

from __future__ import annotations

import asyncio
import errno
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .backend import Backend
from .endpoints import ENDPOINTS, Endpoint
from .errors import Refusal, sentence
from .guard import App, guarded
from .routes.call import Call

TROUBLE = "X-Not-Kept"  # why a session's newest changes are not on disk
LEVEL = 6  # of compression: 0.8 ms for a hover's answer, and 15 % smaller than the fastest
MIN_COMPRESSED = 1400  # bytes; shorter answers fit a packet
PAGE = Path(__file__).parent / "page"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # errors of a disk without room
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css",
         ".svg": "image/svg+xml", ".png": "image/png", ".json": "application/json"}  # fmt: skip


def application(
    backend: Backend,
    host: str = "127.0.0.1",
    token: str | None = None,
    ticket: str | None = None,
) -> App:
    """The ASGI application of a server that listens on ``host``.

    token: what requests must carry; None lets everybody in who can reach the server. ticket: a
    token for the page's address, for one use.
    """
    errors: dict[Any, Any] = {
        Refusal: refused, HTTPException: unrouted, Exception: failed, ClientDisconnect: left,
        OSError: full,
    }  # fmt: skip
    return guarded(
        Starlette(routes=routes(backend), exception_handlers=errors), host, token, ticket
    )


def routes(backend: Backend) -> list[Route]:
    of_the_api = [Route(e.path, route(backend, e), methods=[e.method]) for e in ENDPOINTS]
    return [Route("/", page), Route("/page/{name}", page), *of_the_api]


def route(backend: Backend, endpoint: Endpoint) -> Callable[[Request], Any]:
    schema = endpoint.body if isinstance(endpoint.body, dict) else {}

    async def handle(request: Request) -> Response:
        try:
            answer = await endpoint.handler(Call(backend, request, schema))
            session = backend.sessions.find(request.path_params.get("session", ""))
            if session is not None:
                await backend.keep(session)
        except asyncio.CancelledError:  # by uvicorn
            raise Refusal(503, "the server is ending") from None
        response = response_of(request, answer, endpoint.status)
        if session is not None and session.trouble is not None:
            response.headers[TROUBLE] = quote(session.trouble)
        return response

    return handle


def response_of(
    request: Request, answer: Response | dict[str, Any] | None, status: int
) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=status)
    return smaller(request, JSONResponse(answer, status))


async def page(request: Request) -> Response:
    """A file of the page, looked up among those that exist: a request never becomes a path."""
    files = {path.name: path for path in PAGE.iterdir()} if PAGE.is_dir() else {}
    path = files.get(request.path_params.get("name", "index.html"))
    if path is None or path.suffix not in TYPES:
        raise Refusal(404, "there is no such file of the page")
    return smaller(request, Response(path.read_bytes(), media_type=TYPES[path.suffix]))


def smaller(request: Request, answer: Response) -> Response:
    """Texts compressed, for clients that take them so."""
    accepted = request.headers.get("accept-encoding", "")
    if len(answer.body) < MIN_COMPRESSED or "gzip" not in accepted:
        return answer
    answer.body = gzip.compress(bytes(answer.body), compresslevel=LEVEL)
    answer.headers["Content-Length"] = str(len(answer.body))
    answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding"
    return answer


# Errors as answers.


async def refused(request: Request, error: Refusal) -> Response:
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse({"error": str(error)}, error.status, headers)


async def unrouted(request: Request, error: HTTPException) -> Response:
    known = {404: "there is no such address", 405: "this address does not take that method"}
    text = known.get(error.status_code, str(error.detail))
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def left(request: Request, error: ClientDisconnect) -> Response:
    """This answer is not read, unless the body came too slowly."""
    return JSONResponse({"error": "the request's body did not arrive"}, 408)


async def full(request: Request, error: OSError) -> Response:
    if error.errno not in FULL:
        raise error
    why = "the server's disk has no room for this: make some, then try again"
    return JSONResponse({"error": why}, 507)


async def failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": sentence(error)}, 500)
