"""Automatic masks of a picture: searched for, shown, chosen from by thresholds."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..automatic import POINTS_PER_SIDE, Run, choose_from
from ..errors import Refusal
from ..sessions import Picture
from .call import Call


async def start_automatic(call: Call) -> dict[str, Any]:
    session, picture = call.session(), call.picture()
    given = await call.json()
    points_per_side = given.get("points_per_side", POINTS_PER_SIDE)
    call.backend.search(picture, session.id, points_per_side)
    return {"done": 0.0, "masks": None}


async def show_automatic(call: Call) -> dict[str, Any]:
    run = run_of(call.picture())
    masks = None if run.records is None else await call.in_thread(run.show)
    return {"done": run.done, "masks": masks}


async def stop_automatic(call: Call) -> None:
    call.backend.stop(call.picture())


async def select_automatic(call: Call) -> dict[str, Any]:
    picture, config = call.picture(), call.backend.model.config
    given = await call.json()
    return await call.compute(partial(choose_from, run_of(picture), config, given))


def run_of(picture: Picture) -> Run:
    """The picture's search. Raises Refusal where there is none, or where it failed."""
    if picture.automatic is None:
        raise Refusal(404, "no automatic masks were searched for in this picture: start a search")
    if picture.automatic.error is not None:
        raise Refusal(409, picture.automatic.error)
    return picture.automatic
