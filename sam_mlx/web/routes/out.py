"""What leaves the server: exported files, and lines of Python."""

from __future__ import annotations

from starlette.responses import Response

from .. import exports
from .call import Call, download


async def export(call: Call) -> Response:
    where = call.session(), call.picture(), call.part("format"), call.query("object")
    data, kind, name = await call.in_thread(exports.export, *where)
    return download(data, kind, name)


async def export_all(call: Call) -> Response:
    names = call.query("formats")
    chosen = exports.NAMES if names is None else tuple(names.split(","))
    data = await call.in_thread(exports.export_all, call.session(), chosen)
    return download(data, "application/zip", "sam-mlx.zip")


async def show_python(call: Call) -> Response:
    picture = call.picture()
    found = picture.object(call.query("object") or "")
    lines = exports.python(call.backend.model.arguments, picture, found)
    return Response(lines, media_type="text/plain; charset=utf-8")
