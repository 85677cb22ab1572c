"""What a protocol is: endpoints, the form of its errors, and what to type in the tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..web.openapi import Endpoint
from ..web.validate import Schema


def plain_error(status: int, sentence: str) -> dict[str, Any]:
    return {"error": sentence}


@dataclass(frozen=True)
class Tool:
    """A label tool, and the protocol that it speaks."""

    name: str  # in the shell, after --for
    title: str
    guide: Callable[[str, str | None], str]  # of the server's address and token
    endpoints: tuple[Endpoint, ...]
    schemas: dict[str, Schema] = field(default_factory=dict)  # that the endpoints name
    refusal: Callable[[int, str], dict[str, Any]] = plain_error
