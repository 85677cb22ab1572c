"""The application: the endpoints of all protocols over a backend, behind the guard's layers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..files import to_json
from ..web.application import failed, left, unrouted
from ..web.errors import Refusal, is_expected, sentence
from ..web.guard import App, guarded
from ..web.openapi import Endpoint
from .backend import Backend
from .call import Call
from .key import Key
from .tool import Tool


def application(
    backend: Backend, tools: Sequence[Tool], host: str = "127.0.0.1", token: str | None = None
) -> App:
    """The ASGI application of a server that listens on ``host``.

    token: what requests must carry; None if only this machine can reach the server.
    """
    errors: dict[Any, Any] = {
        HTTPException: unrouted, Exception: failed, ClientDisconnect: left,
    }  # fmt: skip
    routes = [route(backend, tool, endpoint) for tool in tools for endpoint in tool.endpoints]
    app: App = Starlette(routes=routes, exception_handlers=errors)
    return guarded(app if token is None else Key(app, token), host, None)


def route(backend: Backend, tool: Tool, endpoint: Endpoint) -> Route:
    schema = endpoint.body if isinstance(endpoint.body, dict) else {}

    async def handle(request: Request) -> Response:
        try:
            answer = await endpoint.handler(Call(backend, request, schema))
        except ClientDisconnect:
            raise
        except asyncio.CancelledError:  # by uvicorn, or of a search when the server ends
            return refused(tool, Refusal(503, "the server is ending"))
        except Exception as error:
            return refused(tool, error)
        if isinstance(answer, Response):
            return answer
        return Response(to_json(answer), endpoint.status, media_type="application/json")

    return Route(endpoint.path, handle, methods=[endpoint.method])


def refused(tool: Tool, error: Exception) -> Response:
    """An error in the tool's form. Details of an unexpected one stay in the terminal."""
    if not is_expected(error):
        logging.getLogger(__name__).error("a request failed", exc_info=error)
    status = status_of(error)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(tool.refusal(status, sentence(error)), status, headers)


def status_of(error: Exception) -> int:
    if isinstance(error, Refusal):
        return error.status
    if isinstance(error, ImportError):
        return 501
    return 400 if isinstance(error, ValueError) else 500
