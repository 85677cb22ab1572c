"""What label tools say of requests and answers, as pydantic models; without it, tests are skipped.

Of samapi 0.7.1 and X-AnyLabeling-Server of July 2026: names, types and defaults of fields.
"""

import math
from typing import Annotated, Any, Literal

import pytest

pytest.importorskip("pydantic", reason="pydantic is missing: install tests/serve/clients.txt")

from pydantic import BaseModel, Field, create_model

Box = tuple[int, int, int, int]
SIZES = Literal["vit_h", "vit_l", "vit_b", "vit_t", "sam2_l", "sam2_bp", "sam2_s", "sam2_t", "sam3"]
SIZE = SIZES | None, "vit_h"
MAYBE_TEXT = str | None, None

# samapi: the bodies that QuPath's extension sends.
SAMAPI: dict[str, type[BaseModel]] = {
    "/sam/": create_model(
        "Prompt", type=SIZE, bbox=(Box | None, None),
        point_coords=(tuple[tuple[int, int], ...] | None, None),
        point_labels=(tuple[int, ...] | None, None), b64img=(str, ...), b64mask=MAYBE_TEXT,
        multimask_output=(bool, False), checkpoint_url=MAYBE_TEXT,
    ),
    "/sam/automask/": create_model(
        "Everything", type=SIZE, b64img=(str, ...), points_per_side=(int | None, 32),
        points_per_batch=(int, 64), pred_iou_thresh=(float, 0.88),
        stability_score_thresh=(float, 0.95), stability_score_offset=(float, 1.0),
        box_nms_thresh=(float, 0.7), crop_n_layers=(int, 0), crop_nms_thresh=(float, 0.7),
        crop_overlap_ratio=(float, 512 / 1500), crop_n_points_downscale_factor=(int, 1),
        min_mask_region_area=(int, 0), output_type=(str, "Single Mask"),
        include_image_edge=(bool, False), checkpoint_url=MAYBE_TEXT,
    ),
    "/sam/weights/": create_model("Weights", type=(SIZES, ...), name=(str, ...), url=(str, ...)),
}  # fmt: skip

# X-AnyLabeling-Server.
X_ANYLABELING: dict[str, type[BaseModel]] = {
    "/v1/predict": create_model(
        "Predict", model=(str, ...), image=(str, ...), params=(dict[str, Any], {})
    ),
}
Share = Annotated[float, Field(ge=0, le=1)]
SHAPES = Literal["polygon", "rectangle", "rotation", "point", "line", "circle", "linestrip",
                 "quadrilateral"]  # fmt: skip
Shape = create_model(
    "Shape", label=(str, ...), shape_type=(SHAPES, ...), points=(list[list[float]], ...),
    score=(Share | None, None), attributes=(dict[str, Any], {}), description=MAYBE_TEXT,
    difficult=(bool, False), direction=(Annotated[float, Field(ge=0, le=2 * math.pi)], 0),
    flags=(dict[str, Any] | None, None),
    group_id=(Annotated[int, Field(gt=0)] | None, None), kie_linking=(list[Any], []),
)  # fmt: skip
Shapes = create_model(
    "Shapes", shapes=(list[Shape], []), description=(str, ""), replace=(bool | None, None)
)
Found = create_model("Found", success=(Literal[True], ...), data=(Shapes, ...))
Detail = create_model("Detail", code=(str, ...), message=(str, ...))
Failed = create_model("Failed", success=(Literal[False], ...), error=(Detail, ...))
Health = create_model("Health", status=(str, ...), models_loaded=(int, ...), timestamp=(str, ...))


def document_of(bodies: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """An OpenAPI document of requests alone, by their addresses."""
    paths = {}
    for path, body in bodies.items():
        content = {"application/json": {"schema": body.model_json_schema()}}
        operation = {"requestBody": {"required": True, "content": content}, "responses": {}}
        paths[path] = {"post": operation | {"responses": {"200": {"description": "an answer"}}}}
    return {"openapi": "3.1.0", "info": {"title": "a tool", "version": "1"}, "paths": paths}
