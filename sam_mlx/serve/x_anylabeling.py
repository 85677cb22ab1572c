"""X-AnyLabeling's protocol of a remote server (its version 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..masks import Record, decode_rle, outlines, perimeter, simplified
from ..web.errors import Refusal
from ..web.openapi import Endpoint
from ..web.validate import FLAG, NAME, TEXT, Schema, form, many, open_form, ref
from .call import Call
from .tool import Tool

# The client asks for a name in place of this label, and takes such shapes away at the next answer.
ASKED = "AUTOLABEL_OBJECT"
FOUND = "object"  # the label of everything's shapes, which stay
MAX_MARKS = 256
# Regions of a mask smaller than this share of the largest are left out: each is a shape to name.
MIN_SHARE = 0.05
# Outlines follow pixels in steps. With any fineness but 0, corners go that are this near, so that
# slanting edges become lines.
STEP = 0.75

WIDGETS = [
    {"name": "button_run", "value": None},
    {"name": "button_add_point", "value": None},
    {"name": "button_remove_point", "value": None},
    {"name": "button_add_rect", "value": None},
    {"name": "button_clear", "value": None},
    {"name": "button_finish_object", "value": None},
    {"name": "mask_fineness_slider", "value": 10},
    {"name": "mask_fineness_value_label", "value": None},
    {"name": "toggle_preserve_existing_annotations", "value": False},
]


async def list_models(call: Call) -> dict[str, Any]:
    about = {
        "widgets": WIDGETS,
        "params": {},
        "capabilities": {},
        "batch_processing_mode": "default",
    }
    data = {name: {"display_name": f"{name} (sam_mlx)", **about} for name in call.backend.models}
    return {"success": True, "data": data}


async def predict_shapes(call: Call) -> dict[str, Any]:
    given, content = await call.read(lambda g: (g, call.backend.pictures.of_text(g["image"])))
    model, params = call.backend.model(given["model"]), given.get("params") or {}
    if params.get("text_prompt"):
        raise Refusal(501, "SAM takes no text: give points or rectangles, or run it without")
    prompts = list(prompts_of(params.get("marks") or []))
    if prompts:
        records = [await call.best(model, content, *prompt) for prompt in prompts]
    else:
        records = await call.everything(call.backend.everything, model, content)
        least = params.get("conf_threshold") or 0
        records = [record for record in records if score_of(record) >= least]
    fineness = params.get("epsilon_factor")
    fineness = 0.001 if fineness is None else fineness
    label = ASKED if prompts else FOUND
    shapes = await call.in_thread(shapes_of, records, label, fineness)
    replace = None if not prompts else False
    return {"success": True, "data": {"shapes": shapes, "description": "", "replace": replace}}


def prompts_of(
    marks: list[dict[str, Any]],
) -> Iterator[tuple[list[list[float]], list[int], list[float] | None]]:
    """Points, labels and box of each object: of each rectangle, with the points that are in it, or
    with all where there is one rectangle, or none.
    """
    points = [m for m in marks if m["type"] == "point" and length(m, 2)]
    boxes = [box_of(m) for m in marks if m["type"] == "rectangle" and length(m, 4)]
    for box in boxes if len(boxes) > 1 else []:
        x0, y0, x1, y1 = box
        within = [p for p in points if x0 <= p["data"][0] <= x1 and y0 <= p["data"][1] <= y1]
        yield [p["data"] for p in within], [p["label"] for p in within], box
    if len(boxes) == 1 or (points and not boxes):
        box_or_none = boxes[0] if boxes else None
        yield [p["data"] for p in points], [p["label"] for p in points], box_or_none


def length(mark: dict[str, Any], expected: int) -> bool:
    if len(mark["data"]) != expected:
        raise Refusal(400, f"a {mark['type']} has {len(mark['data'])} numbers, not {expected}")
    return True


def box_of(mark: dict[str, Any]) -> list[float]:
    """A rectangle's box; its corners come in the order in which they were drawn."""
    if mark["label"] != 1:
        raise Refusal(400, "SAM takes no rectangle to leave out: use negative points")
    xa, ya, xb, yb = mark["data"]
    return [min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)]


def score_of(record: Record) -> float:
    return float(min(max(record["predicted_iou"], 0.0), 1.0))


def shapes_of(records: list[Record], label: str, fineness: float) -> list[dict[str, Any]]:
    return [shape for record in records for shape in polygons_of(record, label, fineness)]


def polygons_of(record: Record, label: str, fineness: float) -> list[dict[str, Any]]:
    """The regions of a mask as shapes, without their holes, which shapes cannot have."""
    rings = [region[0] for region in outlines(decode_rle([record["segmentation"]])[0])]
    areas = [area_of(ring) for ring in rings]
    shown = [ring for ring, area in zip(rings, areas) if area >= MIN_SHARE * max(areas)]
    shapes = []
    for ring in shown:
        tolerance = STEP + fineness * perimeter(ring) if fineness else 0
        points = simplified(ring, tolerance).astype(float).tolist()
        shape = {"label": label, "shape_type": "polygon", "points": [*points, points[0]]}
        shapes.append(shape | {"score": score_of(record)})
    return shapes


def area_of(ring: np.ndarray) -> float:
    (x, y), (x_next, y_next) = ring.T, np.roll(ring, -1, axis=0).T
    return abs(float((x * y_next - x_next * y).sum())) / 2


CODES = {404: "MODEL_NOT_FOUND", 413: "INVALID_IMAGE", 415: "INVALID_IMAGE"}


def refusal(status: int, sentence: str) -> dict[str, Any]:
    code = CODES.get(status, "INVALID_REQUEST" if status < 500 else "INFERENCE_ERROR")
    return {"success": False, "error": {"code": code, "message": sentence}}


SIZE: Schema = {"type": "number", "minimum": 0, "maximum": 1, "nullable": True}
COORDINATE: Schema = {"type": "number", "minimum": -1e6, "maximum": 1e6}
MARK = open_form(
    "type data label",
    type={"type": "string", "enum": ["point", "rectangle"]},
    data=many(COORDINATE, 4, 2),
    label={"type": "integer", "enum": [0, 1]},
)
PREDICT = open_form(
    "model image",
    model=NAME,
    image={"type": "string", "description": "a data URL of a file in base64, or its base64"},
    params=open_form(
        marks=many(MARK, MAX_MARKS) | {"nullable": True},
        conf_threshold=SIZE,
        iou_threshold=SIZE,
        epsilon_factor=SIZE,
        text_prompt={"type": "string", "nullable": True},
    )
    | {"nullable": True},
)
WIDGET = open_form("name", name=TEXT)
MODEL = open_form("display_name widgets", display_name=TEXT, widgets=many(WIDGET))
SHAPE = open_form(
    "label shape_type points score",
    label=TEXT,
    shape_type=TEXT,
    points=many(many({"type": "number"})),
    score={"type": "number", "minimum": 0, "maximum": 1},
)
SCHEMAS: dict[str, Schema] = {
    "XAnyLabelingModels": form(
        "success data", success=FLAG, data={"type": "object", "additionalProperties": MODEL}
    ),
    "XAnyLabelingShapes": form(
        "success data",
        success=FLAG,
        data=open_form(
            "shapes description", shapes=many(ref("XAnyLabelingShape")), description=TEXT
        ),
    ),
    "XAnyLabelingShape": SHAPE,
    "XAnyLabelingError": form(
        "success error",
        success=FLAG,
        error=form("code message", code=TEXT, message=TEXT),
    ),
}

ENDPOINTS = (
    Endpoint("GET", "/v1/models", list_models, "X-AnyLabeling: the models, and their widgets",
             200, "XAnyLabelingModels"),
    Endpoint("POST", "/v1/predict", predict_shapes,
             "X-AnyLabeling: shapes of marks, or without marks of everything", 200,
             "XAnyLabelingShapes", PREDICT),
)  # fmt: skip


def guide(address: str, token: str | None) -> str:
    key = f", API key {token}" if token else ""
    return f"choose the model Remote-Server, and the address {address.rstrip('/')}{key}"


TOOL = Tool("x-anylabeling", "X-AnyLabeling", guide, ENDPOINTS, SCHEMAS, refusal)
