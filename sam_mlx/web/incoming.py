"""A request, as functions that answer it see it: what it brings, and what they wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request

from .errors import Refusal
from .validate import Schema, check, parse

T = TypeVar("T")

MAX_JSON_BYTES = 16 << 20  # of a request
MAX_BODY_SECONDS = 600.0  # for a whole body


class Awaited(Protocol[T]):
    """What a client can wait for, and give up: a ``queue.Job``, for one."""

    @property
    def future(self) -> Future[T]: ...

    def drop(self) -> None: ...

    def why_cancelled(self) -> Refusal: ...


@dataclass(frozen=True)
class Incoming:
    """One request. Its backend has ``threads``, for work that needs no model."""

    backend: Any
    request: Request
    schema: Schema  # of its JSON

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

    async def result_of(self, job: Awaited[T]) -> T:
        """The result of work that needs the model; dropped when the client goes away."""
        made = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(self._disconnected())
        try:
            both: set[asyncio.Future[Any]] = {made, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                made.add_done_callback(_seen)
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


def _seen(made: asyncio.Future[Any]) -> None:
    """Nobody reads the result any more: take note of its error, or asyncio complains."""
    if not made.cancelled():
        made.exception()
