"""The protocol of QuPath's extension for SAM 0.9, which is samapi's 0.7.

Weights are the models that the server was started with: nothing is downloaded. A mask is a feature
of GeoJSON with its holes and all its regions, and the quality of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.responses import PlainTextResponse, Response

from ..automatic.options import DEFAULTS
from ..formats.outlines import geometry
from ..masks import Record, decode_rle, nms, rle_box
from ..web.automatic import MAX_POINTS_PER_SIDE
from ..web.errors import Refusal
from ..web.model import Model
from ..web.objects import COORDINATE, LABELS, PIXELS, POINTS
from ..web.openapi import Endpoint
from ..web.schemas import THRESHOLD
from ..web.validate import FLAG, NAME, NUMBER, TEXT, Schema, form, many, open_form, or_null
from .backend import Backend
from .call import Call, Handler
from .key import with_token
from .tool import Tool

VERSION = "0.7.1"  # of samapi, whose protocol this is
SIZES = ("vit_h", "vit_l", "vit_b", "vit_t")  # those of the extension's menu that are SAM's
OTHERS = ("sam2", "sam3")  # how the names of others begin
# What samapi has for those: address, name and subject.
OTHERS_WORK = (
    ("sam3", "predict_sam3", "prompts in words"),
    ("upload", "upload_video", "videos"),
    ("video", "track_sam2", "videos"),
    ("sam3video", "track_sam3", "videos"),
)
MAX_LAYERS = 2  # of crops: each costs as much as the picture
EDGE = 20  # pixels, to the picture's edge; the original's


def any_order(record: Record) -> float:
    return 0.0


# Of masks that overlap, the one that comes first, by the extension's types of output. Meta's own
# order, by predicted IoU, is that of the others.
ORDERS: dict[str, Callable[[Record], float]] = {
    "multi-mask (all)": any_order,
    "multi-mask (largest)": lambda record: record["area"],
    "multi-mask (smallest)": lambda record: -record["area"],
}


# Models.


def size_of(model: Model) -> str:
    """The entry of the extension's menu under which a model is found: nano is the mobile one."""
    variant = model.config.variant
    return next((size for size in SIZES if variant.startswith(size)), "vit_t")


def model_of(backend: Backend, given: dict[str, Any]) -> Model:
    """The model that a request names by its weights, or by its size.

    Raises Refusal: 404 for one that the server was not started with, 501 for SAM 2 and 3.
    """
    size, weights = given.get("type") or "vit_h", given.get("checkpoint_url")
    if size.startswith(OTHERS):
        raise Refusal(501, f"{size} is of another family: choose a vit_ model in the extension")
    if weights:
        return backend.model(weights.removeprefix("file:"))
    for model in backend.models.values():
        if size_of(model) == size:
            return model
    offered = ", ".join(sorted({size_of(model) for model in backend.models.values()}))
    raise Refusal(404, f"the server has no {size}, but {offered}; it is started with --model")


async def show_version(call: Call) -> Response:
    return PlainTextResponse(VERSION)


async def list_weights(call: Call) -> list[dict[str, str]]:
    """By the wanted size, as the extension's menu of weights does it, or all."""
    wanted = call.query("type")
    return [
        {"type": size_of(model), "name": name, "url": f"file:{name}"}
        for name, model in call.backend.models.items()
        if wanted in (None, "", size_of(model))
    ]


async def register_weights(call: Call) -> Response:
    given = await call.json()
    name = given["url"].removeprefix("file:")
    if name in call.backend.models:
        return PlainTextResponse(f"{name} is here already.")
    raise Refusal(501, "this server downloads no weights: start it with --model and theirs")


async def cancel_download(call: Call) -> Response:
    return PlainTextResponse("Nothing is being downloaded.")


async def show_progress(call: Call) -> dict[str, Any]:
    return {"message": None, "percent": -1}


# What needs samapi's other models.


def elsewhere(name: str, what: str) -> Handler:
    """The answer to requests about videos and texts, which SAM does not take."""

    async def refuse(call: Call) -> None:
        raise Refusal(501, f"{what} need SAM 2 or SAM 3; this server has SAM, for pictures")

    refuse.__name__ = name
    return refuse


# Masks.


async def predict_sam(call: Call) -> list[dict[str, Any]]:
    given, content = await call.read(lambda g: (g, call.backend.pictures.of_text(g["b64img"])))
    model = model_of(call.backend, given)
    if given.get("b64mask"):
        raise Refusal(501, "masks as prompts are not taken: the extension sends none")
    prompt = given.get("point_coords") or [], given.get("point_labels") or [], given.get("bbox")
    several = bool(given.get("multimask_output"))
    records = await call.masks(model, content, *prompt, several)
    return await call.in_thread(features_of, records, given.get("type") or "vit_h")


async def automask(call: Call) -> list[dict[str, Any]]:
    given, content = await call.read(lambda g: (g, call.backend.pictures.of_text(g["b64img"])))
    model = model_of(call.backend, given)
    changed = {k: v for k in SEARCH if (v := given.get(k)) is not None}
    order = ORDERS.get((given.get("output_type") or "").lower())
    if order is not None:
        changed["box_nms_thresh"] = 1.0  # all are found, and chosen from in that order
    records = await call.everything(call.backend.search, model, content, changed)
    if order is not None:
        threshold = (
            1.0 if order is any_order else given.get("box_nms_thresh") or DEFAULTS.box_nms_thresh
        )
        records = await call.in_thread(chosen, records, order, threshold)
    if not given.get("include_image_edge"):
        records = [record for record in records if not is_at_edge(record, content.size)]
    return await call.in_thread(features_of, records, given.get("type") or "vit_h")


def chosen(records: list[Record], order: Callable[[Record], float], most: float) -> list[Record]:
    """Records that overlap none that comes first in an order, by their boxes' IoU."""
    boxes = np.array([rle_box(record["segmentation"]) for record in records]).reshape(-1, 4)
    kept = nms(boxes, np.array([order(record) for record in records]), most)
    return [records[i] for i in kept]


def is_at_edge(record: Record, size: tuple[int, int]) -> bool:
    """Whether a mask comes near the picture's edge, which the extension has left out by default."""
    x0, y0, x1, y1 = rle_box(record["segmentation"])
    height, width = size
    return min(x0, y0) <= EDGE or max(x1 - width, y1 - height) >= -EDGE


def features_of(records: list[Record], size: str) -> list[dict[str, Any]]:
    """Masks as features in pixels of the picture; empty ones are left out."""
    return [
        {
            "type": "Feature",
            "geometry": geometry(decode_rle([record["segmentation"]])[0]),
            "properties": {
                "object_idx": i,
                "label": "object",
                "quality": record["predicted_iou"],
                "sam_model": size,
            },
        }
        for i, record in enumerate(records)
        if record["area"]
    ]


# The forms of requests and answers.

FRACTION: Schema = or_null(THRESHOLD)
SEARCH: dict[str, Schema] = {
    "points_per_side": or_null({"type": "integer", "minimum": 1, "maximum": MAX_POINTS_PER_SIDE}),
    "pred_iou_thresh": FRACTION,
    "stability_score_thresh": FRACTION,
    "stability_score_offset": or_null({"type": "number", "minimum": 0, "maximum": 100}),
    "box_nms_thresh": FRACTION,
    "crop_n_layers": or_null({"type": "integer", "minimum": 0, "maximum": MAX_LAYERS}),
    "crop_nms_thresh": FRACTION,
    "crop_overlap_ratio": or_null({"type": "number", "minimum": 0, "maximum": 0.9}),
    "crop_n_points_downscale_factor": or_null({"type": "integer", "minimum": 1, "maximum": 64}),
    "min_mask_region_area": or_null(PIXELS),
}
TYPE: Schema = {"type": "string", "maxLength": 40, "nullable": True}
IMAGE: Schema = {"type": "string", "description": "the region shown, a PNG in base64"}
PROMPT = open_form(
    "b64img",
    type=TYPE,
    b64img=IMAGE,
    bbox=or_null(many(COORDINATE, 4, 4)),
    point_coords=or_null(POINTS),
    point_labels=or_null(LABELS),
    b64mask=or_null(TEXT),
    multimask_output=or_null(FLAG),
    checkpoint_url=or_null(NAME),
)
AUTOMASK = open_form(
    "b64img",
    type=TYPE,
    b64img=IMAGE,
    output_type=or_null(NAME),
    include_image_edge=or_null(FLAG),
    checkpoint_url=or_null(NAME),
    **SEARCH,
)
WEIGHTS = open_form("type name url", type=NAME, name=NAME, url=NAME)
SCHEMAS: dict[str, Schema] = {
    "QuPathWeights": many(form("type name url", type=TEXT, name=TEXT, url=TEXT)),
    "QuPathProgress": form("message percent", message=or_null(TEXT), percent={"type": "integer"}),
    "QuPathFeatures": many(
        open_form(
            "type geometry properties",
            type=TEXT,
            geometry=open_form("type coordinates", type=TEXT, coordinates=many({})),
            properties=form(
                "object_idx label quality sam_model",
                object_idx={"type": "integer"}, label=TEXT, quality=NUMBER, sam_model=TEXT,
            ),
        )
    ),
}  # fmt: skip

ENDPOINTS = (
    Endpoint("GET", "/sam/version/", show_version, "QuPath: samapi's version, text"),
    Endpoint("GET", "/sam/weights/", list_weights, "QuPath: the models, of one size or all", 200,
             "QuPathWeights", query=("type",)),
    Endpoint("POST", "/sam/weights/", register_weights,
             "QuPath: weights to download, which this server does not do: text", 200, "", WEIGHTS),
    Endpoint("GET", "/sam/weights/cancel/", cancel_download, "QuPath: end a download: text"),
    Endpoint("GET", "/sam/progress/", show_progress, "QuPath: how far a download is", 200,
             "QuPathProgress"),
    Endpoint("POST", "/sam/", predict_sam, "QuPath: masks of a prompt, as features", 200,
             "QuPathFeatures", PROMPT),
    Endpoint("POST", "/sam/automask/", automask, "QuPath: masks of everything, as features", 200,
             "QuPathFeatures", AUTOMASK),
    *(Endpoint("POST", f"/sam/{path}/", elsewhere(name, what), f"QuPath: {what}: refused")
      for path, name, what in OTHERS_WORK),
)  # fmt: skip


def guide(address: str, token: str | None) -> str:
    return f"in Extensions, SAM, the server {with_token(address, token)}sam/"


TOOL = Tool("qupath", "QuPath", guide, ENDPOINTS, SCHEMAS)
