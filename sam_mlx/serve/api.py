"""Our own API, for programs: pictures by upload, hash or address; masks in several forms."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from PIL import Image

from ..masks import Record, decode_rle, outlines, rle_bbox, simplified
from ..web.automatic import MAX_POINTS_PER_SIDE
from ..web.errors import Refusal
from ..web.objects import BOX, LABELS, MULTIMASK, PIXELS, POINTS, plain
from ..web.openapi import Endpoint
from ..web.schemas import THRESHOLD
from ..web.store import Content
from ..web.validate import INTEGER, NAME, NUMBER, TEXT, Schema, form, many, or_null, ref
from .backend import Backend
from .call import Call
from .tool import Tool

PICTURES = "/v1/pictures"
FILE = "application/octet-stream"
MAX_LAYERS = 2  # of crops: each costs as much as the picture
MODES = ("auto", "points", "instances")


# Pictures.


def shown(content: Content) -> dict[str, Any]:
    height, width = content.size
    return {"picture": content.key, "address": f"{PICTURES}/{content.key}", "width": width,
            "height": height}  # fmt: skip


async def send_picture(call: Call) -> dict[str, Any]:
    return shown(await call.picture_file())


async def show_sent(call: Call) -> dict[str, Any]:
    return shown(call.backend.pictures.known(call.part("picture")))


def picture_of(backend: Backend, text: str) -> Content:
    """The picture that a request names: by its hash or address, or the file itself in base64."""
    name = text.rpartition(f"{PICTURES}/")[2] if len(text) < 500 else text
    if len(name) == 64 and all(c in "0123456789abcdef" for c in name):
        return backend.pictures.known(name)
    if name != text:
        raise Refusal(404, "there is no picture at that address: send it first")
    return backend.pictures.of_text(text)


# Masks.


def as_png(record: Record) -> str:
    file = io.BytesIO()
    mask = decode_rle([record["segmentation"]])[0]
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def as_polygons(record: Record, tolerance: float) -> list[list[list[list[int]]]]:
    """Regions, each an outline and then its holes."""
    mask = decode_rle([record["segmentation"]])[0]
    return [[simplified(ring, tolerance).tolist() for ring in region] for region in outlines(mask)]


FORMS: dict[str, Callable[[Record, float], Any]] = {
    "rle": lambda record, tolerance: plain(record["segmentation"]),
    "coco": lambda record, tolerance: record["segmentation"],
    "png": lambda record, tolerance: as_png(record),
    "polygons": as_polygons,
}


def answer_of(
    content: Content, model: str, records: list[Record], form: str, tolerance: float
) -> dict[str, Any]:
    masks = [
        {
            "score": record["predicted_iou"],
            "stability": record["stability_score"],
            "area": record["area"],
            "box": rle_bbox(record["segmentation"]),
            form: FORMS[form](record, tolerance),
        }
        for record in records
    ]
    return {**shown(content), "model": model, "masks": masks}


async def segment(call: Call) -> dict[str, Any]:
    given, content = await call.read(lambda g: (g, picture_of(call.backend, g["picture"])))
    model = call.backend.model(given.get("model"))
    every = given.get("multimask")
    prompt = given.get("points", []), given.get("labels", []), given.get("box")
    records = await call.masks(model, content, *prompt, every)
    records.sort(key=lambda record: -record["predicted_iou"])
    kept = records if every else records[:1]
    form, tolerance = given.get("format", "rle"), given.get("tolerance", 0)
    return await call.in_thread(answer_of, content, model.name, kept, form, tolerance)


async def everything(call: Call) -> dict[str, Any]:
    given, content = await call.read(lambda g: (g, picture_of(call.backend, g["picture"])))
    backend = call.backend
    model = backend.model(given.get("model"))
    changed = {k: given[k] for k in SEARCH if k in given}
    mode = given.get("mode", "auto")
    if mode == "points" or (mode == "auto" and changed):
        records = await call.everything(backend.search, model, content, changed)
    elif mode == "instances":
        records = await call.everything(backend.instances, model, content)
    else:
        records = await call.everything(backend.everything, model, content)
    form, tolerance = given.get("format", "rle"), given.get("tolerance", 0)
    return await call.in_thread(answer_of, content, model.name, records, form, tolerance)


# About the server.


async def health(call: Call) -> dict[str, Any]:
    models = list(call.backend.models)
    return {"status": "UP", "model_class": "SAM", "models_loaded": len(models), "models": models,
            "timestamp": datetime.now(timezone.utc).isoformat()}  # fmt: skip


# The forms of requests and answers.

SEARCH: dict[str, Schema] = {
    "points_per_side": {"type": "integer", "minimum": 1, "maximum": MAX_POINTS_PER_SIDE},
    "pred_iou_thresh": THRESHOLD,
    "stability_score_thresh": THRESHOLD,
    "box_nms_thresh": THRESHOLD,
    "min_mask_region_area": PIXELS,
    "crop_n_layers": {"type": "integer", "minimum": 0, "maximum": MAX_LAYERS},
}
PICTURE: Schema = {
    "type": "string",
    "description": "the file in base64 or as a data URL, or the hash (SHA-256 of the file) or "
    "address of one that was sent before",
}
FORM: dict[str, Schema] = {
    "model": NAME,
    "format": {"type": "string", "enum": list(FORMS)},
    "tolerance": {"type": "number", "minimum": 0, "maximum": 1000},
}
SEGMENT = form(
    "picture", picture=PICTURE, points=POINTS, labels=LABELS, box=BOX, multimask=MULTIMASK, **FORM
)
EVERYTHING = form(
    "picture", picture=PICTURE, mode={"type": "string", "enum": list(MODES)}, **SEARCH, **FORM
)
SIZE = {"picture": TEXT, "address": TEXT, "width": INTEGER, "height": INTEGER}
SCHEMAS: dict[str, Schema] = {
    "Error": form("error", error=TEXT),
    "Rle": form("size counts", size=many(INTEGER), counts=many(INTEGER)),
    "CocoRle": form("size counts", size=many(INTEGER), counts=TEXT),
    "SentPicture": form(" ".join(SIZE), **SIZE),
    "Masks": form(
        " ".join([*SIZE, "model", "masks"]), **SIZE, model=TEXT, masks=many(ref("Mask"))
    ),
    "Mask": form(
        "score stability area box",
        score=NUMBER, stability=or_null(NUMBER), area=INTEGER, box=many(INTEGER),
        rle=ref("Rle"), coco=ref("CocoRle"), png=TEXT,
        polygons=many(many(many(many(INTEGER)))),
    ),
    "Health": form(
        "status model_class models_loaded models timestamp",
        status=TEXT, model_class=TEXT, models_loaded=INTEGER, models=many(TEXT), timestamp=TEXT,
    ),
}  # fmt: skip

ENDPOINTS = (
    Endpoint("GET", "/health", health, "Whether the server is up, and its models", 200, "Health"),
    Endpoint("POST", PICTURES, send_picture,
             "Send a picture, a file's bytes, to ask about it by its hash", 201, "SentPicture",
             FILE),
    Endpoint("GET", f"{PICTURES}/{{picture}}", show_sent,
             "Whether a picture is still there, by its hash", 200, "SentPicture"),
    Endpoint("POST", "/v1/segment", segment,
             "The mask of points and a box in pixels, or with multimask all three, the best first; "
             "tolerance, in pixels, leaves corners out of polygons", 200, "Masks", SEGMENT),
    Endpoint("POST", "/v1/everything", everything,
             "Masks of everything: by a grid of points, or by the model's instance decoder, where "
             "it has one", 200, "Masks", EVERYTHING),
)  # fmt: skip


def guide(address: str, token: str | None) -> str:
    said = f", with the header Token: {token}" if token else ""
    return f"POST {address}v1/segment{said} (docs/serve-api.json)"


TOOL = Tool("api", "your programs", guide, ENDPOINTS, SCHEMAS)
