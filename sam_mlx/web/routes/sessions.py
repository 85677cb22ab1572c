"""Sessions: begun, shown, saved, opened again, ended."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from .. import archive, automatic, classes, exports
from ..errors import Refusal
from ..guard import is_loopback
from ..instances import Thresholds
from ..sessions import Session
from .call import Call, download
from .pictures import shown


def welcome(call: Call, session: Session) -> dict[str, Any]:
    """All that a page has to know of the server."""
    backend = call.backend
    return {
        "session": session.id,
        "model": backend.model.describe(),
        "limits": {"bytes": backend.store.max_bytes, "pixels": backend.store.max_pixels},
        "formats": list(exports.NAMES),
        "automatic": {
            **automatic.defaults(backend.model.config),
            **asdict(Thresholds()),
            "mode": "amg" if backend.model.segmenter is None else "ais",
        },
        "kept": backend.keeper is not None,
        "file": file_of(call, session),
    }


def file_of(call: Call, session: Session) -> str | None:
    """The file that keeps the session, for a page on this machine, where a shell finds it too."""
    keeper, client = call.backend.keeper, call.request.client
    is_here = client is not None and is_loopback(client.host)
    return os.path.abspath(keeper.path(session.id)) if keeper is not None and is_here else None


async def create_session(call: Call) -> dict[str, Any]:
    return welcome(call, call.backend.sessions.create())


async def open_session(call: Call) -> dict[str, Any]:
    path = await call.upload(archive.MAX_BYTES)
    try:
        session = await call.in_thread(archive.load, path, call.backend.store)
    finally:
        path.unlink(missing_ok=True)
    session = call.backend.sessions.create(session)
    await call.backend.keep(session)
    return welcome(call, session)


async def show_session(call: Call) -> dict[str, Any]:
    session = call.session()
    pictures = [shown(call.backend, picture) for picture in session.pictures.values()]
    listed = [each.show() for each in session.classes]
    return {
        "pictures": pictures, "classes": listed, "selected": session.selected,
        "revision": session.revision,
    }  # fmt: skip


async def set_classes(call: Call) -> dict[str, Any]:
    """All classes at once, refused where the client does not know what others have changed."""
    session, given = call.session(), await call.json()
    listed, before = classes.checked(given["classes"]), session.revision
    if given.get("since", before) < session.classes_revision:
        raise Refusal(409, "the classes were changed elsewhere: look at them again")
    session.set_classes(listed)
    return {
        "classes": [each.show() for each in session.classes],
        "revision": session.revision, "before": before,
    }  # fmt: skip


async def show_changes(call: Call) -> dict[str, Any]:
    """What a page asks for again and again: it learns what others have changed."""
    session = call.session()
    since = call.query("since") or ""
    known = int(since) if since.isdecimal() and len(since) < 16 else 0
    if known > session.revision:  # of a server that could not write what it had
        known = 0
    new = [picture for picture in session.pictures.values() if picture.revision > known]
    return {
        "revision": session.revision, "ids": list(session.pictures),
        "pictures": [shown(call.backend, picture) for picture in new],
        "classes": [each.show() for each in session.classes],
    }  # fmt: skip


async def show_earlier(call: Call) -> dict[str, Any]:
    return {"sessions": await call.in_thread(call.backend.sessions.earlier)}


async def resume_session(call: Call) -> dict[str, Any]:
    return welcome(call, call.session())


async def leave_session(call: Call) -> None:
    """A page was closed. What is on disk needs no room here."""
    call.session().left_at = time.monotonic()


async def save_session(call: Call) -> Response:
    data = await call.in_thread(archive.save, call.session().as_it_is())
    return download(data, "application/zip", "session.sam-mlx.zip")


async def end_session(call: Call) -> None:
    for picture in call.backend.sessions.end(call.part("session")).pictures.values():
        call.backend.stop(picture)
