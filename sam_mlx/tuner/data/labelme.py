"""labelme's and X-AnyLabeling's JSON: a file of shapes beside each picture."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files import read_json
from ...image_files import as_value_error
from ...images import load_image, picture_endings
from ...masks import Rle, run_lengths
from ...messages import printable, short
from ...samples import Range
from .picture import MAX_TEXT, LabelledPicture, size_of
from .polygons import filled

CIRCLE = 64  # corners of the polygon that stands for a circle


def files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(f for f in path.glob("*.json") if not f.name.startswith(".") and is_labelme(f))


def is_labelme(file: Path) -> bool:
    try:
        values = read_json(file, MAX_TEXT)
    except ValueError:
        return False
    return isinstance(values, Mapping) and isinstance(values.get("shapes"), list)


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    found = []
    for file in files_of(path):
        values = read_json(file, MAX_TEXT)
        picture = file.parent / Path(str(values.get("imagePath") or "")).name
        if not picture.is_file():
            picture = next(
                (f for e in sorted(picture_endings()) if (f := file.with_suffix(e)).is_file()),
                picture,
            )
        if not picture.is_file():
            raise FileNotFoundError(f"{printable(str(file))} is about a picture that is not there")
        found.append(
            LabelledPicture(
                picture.name,
                picture,
                partial(load_image, picture, value_range=value_range),
                partial(objects_of_shapes, file, picture),
            )
        )
    return found


def objects_of_shapes(file: Path, picture: Path) -> list[Rle]:
    """The objects of a labelme file. Shapes of one group are one object; lines and points none."""
    size, groups = size_of(picture), dict[Any, list[np.ndarray]]()
    objects = []
    for i, shape in enumerate(read_json(file, MAX_TEXT)["shapes"]):
        kind = shape.get("shape_type") or "polygon"
        if kind == "mask":
            objects.append(mask_of_shape(shape, size, str(file)))
        elif (ring := ring_of_shape(kind, shape, str(file))) is not None:
            group = shape.get("group_id")
            groups.setdefault(("single", i) if group is None else ("group", group), []).append(ring)
    return objects + [filled(rings, size, True, str(file)) for rings in groups.values()]


def ring_of_shape(kind: str, shape: Mapping[str, Any], name: str) -> np.ndarray | None:
    points = np.asarray(shape.get("points"), float)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(
            f"{printable(name)} has a shape with the points {short(shape.get('points'))}"
        )
    if kind == "circle":
        angles = np.arange(CIRCLE) * 2 * math.pi / CIRCLE
        radius = math.dist(*points[:2])
        return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    is_area = kind in ("polygon", "rectangle", "rotation", "quadrilateral")
    return points if is_area and len(points) >= 3 else None


def mask_of_shape(shape: Mapping[str, Any], size: tuple[int, int], name: str) -> Rle:
    """A shape of the type mask: a PNG of the part of the picture within its two points."""
    with as_value_error(f"a mask in {name}"):
        data = base64.b64decode(str(shape.get("mask")), validate=True)
        part = np.asarray(Image.open(io.BytesIO(data)).convert("L")) > 0
        left, top = (round(float(c)) for c in shape["points"][0])
        cut = part[max(0, -top) : size[0] - top, max(0, -left) : size[1] - left]
        return run_lengths(cut, (max(0, top), max(0, left)), size)
