"""A request, as the functions that answer it see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..backend import Backend
from ..errors import Refusal
from ..objects import MaskObject
from ..sessions import Picture, Session
from ..store import receive
from ..validate import Schema, check, parse

T = TypeVar("T")

MAX_JSON_BYTES = 4 << 20  # of a request
MAX_BODY_SECONDS = 600.0  # for a whole body


@dataclass(frozen=True)
class Call:
    """One request: where it leads, what it brings, and what its handler waits for."""

    backend: Backend
    request: Request
    schema: Schema  # of its JSON

    # Where it leads. Each raises Refusal, 404, where nothing is there.

    def session(self) -> Session:
        return self.backend.sessions.get(self.part("session"))

    def picture(self) -> Picture:
        return self.session().picture(self.part("picture"))

    def object(self) -> MaskObject:
        return self.picture().object(self.part("object"))

    def part(self, name: str) -> str:
        """A part of the address's path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        return self.request.query_params.get(name)

    # What it brings.

    async def json(self) -> dict[str, Any]:
        """The request's JSON, checked; an empty body is an empty object."""
        parts, count = [], 0
        async for part in self.chunks():
            count += len(part)
            if count > MAX_JSON_BYTES:
                raise Refusal(413, f"the request has more than {MAX_JSON_BYTES} bytes")
            parts.append(part)
        found = parse(b"".join(parts) or b"{}")
        check(found, self.schema)
        return dict(found)

    async def upload(self, max_bytes: int) -> Path:
        """The request's body as a file in the store's folder."""
        declared = self.request.headers.get("content-length")
        return await receive(self.chunks(), self.backend.store, declared, max_bytes)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body, within a time in all; the guard bounds that of each part."""
        end = time.monotonic() + MAX_BODY_SECONDS
        async for part in self.request.stream():
            if time.monotonic() > end:
                raise Refusal(408, "the request's body took too long")
            yield part

    # What its handler waits for.

    async def in_thread(self, task: Callable[..., T], *arguments: Any) -> T:
        """The result of work that takes time but not the model: decoding, compressing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.backend.threads, partial(task, *arguments))

    async def compute(self, task: Callable[[], T], hover: bool = False) -> T:
        """The result of quick work that needs the model; dropped when the client goes away."""
        job = self.backend.queue.submit(task, self.part("session"), hover=hover)
        made = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(self._disconnected())
        try:
            both: set[asyncio.Future[Any]] = {made, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                job.drop()
                raise ClientDisconnect
            return made.result()
        except (CancelledError, asyncio.CancelledError):
            if job.future.cancelled():
                raise job.why_cancelled() from None
            job.drop()
            raise
        finally:
            gone.cancel()

    async def _disconnected(self) -> None:
        """Returns when the client has gone away."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass


Handler = Callable[[Call], Awaitable[Response | dict[str, Any] | None]]


def download(data: bytes, kind: str, name: str) -> Response:
    """A file for the browser to save."""
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    where = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(data, media_type=kind, headers={"Content-Disposition": where})
