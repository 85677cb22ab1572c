"""Automatic masks of a picture: searched for, shown, chosen from by thresholds."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..automatic import POINTS_PER_SIDE, PointRun, choose_from
from ..errors import Refusal
from ..instances import InstanceRun
from ..sessions import Picture
from .call import Call


async def start_automatic(call: Call) -> dict[str, Any]:
    session, picture = call.session(), call.picture()
    given = await call.json()
    given.setdefault("points_per_side", POINTS_PER_SIDE)
    call.backend.search(picture, session.id, **given)
    return {"done": 0.0, "masks": None}


async def show_automatic(call: Call) -> dict[str, Any]:
    run = run_of(call.picture())
    masks = await call.in_thread(run.show) if run.is_done else None
    return {"done": run.done, "masks": masks}


async def stop_automatic(call: Call) -> None:
    call.backend.stop(call.picture())


async def select_automatic(call: Call) -> dict[str, Any]:
    picture, config = call.picture(), call.backend.model.config
    given = await call.json()
    run = run_of(picture)
    if not run.is_done:
        raise Refusal(409, "the search is still running: wait until its masks are there")
    if isinstance(run, PointRun):
        return await call.compute(partial(choose_from, run, config, given))
    return await call.in_thread(run.choose, given)


def run_of(picture: Picture) -> PointRun | InstanceRun:
    """The picture's search. Raises Refusal where there is none, or where it failed."""
    if picture.automatic is None:
        raise Refusal(404, "no automatic masks were searched for in this picture: start a search")
    if picture.automatic.error is not None:
        raise Refusal(409, picture.automatic.error)
    return picture.automatic
