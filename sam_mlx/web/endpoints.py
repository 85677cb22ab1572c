"""The API as a table, from which routes, checks of requests and the document derive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .routes.automatic import select_automatic, show_automatic, start_automatic, stop_automatic
from .routes.call import Call, Handler
from .routes.objects import add_object, change_object, remove_object
from .routes.out import export, export_all, show_python
from .routes.pictures import (
    add_picture,
    encode,
    predict,
    remove_picture,
    show_image,
    show_picture,
    show_thumbnail,
)
from .routes.sessions import (
    create_session,
    end_session,
    open_session,
    save_session,
    show_session,
)
from .schemas import ANSWERS, AUTOMATIC, OBJECT, PREDICT, SELECT
from .validate import TEXT, Schema, ref


@dataclass(frozen=True)
class Endpoint:
    """An address, the function that answers it, and the forms of request and answer."""

    method: str
    path: str
    handler: Handler
    summary: str
    status: int = 200
    answer: str = ""  # a schema's name; "" is a file or nothing
    body: Schema | str | None = None  # a schema, or the type of a file
    query: tuple[str, ...] = ()


async def show_openapi(call: Call) -> dict[str, Any]:
    return document()


SESSIONS = "/api/sessions"
SESSION = f"{SESSIONS}/{{session}}"
PICTURE = f"{SESSION}/pictures/{{picture}}"
OBJECTS = f"{PICTURE}/objects"
SEARCH = f"{PICTURE}/automatic"
FILE = "application/octet-stream"

ENDPOINTS = (
    Endpoint("POST", SESSIONS, create_session,
             "Begin a session with the pictures of the command line", 201, "Session"),
    Endpoint("POST", f"{SESSIONS}/file", open_session,
             "Open a session file again", 201, "Session", FILE),
    Endpoint("GET", SESSION, show_session, "The session's pictures and objects", 200, "Pictures"),
    Endpoint("DELETE", SESSION, end_session, "End a session and forget its work", 204),
    Endpoint("GET", f"{SESSION}/file", save_session, "The session as a file: zip"),
    Endpoint("GET", f"{SESSION}/export", export_all, "All pictures in every format: zip"),
    Endpoint("POST", f"{SESSION}/pictures", add_picture,
             "Add a picture: a file's bytes", 201, "Picture", FILE, ("name",)),
    Endpoint("GET", PICTURE, show_picture, "A picture's state and objects", 200, "Picture"),
    Endpoint("DELETE", PICTURE, remove_picture, "Remove a picture and its objects", 204),
    Endpoint("GET", f"{PICTURE}/image", show_image,
             "The picture, turned as its EXIF data says: PNG or JPEG"),
    Endpoint("GET", f"{PICTURE}/thumbnail", show_thumbnail, "A small JPEG of the picture"),
    Endpoint("POST", f"{PICTURE}/encode", encode,
             "Have the picture encoded; ready tells when it is", 202, "Picture"),
    Endpoint("POST", f"{PICTURE}/predict", predict,
             "Masks of points and a box, as low-resolution logits for drawing: one byte each, in "
             "steps of a quarter, row by row over the whole picture; pixels above 0 are set",
             200, "Prediction", PREDICT),
    Endpoint("POST", OBJECTS, add_object,
             "A new object, with its exact mask", 201, "Object", OBJECT),
    Endpoint("PUT", f"{OBJECTS}/{{object}}", change_object,
             "Change the given fields of an object", 200, "Object", OBJECT),
    Endpoint("DELETE", f"{OBJECTS}/{{object}}", remove_object, "Remove an object", 204),
    Endpoint("POST", SEARCH, start_automatic,
             "Search for automatic masks of the whole picture", 202, "Automatic", AUTOMATIC),
    Endpoint("GET", SEARCH, show_automatic,
             "How far the search is, and the masks to choose from", 200, "Automatic"),
    Endpoint("DELETE", SEARCH, stop_automatic, "Stop the search, and forget its masks", 204),
    Endpoint("POST", f"{SEARCH}/select", select_automatic,
             "The ids that pass these thresholds; changed has the masks that lost small regions",
             200, "AutomaticSelection", SELECT),
    Endpoint("GET", f"{PICTURE}/export/{{format}}", export,
             "The picture's objects in a format, or one of them: a file", query=("object",)),
    Endpoint("GET", f"{PICTURE}/python", show_python,
             "Lines of Python that give an object's mask: text", query=("object",)),
    Endpoint("GET", "/api/openapi.json", show_openapi, "This document"),
)  # fmt: skip

REFUSED = {400: "the request is malformed", 403: "the request may not come from there",
           404: "it is not there", 408: "the body came too slowly", 409: "not now, or replaced",
           413: "too large", 415: "of another type", 503: "too much to do"}  # fmt: skip


def document() -> dict[str, Any]:
    """The API as an OpenAPI document: docs/web-api.json."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "sam-mlx web",
            "version": "1",
            "description": "Coordinates are x, y in pixels of the picture, turned as its EXIF "
            "data says. Errors are {error: one sentence}. Where the server listens on more than "
            "this machine, requests carry its token: ?token=, Authorization: Bearer, or the "
            "cookie.",
        },
        "paths": paths,
        "components": {"schemas": ANSWERS},
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


if __name__ == "__main__":
    import json
    import sys

    json.dump(document(), sys.stdout, indent=1)
    sys.stdout.write("\n")
