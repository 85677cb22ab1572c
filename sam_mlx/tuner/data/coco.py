"""COCO's JSON: polygons or run lengths of all pictures in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...files import read_json
from ...images import load_image
from ...masks import Rle, decode_rle, encode_rle
from ...messages import printable, short
from ...samples import Range
from .picture import MAX_TEXT, LabelledPicture
from .polygons import filled, rings_of


def recognises(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def read(path: Path, images: Path | None, value_range: Range | None) -> list[LabelledPicture]:
    """The pictures of a COCO file.

    images: their folder; by default they are looked for near the file.
    """
    values = read_json(path, MAX_TEXT)
    if not isinstance(values, Mapping) or not {"images", "annotations"} <= values.keys():
        raise ValueError(
            f"{printable(str(path))} is not a COCO file: it lacks images or annotations"
        )
    members: dict[Any, list[Mapping[str, Any]]] = {}
    for annotation in values["annotations"]:
        if not isinstance(annotation, Mapping) or "segmentation" not in annotation:
            raise ValueError(
                f"{printable(str(path))} has the annotation {short(annotation)}; expected one with "
                "image_id and segmentation: boxes alone are not masks"
            )
        if not annotation.get("iscrowd") or isinstance(annotation["segmentation"], Mapping):
            members.setdefault(annotation.get("image_id"), []).append(annotation)
    return [
        LabelledPicture(
            str(image["file_name"]),
            place := picture_at(path, images, str(image["file_name"])),
            partial(load_image, place, value_range=value_range),
            partial(objects_of_coco, members[image["id"]], (image["height"], image["width"])),
        )
        for image in values["images"]
        if image["id"] in members
    ]


def picture_at(path: Path, images: Path | None, name: str) -> Path:
    """Where a picture of a COCO file is: in its folder, or one named images beside the file."""
    places = [images] if images else [path.parent, path.parent / "images", path.parent.parent]
    for folder in places:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{printable(name)} of {printable(str(path))} is not in {places[0]}: give the folder with "
        "--images"
    )


def objects_of_coco(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> list[Rle]:
    return [rle_of_coco(each["segmentation"], size) for each in annotations]


def rle_of_coco(segmentation: Any, size: tuple[int, int]) -> Rle:
    """Run lengths, compressed or not, or polygons, of which each is filled."""
    if isinstance(segmentation, Mapping):
        return encode_rle(decode_rle([dict(segmentation)]))[0]
    rings = rings_of(segmentation, "the COCO file")
    if not rings:
        raise ValueError("the COCO file has a segmentation without a polygon")
    return filled(rings, size, True, "the COCO file")
