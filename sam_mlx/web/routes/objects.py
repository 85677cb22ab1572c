"""Objects of a picture: added, changed, removed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect

from ..editing import apply, change
from ..errors import Refusal, reported
from ..objects import MaskObject
from ..schemas import PUT
from ..sessions import Picture
from ..validate import check
from .call import Call


async def add_object(call: Call) -> dict[str, Any]:
    picture = call.picture()
    given = await call.json()
    added = await changed(call, picture, picture.new_object(), given)
    call.session().put(picture, added)
    return added.show()


async def change_object(call: Call) -> dict[str, Any]:
    picture, before = call.picture(), call.object()
    given = await call.json()
    after = await changed(call, picture, before, given)
    if before.id not in picture.objects:
        raise Refusal(404, "there is no such object")
    call.session().put(picture, after)
    return after.show()


async def save_objects(call: Call) -> dict[str, Any]:
    """Each object by itself: one that is refused keeps no other from being saved."""
    session, picture = call.session(), call.picture()
    given = await call.json()
    start, changes = session.revision, 0
    saved, refused = [], []
    for one in given.get("objects", []):
        found = await put(call, picture, one)
        if isinstance(found, MaskObject):
            session.put(picture, found)
            changes += 1
            saved.append(found.show())
        else:
            refused.append(found)
    for name in given.get("removed", []):
        if name in picture.objects:
            session.drop(picture, name)
            changes += 1
    alone = session.revision == start + changes
    return {
        "objects": saved, "refused": refused, "revision": session.revision,
        "before": start if alone else None,
    }  # fmt: skip


async def put(call: Call, picture: Picture, given: dict[str, Any]) -> MaskObject | dict[str, Any]:
    """A new version of the object with the given id, or a new object; or why it is refused."""
    try:
        check(given, PUT)
        name = given["id"]
        before = picture.objects.get(name) or replace(picture.new_object(), id=name)
        return await changed(call, picture, before, {k: v for k, v in given.items() if k != "id"})
    except ClientDisconnect:
        raise
    except Exception as error:
        status = error.status if isinstance(error, Refusal) else 500
        return {"id": str(given.get("id")), "status": status, "error": reported(error)}


async def changed(
    call: Call, picture: Picture, before: MaskObject, given: dict[str, Any]
) -> MaskObject:
    """An object after a change; where its mask changes, the worker makes it."""
    after, stale = change(before, given, picture.size)
    if not stale:
        return after
    if is_quick(after, stale):
        return apply(call.backend.model, picture, after, stale, None)
    model, encoded = call.backend.model, None
    windowed = picture.content.tiles is not None
    if "base" in stale and after.automatic is None and after.prompt and not windowed:
        encoded = model.encoded(picture.content.key)
    return await call.compute(partial(apply, model, picture, after, stale, encoded))


def is_quick(after: MaskObject, stale: set[str]) -> bool:
    """Whether the mask is at hand, as those of automatic masks that are taken as they are."""
    taken = after.automatic is not None and not after.min_mask_region_area
    return "base" in stale and taken and not after.edits


async def remove_object(call: Call) -> None:
    call.session().drop(call.picture(), call.object().id)
