"""Objects of a picture: added, changed, removed."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..editing import apply, change
from ..errors import Refusal
from ..objects import MaskObject
from ..sessions import Picture
from .call import Call


async def add_object(call: Call) -> dict[str, Any]:
    picture = call.picture()
    given = await call.json()
    added = await changed(call, picture, picture.new_object(), given)
    picture.objects[added.id] = added
    return added.show()


async def change_object(call: Call) -> dict[str, Any]:
    picture, before = call.picture(), call.object()
    given = await call.json()
    after = await changed(call, picture, before, given)
    if before.id not in picture.objects:
        raise Refusal(404, "there is no such object")
    picture.objects[before.id] = after
    return after.show()


async def changed(
    call: Call, picture: Picture, before: MaskObject, given: dict[str, Any]
) -> MaskObject:
    """An object after a change; where its mask changes, the worker makes it."""
    after, stale = change(before, given, picture.size)
    if not stale:
        return after
    model, encoded = call.backend.model, None
    windowed = picture.content.tiles is not None
    if "base" in stale and after.automatic is None and after.prompt and not windowed:
        encoded = model.encoded(picture.content.key)
    return await call.compute(partial(apply, model, picture, after, stale, encoded))


async def remove_object(call: Call) -> None:
    del call.picture().objects[call.object().id]
