"""Pictures: added, shown, encoded, removed, and asked for masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import Response

from ...formats.large import LARGE_FORMATS
from ..backend import Backend
from ..errors import Refusal
from ..large import LargeContent, answer
from ..model import Encoded, Model, compact
from ..names import clean_name, clean_path
from ..objects import asks_for_three, check_start, prompt_of
from ..sessions import Picture
from .call import Call

CACHED = {"Cache-Control": "private, max-age=3600"}


def shown(backend: Backend, picture: Picture) -> dict[str, Any]:
    content = picture.content
    height, width = content.size
    share = backend.encoding_share(content)
    return {
        "id": picture.id, "name": picture.name, "width": width, "height": height,
        "tiles": content.tiles and {**content.tiles, "formats": list(LARGE_FORMATS)},
        "ready": content.tiles is not None or content.key in backend.model.embeddings,
        "encoding": None if share is None else {"done": share},
        "done": picture.done, "error": content.error, "notice": content.notice,
        "objects": [found.show() for found in picture.in_order()],
    }  # fmt: skip


async def add_picture(call: Call) -> dict[str, Any]:
    session, store = call.session(), call.backend.store
    path = await call.upload(store.max_bytes)
    content = await call.in_thread(store.of_upload, path, store.value_range)
    folder = clean_path(call.query("folder") or "", "")
    return shown(call.backend, session.add(clean_name(call.query("name")), content, folder))


async def show_picture(call: Call) -> dict[str, Any]:
    return shown(call.backend, call.picture())


async def change_picture(call: Call) -> dict[str, Any]:
    picture, given = call.picture(), await call.json()
    picture.done = given.get("done", picture.done)
    call.session().changed(picture)
    return shown(call.backend, picture)


async def remove_picture(call: Call) -> None:
    call.backend.stop(call.session().remove(call.part("picture")))


async def restore_picture(call: Call) -> dict[str, Any]:
    return shown(call.backend, call.session().restore(call.part("picture")))


async def show_image(call: Call) -> Response:
    data, kind = await call.in_thread(call.picture().content.shown)
    return Response(data, media_type=kind, headers=CACHED)


async def show_thumbnail(call: Call) -> Response:
    data = await call.in_thread(call.picture().content.thumbnail)
    return Response(data, media_type="image/jpeg", headers=CACHED)


async def show_tile(call: Call) -> Response:
    content = call.picture().content
    place = [call.part(name) for name in ("level", "column", "row")]
    if not isinstance(content, LargeContent) or not all(fits(part) for part in place):
        raise Refusal(404, "the picture has no such tile")
    data = await call.in_thread(content.tile, *map(int, place))
    return Response(data, media_type="image/jpeg", headers=CACHED)


def fits(text: str) -> bool:
    """Whether a part of a tile's address is a number of a sensible size."""
    return text.isascii() and text.isdecimal() and len(text) < 8


async def encode(call: Call) -> dict[str, Any]:
    session, picture = call.session(), call.picture()
    session.selected = picture.id
    call.backend.encode(picture.content, session.id)
    return shown(call.backend, picture)


async def predict(call: Call) -> dict[str, Any]:
    content, model = call.picture().content, call.backend.model
    given = await call.json()
    check_start(start := given.get("start"), content.size)
    prompt = prompt_of(given.get("points"), given.get("labels"), given.get("box"), start)
    if not prompt:
        raise Refusal(400, "the prompt is empty: give points with their labels, or a box")
    three = asks_for_three(prompt, given.get("multimask", True))
    work: Callable[[], dict[str, Any]]
    if isinstance(content, LargeContent):
        work = partial(answer, model, content, prompt, three, given.get("scale", 1))
    else:
        work = partial(whole, model, model.encoded(content.key), prompt, three)
    found = await call.compute(work, given.get("hover", False))
    masks = found["masks"]
    best = max(range(len(masks)), key=lambda i: masks[i]["score"])
    if given.get("compact", False):
        for i, mask in enumerate(masks):
            mask["logits"] = compact(mask["logits"]) if i == best else None
    return {"request": given.get("request", 0), "best": best, **found}


def whole(model: Model, encoded: Encoded, prompt: dict[str, Any], three: bool) -> dict[str, Any]:
    """Masks over the whole picture."""
    return {"masks": model.answer(encoded, prompt, three), "window": None}
