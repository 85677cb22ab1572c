"""The server as a process: the first screen, and uvicorn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..web.addresses import addresses_of
from ..web.server import Server, bind, configured
from .application import application
from .backend import Backend
from .tool import Tool


def serve(
    backend: Backend,
    tools: Sequence[Tool],
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None],
) -> None:
    """Answer until the process is interrupted. token: what requests must carry, if anything."""
    try:
        listening = bind(host, port)
        address = addresses_of(host, listening.getsockname()[1], None)[-1]
        for line in first_screen(backend, tools, address, token):
            say(line)
        Server(configured(application(backend, tools, host, token))).run([listening])
    finally:
        backend.close()


def first_screen(
    backend: Backend, tools: Sequence[Tool], address: str, token: str | None
) -> Iterator[str]:
    """What to type in each tool."""
    yield address if token is None else f"{address}  token: {token}"
    yield f"models: {', '.join(backend.models)}"
    width = max(len(tool.title) for tool in tools)
    shown = address.replace("127.0.0.1", "localhost")
    for tool in tools:
        yield f"{tool.title:{width}}  {tool.guide(shown, token)}"
    yield "Ctrl+C ends the server."
