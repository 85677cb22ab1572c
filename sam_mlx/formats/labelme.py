"""labelme's JSON, a file beside each picture."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import write_json
from ..masks import mask_boxes, outlines
from .base import Format, Result

VERSION = "5.5.0"  # the first with shapes of the type mask is 5.2


class LabelMe(Format):
    """Masks of one region without holes are polygons, others images of masks."""

    name = "labelme"
    help = "a JSON file for each picture, as labelme has it"
    pattern = "{}.json"

    def write(self, result: Result, path: str) -> None:
        height, width = result.image.shape[:2]
        values = {
            "version": VERSION, "flags": {},
            "shapes": [
                shape(mask) | {"label": result.category(i),
                               "description": result.records[i].get("name", "")}
                for i, mask in enumerate(result.masks) if mask.any()
            ],
            "imagePath": Path(result.file_name).name, "imageData": None,
            "imageHeight": height, "imageWidth": width,
        }  # fmt: skip
        write_json(path, values)


def shape(mask: np.ndarray) -> dict[str, Any]:
    common: dict[str, Any] = {"group_id": None, "flags": {}}
    regions = outlines(mask)
    if [len(rings) for rings in regions] == [1]:
        points = regions[0][0].astype(float).tolist()
        return {"shape_type": "polygon", "points": points, "mask": None, **common}
    x0, y0, x1, y1 = mask_boxes(mask[None])[0].tolist()
    part = io.BytesIO()
    Image.fromarray(mask[y0 : y1 + 1, x0 : x1 + 1]).save(part, "PNG")
    return {
        "shape_type": "mask", "points": [[x0, y0], [x1, y1]],
        "mask": base64.b64encode(part.getvalue()).decode(), **common,
    }  # fmt: skip
