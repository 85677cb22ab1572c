"""The protocols, by the tools' names. A new one is a file, and a line here."""

from __future__ import annotations

from typing import Any

from ..web import openapi
from . import api, label_studio, qupath, x_anylabeling
from .tool import Tool

TOOLS: tuple[Tool, ...] = (x_anylabeling.TOOL, label_studio.TOOL, qupath.TOOL, api.TOOL)
NAMES = tuple(tool.name for tool in TOOLS if tool is not api.TOOL)

ABOUT = (
    "Coordinates are x, y in pixels of the picture, turned as its EXIF data says. Errors "
    "are {error: one sentence}; those of X-AnyLabeling have its form. "
    "Where the server has a token, requests carry it: the header Token, Authorization (Bearer, "
    "Token, or the password of Basic), ?token=, or /token/<token>/ before the path."
)


def chosen(name: str | None) -> tuple[Tool, ...]:
    """One tool's protocol, or all; our own API is always there."""
    return tuple(tool for tool in TOOLS if name in (None, tool.name) or tool is api.TOOL)


def document() -> dict[str, Any]:
    """The API as an OpenAPI document: docs/serve-api.json."""
    endpoints = [endpoint for tool in TOOLS for endpoint in tool.endpoints]
    schemas = {name: schema for tool in TOOLS for name, schema in tool.schemas.items()}
    return openapi.document("sam-mlx serve", ABOUT, endpoints, schemas)


if __name__ == "__main__":
    from ..files import to_json
    from ..terminal import say

    say(to_json(document()))
