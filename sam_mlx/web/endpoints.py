"""The API as a table, from which routes, checks of requests and the document derive."""

from __future__ import annotations

from typing import Any

from . import openapi
from .openapi import Endpoint
from .routes.automatic import select_automatic, show_automatic, start_automatic, stop_automatic
from .routes.call import Call
from .routes.objects import add_object, change_object, remove_object, save_objects
from .routes.out import export, export_all, import_file, show_python
from .routes.pictures import (
    add_picture,
    change_picture,
    encode,
    predict,
    remove_picture,
    restore_picture,
    show_image,
    show_picture,
    show_thumbnail,
    show_tile,
)
from .routes.sessions import (
    create_session,
    end_session,
    leave_session,
    open_session,
    resume_session,
    save_session,
    set_classes,
    show_changes,
    show_earlier,
    show_session,
)
from .schemas import ANSWERS, AUTOMATIC, CLASSES, OBJECT, PICTURE_STATE, PREDICT, SAVE, SELECT


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
    Endpoint("GET", SESSIONS, show_earlier,
             "Sessions that are on disk, to go on with", 200, "Earlier"),
    Endpoint("POST", f"{SESSIONS}/file", open_session,
             "Open a session file again", 201, "Session", FILE),
    Endpoint("GET", SESSION, show_session, "The session's pictures and objects", 200, "Pictures"),
    Endpoint("DELETE", SESSION, end_session, "End a session and forget its work", 204),
    Endpoint("PUT", f"{SESSION}/classes", set_classes,
             "The classes that the session's objects may have, all of them in their order",
             200, "Classes", CLASSES),
    Endpoint("POST", f"{SESSION}/import", import_file,
             "Add the objects in a file of annotations (COCO, labelme, YOLO, label images, a "
             "zip of these) to the pictures of the same names", 201, "Imported", FILE, ("name",)),
    Endpoint("POST", f"{SESSION}/resume", resume_session,
             "Go on with a session", 200, "Session"),
    Endpoint("GET", f"{SESSION}/changes", show_changes,
             "The pictures that have changed since a revision", 200, "Changes", query=("since",)),
    Endpoint("POST", f"{SESSION}/leave", leave_session, "The session's page was closed", 204),
    Endpoint("GET", f"{SESSION}/file", save_session, "The session as a file: zip"),
    Endpoint("GET", f"{SESSION}/export", export_all,
             "All pictures in these formats, with commas between them, or in every one: zip",
             query=("formats",)),
    Endpoint("POST", f"{SESSION}/pictures", add_picture,
             "Add a picture: a file's bytes; folder tells it from others of its name",
             201, "Picture", FILE, ("name", "folder")),
    Endpoint("GET", PICTURE, show_picture, "A picture's state and objects", 200, "Picture"),
    Endpoint("PUT", PICTURE, change_picture,
             "Say whether all in the picture is labelled", 200, "Picture", PICTURE_STATE),
    Endpoint("DELETE", PICTURE, remove_picture, "Remove a picture and its objects", 204),
    Endpoint("POST", f"{PICTURE}/restore", restore_picture,
             "Bring a removed picture back, with its objects", 200, "Picture"),
    Endpoint("GET", f"{PICTURE}/image", show_image,
             "The picture, turned as its EXIF data says: PNG or JPEG"),
    Endpoint("GET", f"{PICTURE}/thumbnail", show_thumbnail, "A small JPEG of the picture"),
    Endpoint("GET", f"{PICTURE}/tiles/{{level}}/{{column}}/{{row}}", show_tile,
             "A tile of a large picture at half its scale, level times: JPEG"),
    Endpoint("POST", f"{PICTURE}/encode", encode,
             "Have the picture encoded; ready tells when it is", 202, "Picture"),
    Endpoint("POST", f"{PICTURE}/predict", predict,
             "Masks of points and a box, as low-resolution logits for drawing: one byte each, in "
             "steps of a quarter, row by row over the whole picture; pixels above 0 are set",
             200, "Prediction", PREDICT),
    Endpoint("POST", OBJECTS, add_object,
             "A new object, with its exact mask", 201, "Object", OBJECT),
    Endpoint("PUT", OBJECTS, save_objects,
             "Save objects, each by its id, and remove others; each is saved or refused by itself",
             200, "Saved", SAVE),
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

ABOUT = (
    "Coordinates are x, y in pixels of the picture, turned as its EXIF data says. Errors are "
    "{error: one sentence}. Where the server listens on more than this machine, requests carry its "
    "token: ?token=, Authorization: Bearer, or the cookie."
)


def document() -> dict[str, Any]:
    """The API as an OpenAPI document: docs/web-api.json."""
    return openapi.document("sam-mlx web", ABOUT, ENDPOINTS, ANSWERS)


if __name__ == "__main__":
    import json
    import sys

    json.dump(document(), sys.stdout, indent=1)
    sys.stdout.write("\n")
