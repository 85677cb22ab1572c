"""A request, as the functions that answer it see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.responses import Response

from ..backend import Backend
from ..incoming import Incoming
from ..objects import MaskObject
from ..sessions import Picture, Session
from ..store import receive

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Incoming):
    """One request of a page: where it leads, what it brings, and what its handler waits for."""

    backend: Backend

    # Where it leads. Each raises Refusal, 404, where nothing is there.

    def session(self) -> Session:
        return self.backend.sessions.get(self.part("session"))

    def picture(self) -> Picture:
        return self.session().picture(self.part("picture"))

    def object(self) -> MaskObject:
        return self.picture().object(self.part("object"))

    # What it brings.

    async def upload(self, max_bytes: int) -> Path:
        """The request's body as a file in the store's folder."""
        declared = self.request.headers.get("content-length")
        return await receive(self.chunks(), self.backend.store, declared, max_bytes)

    # What its handler waits for.

    async def compute(self, task: Callable[[], T], hover: bool = False) -> T:
        """The result of quick work that needs the model; dropped when the client goes away."""
        queue, session = self.backend.queue, self.part("session")
        return await self.result_of(queue.submit(task, session, hover=hover))


Handler = Callable[[Call], Awaitable[Response | dict[str, Any] | None]]


def download(data: bytes, kind: str, name: str) -> Response:
    """A file for the browser to save."""
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    where = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(data, media_type=kind, headers={"Content-Disposition": where})
