"""The application: handlers of the API's endpoints, and the page's files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..messages import one_line
from ..sam import Sam
from . import archive, exports
from .api import ENDPOINTS, Endpoint, document
from .editing import apply, change, record_of
from .errors import Refusal, Stopped
from .everything import choose_from, show
from .guard import Guard
from .model import Model
from .pictures import MOST_BYTES, MOST_PIXELS, Content, Store, clean_name, receive
from .schema import check, parse
from .sessions import Everything, Picture, Session, Sessions
from .worker import ENCODE, EVERYTHING, Worker

T = TypeVar("T")

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css",
         ".svg": "image/svg+xml", ".png": "image/png", ".json": "application/json"}  # fmt: skip
JSON_BYTES = 4 << 20  # of a request
UPLOAD_SECONDS = 600.0  # for a whole body
THREADS = 2  # that decode and compress pictures
ENCODE_SECONDS = 1.0  # a guess, until one was encoded


class Server:
    """Everything that lives as long as the server."""

    def __init__(
        self,
        model: Sam,
        name: str,
        pictures: list[Path],
        *,
        max_pixels: int = MOST_PIXELS,
        max_bytes: int = MOST_BYTES,
        options: dict[str, Any] | None = None,
    ):
        self.store = Store(max_pixels, max_bytes)
        self.model = Model(model, name, options or {})
        self.worker = Worker()
        self.left_out: list[str] = []  # pictures of the command line, and why
        self.sessions = Sessions([one for path in pictures for one in self.first_picture(path)])
        self.seconds_per_encoding = ENCODE_SECONDS
        self.upload_seconds = UPLOAD_SECONDS
        self.threads = ThreadPoolExecutor(THREADS, "sam_mlx.web.files")

    def first_picture(self, path: Path) -> list[tuple[str, Content]]:
        """A picture of the command line; what is none is left out."""
        try:
            return [(clean_name(path.name), self.store.of_file(path))]
        except (Refusal, OSError) as error:
            self.left_out.append(f"{path}: {error}")
            return []

    def app(self, host: str = "127.0.0.1", token: str | None = None) -> Guard:
        routes = [Route("/", self.page), Route("/page/{name}", self.page)]
        routes += [Route(e.path, self.handler(e), methods=[e.method]) for e in ENDPOINTS]
        errors: dict[Any, Any] = {
            Refusal: refused, HTTPException: unrouted, Exception: failed,
            ClientDisconnect: left,
        }  # fmt: skip
        return Guard(Starlette(routes=routes, exception_handlers=errors), host, token)

    def handler(self, endpoint: Endpoint) -> Callable[[Request], Any]:
        do = getattr(self, endpoint.handler)

        async def handle(request: Request) -> Response:
            answer = await do(request, endpoint)
            if isinstance(answer, Response):
                return answer
            if endpoint.status == 204:
                return Response(status_code=204)
            return JSONResponse(answer, endpoint.status)

        return handle

    def close(self) -> None:
        self.worker.close()
        self.threads.shutdown(cancel_futures=True)
        self.store.close()

    # What handlers share.

    def session(self, request: Request) -> Session:
        return self.sessions.get(request.path_params["session"])

    def picture(self, request: Request) -> tuple[Session, Picture]:
        session = self.session(request)
        return session, session.picture(request.path_params["picture"])

    async def in_thread(self, task: Callable[..., T], *arguments: Any) -> T:
        """What takes time and not the model: decoding, compressing."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, partial(task, *arguments))

    async def body(self, request: Request, endpoint: Endpoint) -> dict[str, Any]:
        """The request's JSON, checked; an empty body is an empty object."""
        parts, count = [], 0
        async for part in self.chunks(request):
            count += len(part)
            if count > JSON_BYTES:
                raise Refusal(413, f"the request has more than {JSON_BYTES} bytes")
            parts.append(part)
        found = parse(b"".join(parts) or b"{}")
        assert isinstance(endpoint.body, dict)
        check(found, endpoint.body)
        return dict(found)

    async def chunks(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, within a time in all; each part has its own in the guard."""
        end = time.monotonic() + self.upload_seconds
        async for part in request.stream():
            if time.monotonic() > end:
                raise Refusal(408, "the request's body took too long")
            yield part

    async def upload(self, request: Request, most: int) -> Path:
        declared = request.headers.get("content-length")
        return await receive(self.chunks(request), self.store, declared, most)

    async def result(self, request: Request, future: Future[T]) -> T:
        """What the worker makes, unless the client goes away first: then it is dropped."""
        made = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(disconnected(request))
        try:
            both: set[asyncio.Future[Any]] = {made, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                self.worker.drop(future)
                raise ClientDisconnect
            return made.result()
        except (CancelledError, asyncio.CancelledError):
            if future.cancelled():
                raise Refusal(503, "the server ends") from None
            self.worker.drop(future)
            raise
        finally:
            gone.cancel()

    # Sessions.

    def welcome(self, session: Session) -> dict[str, Any]:
        return {
            "session": session.id,
            "model": self.model.describe(),
            "limits": {"bytes": self.store.most_bytes, "pixels": self.store.most_pixels},
            "formats": list(exports.NAMES),
        }

    async def create_session(self, request: Request, endpoint: Endpoint) -> Any:
        return self.welcome(self.sessions.create())

    async def open_session(self, request: Request, endpoint: Endpoint) -> Any:
        path = await self.upload(request, archive.MOST_BYTES)
        try:
            session = await self.in_thread(archive.load, path, self.store)
        finally:
            path.unlink(missing_ok=True)
        return self.welcome(self.sessions.create(session))

    async def show_session(self, request: Request, endpoint: Endpoint) -> Any:
        session = self.session(request)
        pictures = [self.show(p) for p in session.pictures.values()]
        return {"pictures": pictures, "selected": session.selected}

    async def save_session(self, request: Request, endpoint: Endpoint) -> Any:
        data = await self.in_thread(archive.save, self.session(request))
        return download(data, "application/zip", "session.sam-mlx.zip")

    async def end_session(self, request: Request, endpoint: Endpoint) -> Any:
        for picture in self.sessions.end(request.path_params["session"]).pictures.values():
            self.forget(picture)

    async def export_all(self, request: Request, endpoint: Endpoint) -> Any:
        data = await self.in_thread(exports.everything_of, self.session(request))
        return download(data, "application/zip", "sam-mlx.zip")

    # Pictures.

    def show(self, picture: Picture) -> dict[str, Any]:
        content = picture.content
        height, width = content.size
        done = None
        if (since := content.encoding) is not None:
            passed = time.monotonic() - since
            done = {"done": min(passed / self.seconds_per_encoding, 0.95)}
        return {
            "id": picture.id, "name": picture.name, "width": width, "height": height,
            "ready": content.key in self.model.embeddings, "encoding": done,
            "error": content.error, "objects": [o.show() for o in picture.objects.values()],
        }  # fmt: skip

    async def add_picture(self, request: Request, endpoint: Endpoint) -> Any:
        session = self.session(request)
        path = await self.upload(request, self.store.most_bytes)
        content = await self.in_thread(self.store.of_upload, path)
        return self.show(session.add(clean_name(request.query_params.get("name")), content))

    async def show_picture(self, request: Request, endpoint: Endpoint) -> Any:
        return self.show(self.picture(request)[1])

    async def remove_picture(self, request: Request, endpoint: Endpoint) -> Any:
        session, picture = self.picture(request)
        session.remove(picture.id)
        self.forget(picture)

    async def show_image(self, request: Request, endpoint: Endpoint) -> Any:
        data, kind = await self.in_thread(self.picture(request)[1].content.shown)
        return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    async def show_thumbnail(self, request: Request, endpoint: Endpoint) -> Any:
        data = await self.in_thread(self.picture(request)[1].content.thumbnail)
        return Response(
            data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"}
        )

    async def encode(self, request: Request, endpoint: Endpoint) -> Any:
        session, picture = self.picture(request)
        session.selected = picture.id
        content = picture.content
        if content.key not in self.model.embeddings and content.encoding is None:
            work = partial(self.encode_now, content)
            future = self.worker.submit(work, session.id, ENCODE)
            content.error, content.encoding = None, time.monotonic()
            future.add_done_callback(partial(encoded, content))
        return self.show(picture)

    def encode_now(self, content: Content) -> None:
        """In the worker's thread."""
        pixels = content.pixels()
        if content.key in self.model.embeddings:  # the same file was sent, too
            return
        content.encoding = start = time.monotonic()
        self.model.encode(content.key, pixels)
        self.seconds_per_encoding = max(time.monotonic() - start, 0.01)

    def forget(self, picture: Picture) -> None:
        if picture.everything:
            self.stop(picture.everything)

    async def predict(self, request: Request, endpoint: Endpoint) -> Any:
        session, picture = self.picture(request)
        given = await self.body(request, endpoint)
        prompt = record_of(given)
        embedding = self.model.embeddings.get(picture.content.key)
        work = partial(self.model.answer, embedding, prompt, given.get("multimask", True))
        hover = given.get("hover", False)
        masks = await self.result(request, self.worker.submit(work, session.id, hover=hover))
        best = max(range(len(masks)), key=lambda i: masks[i]["score"])
        return {"request": given.get("request", 0), "best": best, "masks": masks}

    # Objects.

    async def add_object(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        given = await self.body(request, endpoint)
        added = await self.changed(request, picture, picture.new_object(), given)
        picture.objects[added.id] = added
        return added.show()

    async def change_object(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        before = picture.object(request.path_params["object"])
        given = await self.body(request, endpoint)
        after = await self.changed(request, picture, before, given)
        if picture.objects.get(before.id) is None:
            raise Refusal(404, "there is no such object")
        picture.objects[before.id] = after
        return after.show()

    async def changed(
        self, request: Request, picture: Picture, before: Any, given: dict[str, Any]
    ) -> Any:
        """An object after a change; where its mask changes, the worker makes it."""
        after, what = change(before, given, picture.size)
        if not what:
            return after
        embedding = None
        if "base" in what and after.everything is None and after.prompt:
            embedding = self.model.embeddings.get(picture.content.key)
        work = partial(apply, self.model, picture, after, what, embedding)
        owner = request.path_params["session"]
        return await self.result(request, self.worker.submit(work, owner))

    async def remove_object(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        del picture.objects[picture.object(request.path_params["object"]).id]

    # Everything.

    async def start_everything(self, request: Request, endpoint: Endpoint) -> Any:
        session, picture = self.picture(request)
        given = await self.body(request, endpoint)
        embedding = self.model.embeddings.get(picture.content.key)
        run = Everything(picture.runs(), given.get("points_per_side", 32))
        work = partial(self.search, run, embedding)
        future = self.worker.submit(work, session.id, EVERYTHING)
        self.forget(picture)
        picture.everything, run.future = run, future
        return {"done": 0.0, "masks": None}

    def search(self, run: Everything, embedding: Any) -> None:
        """In the worker's thread; between batches come those who wait for less."""

        def progress(done: float) -> None:
            run.done = min(done, 0.99)
            self.worker.between()
            if run.stopped:
                raise Stopped

        try:
            run.records = self.model.everything(embedding, run.points_per_side, progress)
            run.done = 1.0
        except Exception as error:
            run.error = said(error)
            raise

    def stop(self, run: Everything) -> None:
        run.stopped = True
        if run.future:
            self.worker.drop(run.future)

    def run_of(self, picture: Picture) -> Everything:
        if picture.everything is None:
            raise Refusal(404, "everything was not searched for in this picture: start it first")
        if picture.everything.error is not None:
            raise Refusal(409, picture.everything.error)
        return picture.everything

    async def show_everything(self, request: Request, endpoint: Endpoint) -> Any:
        run = self.run_of(self.picture(request)[1])
        masks = None if run.records is None else await self.in_thread(show, run)
        return {"done": run.done, "masks": masks}

    async def stop_everything(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        self.forget(picture)
        picture.everything = None

    async def select(self, request: Request, endpoint: Endpoint) -> Any:
        session, picture = self.picture(request)
        given = await self.body(request, endpoint)
        work = partial(choose_from, self.run_of(picture), given)
        return await self.result(request, self.worker.submit(work, session.id))

    # Out.

    async def export(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        chosen = request.query_params.get("object")
        name = request.path_params["format"]
        data, kind, file = await self.in_thread(exports.export, picture, name, chosen)
        return download(data, kind, file)

    async def show_python(self, request: Request, endpoint: Endpoint) -> Any:
        _, picture = self.picture(request)
        found = picture.object(request.query_params.get("object", ""))
        lines = exports.python(self.model.arguments, picture, found)
        return Response(lines, media_type="text/plain; charset=utf-8")

    async def show_openapi(self, request: Request, endpoint: Endpoint) -> Any:
        return document()

    async def page(self, request: Request) -> Response:
        """Files of the page, by the names that there are: no path is made of what is asked."""
        files = {path.name: path for path in PAGE.iterdir()} if PAGE.is_dir() else {}
        path = files.get(request.path_params.get("name", "index.html"))
        if path is None or path.suffix not in TYPES:
            raise Refusal(404, "there is no such file of the page")
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])


def encoded(content: Content, future: Future[None]) -> None:
    content.encoding = None
    if not future.cancelled() and (error := future.exception()):
        content.error = said(error)


async def disconnected(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def download(data: bytes, kind: str, name: str) -> Response:
    ascii_name = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    where = f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(data, media_type=kind, headers={"Content-Disposition": where})


def said(error: BaseException) -> str:
    """A sentence for the client; what was not meant for it stays here."""
    if isinstance(error, Stopped):
        return "it was stopped"
    known = isinstance(error, (Refusal, ValueError, ImportError))
    return one_line(error) if known else "the server failed; its terminal says why"


async def refused(request: Request, error: Refusal) -> Response:
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse({"error": str(error)}, error.status, headers)


async def unrouted(request: Request, error: HTTPException) -> Response:
    sentence = {404: "there is no such address", 405: "that is not done with this address"}
    text = sentence.get(error.status_code, str(error.detail))
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def left(request: Request, error: ClientDisconnect) -> Response:
    """Nobody reads it, unless the body came too slowly."""
    return JSONResponse({"error": "the request's body did not come"}, 408)


async def failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": said(error)}, 500)
