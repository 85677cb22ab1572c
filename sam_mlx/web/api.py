"""The API, as a table: what is routed, what is checked, and what is documented derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .schema import Schema

MOST_POINTS = 256  # of a prompt
MOST_EDITS = 1000  # of an object
MOST_CORNERS = 5000  # of a stroke
FAR = 1e6  # coordinates go so far

NUMBER = {"type": "number", "minimum": -FAR, "maximum": FAR}
POINT = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
BOX = {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4, "nullable": True}
THRESHOLD = {"type": "number", "minimum": -1, "maximum": 2}
PIXELS = {"type": "number", "minimum": 0, "maximum": 1e9}
NAME = {"type": "string", "maxLength": 200}
TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
INTEGER = {"type": "integer"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def form(required: str = "", **properties: Schema) -> Schema:
    """An object's schema."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def many(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items} | ({"maxItems": most} if most else {})


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


LABELS = many({"type": "integer", "enum": [0, 1]}, MOST_POINTS)
POINTS = many(POINT, MOST_POINTS)
CHOICE = {"type": "integer", "minimum": 0, "maximum": 2, "nullable": True}
EDIT = form(
    "erase radius path",
    erase=FLAG,
    radius={"type": "number", "minimum": 0, "maximum": 10000},
    path=many(POINT, MOST_CORNERS) | {"minItems": 1},
)

PREDICT = form(
    points=POINTS, labels=LABELS, box=BOX, multimask=FLAG, hover=FLAG,
    request={"type": "integer", "minimum": 0, "maximum": 2**53},
)  # fmt: skip
OBJECT_STATE = form(
    name=NAME,
    colour={"type": "string", "minLength": 7, "maxLength": 7, "pattern": "^#[0-9a-fA-F]{6}$"},
    hidden=FLAG,
    points=POINTS,
    labels=LABELS,
    box=BOX,
    multimask=FLAG | {"nullable": True},
    choice=CHOICE,
    edits=many(EDIT, MOST_EDITS),
    everything={"type": "string", "maxLength": 40, "nullable": True},
    min_mask_region_area=PIXELS,
)
EVERYTHING = form(points_per_side={"type": "integer", "minimum": 1, "maximum": 128})
SELECT = form(
    pred_iou_thresh=THRESHOLD, stability_score_thresh=THRESHOLD, box_nms_thresh=THRESHOLD,
    min_mask_region_area=PIXELS,
)  # fmt: skip

ANSWERS: dict[str, Schema] = {
    "Error": form("error", error=TEXT),
    "Rle": form("size counts", size=many(INTEGER), counts=many(INTEGER)),
    "Session": form(
        "session model limits formats",
        session=TEXT,
        model=form("name device dtype", name=TEXT, device=TEXT, dtype=TEXT),
        limits=form("bytes pixels", bytes=INTEGER, pixels=INTEGER),
        formats=many(TEXT),
    ),
    "Pictures": form(
        "pictures selected",
        pictures=many(ref("Picture")),
        selected=TEXT | {"nullable": True},
    ),
    "Picture": form(
        "id name width height ready encoding error objects",
        id=TEXT,
        name=TEXT,
        width=INTEGER,
        height=INTEGER,
        ready=FLAG,
        encoding=form("done", done=SHARE) | {"nullable": True},
        error=TEXT | {"nullable": True},
        objects=many(ref("Object")),
    ),
    "Object": {
        **OBJECT_STATE,
        "properties": {
            "id": TEXT,
            **OBJECT_STATE["properties"],
            "mask": ref("Rle"),
            "area": INTEGER,
            "score": {"type": "number"},
            "stability": {"type": "number"},
        },
        "required": ["id", *OBJECT_STATE["properties"], "mask", "area", "score", "stability"],
    },
    "Prediction": form(
        "request best masks",
        request=INTEGER,
        best=INTEGER,
        masks=many(
            form(
                "score stability area logits",
                score={"type": "number"},
                stability={"type": "number"},
                area=INTEGER,
                logits=form("shape data", shape=many(INTEGER), data=TEXT),
            )
        ),
    ),
    "Everything": form(
        "done masks",
        done=SHARE,
        masks=many(ref("AutomaticMask")) | {"nullable": True},
    ),
    "AutomaticMask": form(
        "id box area score stability mask",
        id=TEXT,
        box=many(INTEGER),
        area=INTEGER,
        score={"type": "number"},
        stability={"type": "number"},
        mask=ref("Rle"),
    ),
    "Selection": form("ids changed", ids=many(TEXT), changed=many(ref("AutomaticMask"))),
}


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    handler: str  # the name of the function in handlers.py
    summary: str
    status: int = 200
    answer: str = ""  # a schema's name; "" is a file or nothing
    body: Schema | str | None = None  # a schema, or the type of a file
    query: tuple[str, ...] = ()


SESSION = "/api/sessions/{session}"
PICTURE = f"{SESSION}/pictures/{{picture}}"
OBJECT = f"{PICTURE}/objects/{{object}}"
FILE = "application/octet-stream"

ENDPOINTS = (
    Endpoint("POST", "/api/sessions", "create_session",
             "Begin: a session with the pictures of the command line", 201, "Session"),
    Endpoint("POST", "/api/sessions/file", "open_session",
             "Open a session file again", 201, "Session", FILE),
    Endpoint("GET", SESSION, "show_session", "The session's pictures and objects", 200, "Pictures"),
    Endpoint("DELETE", SESSION, "end_session", "End a session and forget its work", 204),
    Endpoint("GET", f"{SESSION}/file", "save_session", "The session as a file: zip"),
    Endpoint("GET", f"{SESSION}/export", "export_all", "All pictures in every format: zip"),
    Endpoint("POST", f"{SESSION}/pictures", "add_picture",
             "Send a picture: a file's bytes", 201, "Picture", FILE, ("name",)),
    Endpoint("GET", PICTURE, "show_picture", "A picture's state and objects", 200, "Picture"),
    Endpoint("DELETE", PICTURE, "remove_picture", "Remove a picture and its objects", 204),
    Endpoint("GET", f"{PICTURE}/image", "show_image",
             "The picture, turned as EXIF says: PNG or JPEG"),
    Endpoint("GET", f"{PICTURE}/thumbnail", "show_thumbnail", "A small JPEG of the picture"),
    Endpoint("POST", f"{PICTURE}/encode", "encode",
             "Have the picture encoded; ready is true when it is", 202, "Picture"),
    Endpoint("POST", f"{PICTURE}/predict", "predict",
             "Masks of points and a box, as low-resolution logits for drawing: one byte each, a "
             "quarter a step, row by row over the whole picture; set is what is above 0",
             200, "Prediction", PREDICT),
    Endpoint("POST", f"{PICTURE}/objects", "add_object",
             "A new object, with its exact mask", 201, "Object", OBJECT_STATE),
    Endpoint("PUT", OBJECT, "change_object", "Change what is given of an object", 200, "Object",
             OBJECT_STATE),
    Endpoint("DELETE", OBJECT, "remove_object", "Remove an object", 204),
    Endpoint("POST", f"{PICTURE}/everything", "start_everything",
             "Search for everything in the picture", 202, "Everything", EVERYTHING),
    Endpoint("GET", f"{PICTURE}/everything", "show_everything",
             "How far that is, and the masks to choose from", 200, "Everything"),
    Endpoint("DELETE", f"{PICTURE}/everything", "stop_everything",
             "Stop it, and forget its masks", 204),
    Endpoint("POST", f"{PICTURE}/everything/select", "select",
             "The ids that stay with these thresholds; changed has masks that cleaning of small "
             "regions changed", 200, "Selection", SELECT),
    Endpoint("GET", f"{PICTURE}/export/{{format}}", "export",
             "The picture's objects in a format, or one of them: a file", query=("object",)),
    Endpoint("GET", f"{PICTURE}/python", "show_python",
             "Lines of Python that give an object's mask: text", query=("object",)),
    Endpoint("GET", "/api/openapi.json", "show_openapi", "This document"),
)  # fmt: skip

REFUSED = {400: "what is asked is malformed", 403: "the request may not come from there",
           404: "it is not there", 408: "the body came too slowly", 409: "not now, or replaced",
           413: "too large", 415: "of another type", 503: "too much to do"}  # fmt: skip


def document() -> dict[str, Any]:
    """The API as an OpenAPI document, docs/web-api.json."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "sam-mlx web",
            "version": "1",
            "description": "Coordinates are x, y in pixels of the picture as EXIF turns it. "
            "Errors are {error: one sentence}. Where the server listens on more than this "
            "machine, requests carry its token: ?token=, Authorization: Bearer, or the cookie.",
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
        "operationId": endpoint.handler,
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
