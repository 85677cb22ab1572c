"""A request, as the functions of the protocols see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from starlette.responses import Response

from ..files import read_file
from ..masks import Record
from ..web.errors import Refusal
from ..web.incoming import Incoming
from ..web.model import Encoded, Model
from ..web.objects import asks_for_three, prompt_of
from ..web.store import Content, receive
from ..web.validate import check, parse
from .backend import Backend
from .shared import Share

T = TypeVar("T")

MAX_HELD = 1 << 20  # bytes of a body that is not put into a file while it arrives
MAX_BESIDE = 4 << 20  # bytes of a body beside its picture


Begin = Callable[..., Share[list[Record]]]


@dataclass(frozen=True)
class Call(Incoming):
    """One request: what it brings, and what its handler waits for."""

    backend: Backend

    @property
    def owner(self) -> str:
        """The connection, whose requests in the queue are bounded."""
        return ":".join(map(str, self.request.client or ("unknown", 0)))

    # What it brings.

    async def read(self, use: Callable[[dict[str, Any]], T]) -> T:
        """What a function makes of the request's JSON, in a thread, for it may hold a picture."""
        body = await self._body()
        return await self.in_thread(partial(self._parsed, body, use))

    def _parsed(self, body: bytes | Path, use: Callable[[dict[str, Any]], T]) -> T:
        try:
            data = body if isinstance(body, bytes) else read_file(body, self._most)
        finally:
            if isinstance(body, Path):
                body.unlink(missing_ok=True)
        found = parse(data or b"{}")
        check(found, self.schema)
        return use(found)

    @property
    def _most(self) -> int:
        return self.backend.pictures.store.max_bytes * 4 // 3 + MAX_BESIDE

    async def _body(self) -> bytes | Path:
        """The body: a short one as it is, a long one as a file, so that many may arrive slowly."""
        declared = self.request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) <= MAX_HELD:
            return b"".join([part async for part in self.chunks()])
        store = self.backend.pictures.store
        return await receive(self.chunks(), store, declared, self._most)

    async def picture_file(self) -> Content:
        """The picture that is the request's whole body."""
        store = self.backend.pictures.store
        declared = self.request.headers.get("content-length")
        path = await receive(self.chunks(), store, declared, store.max_bytes)
        return await self.in_thread(self.backend.pictures.of_path, path)

    # What its handler waits for.

    async def encoded(self, model: Model, content: Content) -> Encoded:
        """A picture's embedding, made if need be."""
        if (kept := model.embeddings.get(content.key)) is not None:
            return Encoded(content.key, kept)
        return await self.result_of(self.backend.encode(model, content))

    async def masks(
        self,
        model: Model,
        content: Content,
        points: list[list[float]],
        labels: list[int],
        box: list[float] | None,
        multimask: bool | None = None,
    ) -> list[Record]:
        """Records of a prompt's masks, one or three, equal to ``SamPredictor.predict``'s.

        multimask: None leaves it to the prompt. Raises Refusal, 400, for an invalid prompt.
        """
        prompt = prompt_of(points, labels, box)
        if not prompt:
            raise Refusal(400, "the prompt is empty: give points with their labels, or a box")
        three = asks_for_three(prompt, multimask)
        picture = await self.encoded(model, content)
        work = partial(model.masks, picture, prompt, three)
        return await self.result_of(self.backend.queue.submit(work, self.owner))

    async def best(
        self,
        model: Model,
        content: Content,
        points: list[list[float]],
        labels: list[int],
        box: list[float] | None,
    ) -> Record:
        """The record of a prompt's best mask by its score."""
        found = await self.masks(model, content, points, labels, box)
        return max(found, key=lambda record: record["predicted_iou"])

    async def everything(
        self, begin: Callable[..., Share[list[Record]]], *given: Any
    ) -> list[Record]:
        """Records of everything: of one of the backend's searches, after the model and picture."""
        model, content = given[:2]
        await self.encoded(model, content)
        return await self.result_of(begin(*given, self.owner))


Handler = Callable[[Call], Awaitable["Response | dict[str, Any] | list[Any] | None"]]
