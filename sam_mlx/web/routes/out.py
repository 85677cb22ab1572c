"""What leaves the server: exported files, and lines of Python. And what comes in: annotations."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .. import exports, imports
from ..names import clean_name
from .call import Call, download


async def export(call: Call) -> Response:
    session, picture = call.session().as_it_is(), call.picture().id
    where = session, session.picture(picture), call.part("format"), call.query("object")
    data, kind, name = await call.in_thread(exports.export, *where)
    return download(data, kind, name)


async def export_all(call: Call) -> Response:
    names = call.query("formats")
    chosen = exports.NAMES if names is None else tuple(names.split(","))
    data = await call.in_thread(exports.export_all, call.session().as_it_is(), chosen)
    return download(data, "application/zip", "sam-mlx.zip")


async def show_python(call: Call) -> Response:
    picture = call.picture()
    found = picture.object(call.query("object") or "")
    model = call.backend.model
    lines = exports.python(model.arguments, picture, found, model.config.image_size)
    return Response(lines, media_type="text/plain; charset=utf-8")


async def import_file(call: Call) -> dict[str, Any]:
    session, name = call.session(), clean_name(call.query("name"), "annotations")
    path = await call.upload(imports.MAX_BYTES)
    adding = imports.Adding(session, name)
    try:
        await call.in_thread(lambda: adding.read(path.read_bytes()))
    finally:
        path.unlink(missing_ok=True)
    added = adding.finish()
    return {
        "classes": [each.show() for each in session.classes], "revision": session.revision,
        "pictures": [
            {"id": picture, "objects": [found.show() for found in objects]}
            for picture, objects in added.items()
        ],
        "left_out": adding.left_out,
    }  # fmt: skip
