"""Pictures: added, shown, encoded, removed, and asked for masks."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.responses import Response

from ..backend import Backend
from ..errors import Refusal
from ..objects import asks_for_three, check_start, prompt_of
from ..sessions import Picture
from ..store import clean_name
from .call import Call

CACHED = {"Cache-Control": "private, max-age=3600"}


def shown(backend: Backend, picture: Picture) -> dict[str, Any]:
    content = picture.content
    height, width = content.size
    share = backend.encoding_share(content)
    return {
        "id": picture.id, "name": picture.name, "width": width, "height": height,
        "ready": content.key in backend.model.embeddings,
        "encoding": None if share is None else {"done": share},
        "error": content.error, "objects": [found.show() for found in picture.in_order()],
    }  # fmt: skip


async def add_picture(call: Call) -> dict[str, Any]:
    session, store = call.session(), call.backend.store
    path = await call.upload(store.max_bytes)
    content = await call.in_thread(store.of_upload, path, store.value_range)
    return shown(call.backend, session.add(clean_name(call.query("name")), content))


async def show_picture(call: Call) -> dict[str, Any]:
    return shown(call.backend, call.picture())


async def remove_picture(call: Call) -> None:
    call.backend.stop(call.session().remove(call.part("picture")))


async def show_image(call: Call) -> Response:
    data, kind = await call.in_thread(call.picture().content.shown)
    return Response(data, media_type=kind, headers=CACHED)


async def show_thumbnail(call: Call) -> Response:
    data = await call.in_thread(call.picture().content.thumbnail)
    return Response(data, media_type="image/jpeg", headers=CACHED)


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
    encoded = model.encoded(content.key)
    three = asks_for_three(prompt, given.get("multimask", True))
    work = partial(model.answer, encoded, prompt, three)
    masks = await call.compute(work, given.get("hover", False))
    best = max(range(len(masks)), key=lambda i: masks[i]["score"])
    return {"request": given.get("request", 0), "best": best, "masks": masks}
