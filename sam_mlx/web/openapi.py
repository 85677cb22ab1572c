"""An API as a table, from which routes, checks of requests and its OpenAPI document derive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .validate import TEXT, Schema, ref


@dataclass(frozen=True)
class Endpoint:
    """An address, the function that answers it, and the forms of request and answer."""

    method: str
    path: str
    handler: Callable[[Any], Awaitable[Any]]
    summary: str
    status: int = 200
    answer: str = ""  # a schema's name; "" is a file or nothing
    body: Schema | str | None = None  # a schema, or the type of a file
    query: tuple[str, ...] = ()


REFUSED = {400: "the request is malformed", 403: "the request may not come from there",
           404: "it is not there", 408: "the body came too slowly", 409: "not now, or replaced",
           413: "too large", 415: "of another type", 503: "too much to do"}  # fmt: skip


def document(
    title: str, about: str, endpoints: Iterable[Endpoint], schemas: dict[str, Schema]
) -> dict[str, Any]:
    """An OpenAPI document. schemas: those that endpoints name."""
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint)
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "version": "1", "description": about},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def operation(endpoint: Endpoint) -> dict[str, Any]:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": TEXT}
        for part in endpoint.path.split("/")
        if part.startswith("{")
    ] + [{"name": name, "in": "query", "schema": TEXT} for name in endpoint.query]
    answer: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.answer:
        answer["content"] = {"application/json": {"schema": ref(endpoint.answer)}}
    elif endpoint.status == 200:
        answer["content"] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    refused = {"content": {"application/json": {"schema": ref("Error")}}}
    responses = {str(n): {"description": text, **refused} for n, text in REFUSED.items()}
    described = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {str(endpoint.status): answer, **responses},
    }
    if isinstance(endpoint.body, str):
        binary = {"schema": {"type": "string", "format": "binary"}}
        described["requestBody"] = {"required": True, "content": {endpoint.body: binary}}
    elif endpoint.body is not None:
        content = {"application/json": {"schema": endpoint.body}}
        described["requestBody"] = {"required": False, "content": content}
    return described
