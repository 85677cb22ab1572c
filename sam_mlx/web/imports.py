"""Annotations from files, as objects: COCO, labelme, YOLO, label images, and zips of these."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ..image_files import as_value_error
from ..masks import Rle, compress_rle, record_of
from ..messages import printable
from ..overlay import hex_colour
from ..tuner.data import objects_of_labels
from ..tuner.data.coco import rle_of_coco
from ..tuner.data.labelme import mask_of_shape, ring_of_shape
from ..tuner.data.picture import check_labels
from ..tuner.data.polygons import filled, rings_of
from .classes import MAX_CLASSES, Category, as_line
from .errors import Refusal
from .exports import file_names
from .names import alike
from .objects import MaskObject, Size
from .sessions import Picture, Session
from .validate import parse

MAX_BYTES = 256 << 20  # of a file, and of all that a zip holds
MAX_FILES = 10_000  # of a zip
LABELS = re.compile(r"[_-](masks?|labels?|classes|seg|gt|cp_masks)$", re.IGNORECASE)
DAMAGE = (
    zipfile.BadZipFile, RuntimeError, EOFError, OSError, LookupError, TypeError, AttributeError,
    OverflowError, yaml.YAMLError,
)  # fmt: skip
IMAGES = {".png", ".tif", ".tiff", ".bmp"}


@dataclass
class Found:
    """The objects of one picture in a file: of each its class's name, its name, and its mask."""

    file_name: str  # the picture's, or without its ending
    masks: Any  # (size) -> iterable of (class or None, name, RLE)


Entries = Iterator[tuple["str | None", str, Rle]]


# Reading. Each of these yields what a file says of one picture after another.


def found_in(name: str, data: bytes, names: list[str]) -> Iterator[Found]:
    """names: of classes, by YOLO's numbers."""
    ending = PurePosixPath(name).suffix.lower()
    if ending == ".zip":
        yield from in_zip(data, names)
    elif ending == ".json":
        yield from in_json(name, parse(data, printable(name)))
    elif ending == ".txt":
        yield Found(PurePosixPath(name).stem, partial(of_yolo, data, name, names))
    elif ending in IMAGES:
        stem = LABELS.sub("", PurePosixPath(name).stem)
        yield Found(stem, partial(of_labels, data, name, names))
    else:
        raise Refusal(
            415, f"{printable(name)} holds no annotations that are known: expected COCO's or "
            "labelme's JSON, YOLO's text, a label image, or a zip of these"
        )  # fmt: skip


def in_zip(data: bytes, names: list[str]) -> Iterator[Found]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir() and is_wanted(e.filename)]
        if "session.json" in archive.namelist():
            raise Refusal(415, "this is a session file: open it with Open a session")
        if len(entries) > MAX_FILES or sum(e.file_size for e in entries) > MAX_BYTES:
            raise Refusal(413, f"the zip holds more than {MAX_FILES} files, or {MAX_BYTES} bytes")
        for entry in entries:
            if PurePosixPath(entry.filename).name == "data.yaml":
                names = names_in(read(archive, entry))
        for entry in entries:
            if not entry.filename.endswith(".yaml"):
                yield from found_in(entry.filename, read(archive, entry), names)


def is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    known = {".json", ".txt", ".yaml"} | IMAGES
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in known and not hidden and path.name != "classes.txt"


def read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def names_in(text: bytes) -> list[str]:
    """The names of classes in YOLO's data.yaml: a list, or a mapping of numbers."""
    names = yaml.safe_load(text).get("names", [])
    if isinstance(names, Mapping):
        return [str(names.get(i, f"class {i}")) for i in range(max(names, default=-1) + 1)]
    return list(map(str, names))


def in_json(name: str, values: Any) -> Iterator[Found]:
    if isinstance(values, Mapping) and isinstance(values.get("shapes"), list):
        picture = values.get("imagePath") or PurePosixPath(name).stem
        yield Found(str(picture).replace("\\", "/"), partial(of_labelme, values["shapes"], name))
    elif isinstance(values, Mapping) and {"images", "annotations"} <= values.keys():
        yield from in_coco(values)
    else:
        raise Refusal(415, f"{printable(name)} is neither COCO's JSON nor labelme's")


def in_coco(values: Mapping[str, Any]) -> Iterator[Found]:
    names = {each["id"]: str(each["name"]) for each in values.get("categories", [])}
    members: dict[Any, list[Mapping[str, Any]]] = {}
    for annotation in values["annotations"]:
        members.setdefault(annotation["image_id"], []).append(annotation)
    for image in values["images"]:
        if image["id"] in members:
            file = str(image["file_name"])
            yield Found(file, partial(of_coco, members[image["id"]], names))


# Masks. Each of these gives the objects for a picture of a size.


def of_coco(annotations: list[Mapping[str, Any]], names: dict[Any, str], size: Size) -> Entries:
    for each in annotations:
        if each.get("segmentation"):
            rle = rle_of_coco(each["segmentation"], size)
            yield names.get(each.get("category_id")), str(each.get("name") or ""), rle


def of_labelme(shapes: list[Mapping[str, Any]], name: str, size: Size) -> Entries:
    """Shapes of one group and label are one object."""
    groups: dict[Any, tuple[Mapping[str, Any], list[np.ndarray]]] = {}
    for i, shape in enumerate(shapes):
        kind, group = shape.get("shape_type") or "polygon", shape.get("group_id")
        told = str(shape.get("label") or ""), str(shape.get("description") or "")
        if kind == "mask":
            yield *told, mask_of_shape(shape, size, name)
        elif (ring := ring_of_shape(kind, shape, name)) is not None:
            key = i if group is None else (group, told[0])
            groups.setdefault(key, (shape, []))[1].append(ring)
    for shape, rings in groups.values():
        told = str(shape.get("label") or ""), str(shape.get("description") or "")
        yield *told, filled(rings, size, union=True)


def of_yolo(data: bytes, name: str, names: list[str], size: Size) -> Entries:
    for line in data.decode("utf-8", "replace").splitlines():
        if not (words := line.split()):
            continue
        if len(words) == 5:
            raise ValueError(f"{printable(name)} holds boxes; expected outlines of three corners")
        number, *numbers = map(float, words)
        (ring,) = rings_of([numbers], name)
        yield named(names, int(number)), "", filled([ring * size[::-1]], size)


def of_labels(data: bytes, name: str, names: list[str], size: Size) -> Entries:
    """A label image: an object for each number; of one named x_classes, numbers are classes."""
    with as_value_error(printable(name)), Image.open(io.BytesIO(data)) as image:
        plain = image.mode == "P" or not image.mode.startswith("I;")
        labels = np.asarray(image if plain else image.convert("I"))
    labels = check_labels(labels, name)
    if labels.shape != size:
        raise ValueError(f"{printable(name)} has {labels.shape} rows and columns; expected {size}")
    numbers = np.unique(labels)
    is_classes = PurePosixPath(name).stem.lower().endswith("classes")
    for number, rle in zip(numbers[numbers > 0].tolist(), objects_of_labels(labels)):
        yield named(names, number - 1) if is_classes else None, "", rle


def named(names: list[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else f"class {number}"


# Adding.


class Adding:
    """An import under way: nothing reaches the session before ``finish``.

    The session may change while a file is read. Make it and ``finish`` it in the thread that
    answers requests; ``read``, which takes time, may run in any thread.
    """

    def __init__(self, session: Session, name: str):
        self.session, self.name = session, name
        self.names = [each.name for each in session.classes]
        self.left_out: list[str] = []  # and why
        self.made: dict[str, list[tuple[str | None, MaskObject]]] = {}  # by the picture's id
        self.pictures: dict[str, Picture] = {}  # by names alike, with their endings and without
        for file, picture in file_names(session):
            self.pictures[alike(file)] = picture
        for file, picture in file_names(session):
            for alias in (file, picture.name):
                self.pictures.setdefault(alike(PurePosixPath(alias).stem), picture)

    def read(self, data: bytes) -> None:
        """Find the file's objects. Raises Refusal for one that cannot be read whole."""
        try:
            for found in found_in(self.name, data, self.names):
                self.take(found)
        except DAMAGE as error:
            name = printable(self.name)
            raise Refusal(400, f"{name} is damaged, or not what its ending says") from error
        except ValueError as error:
            raise Refusal(400, str(error)) from None

    def take(self, found: Found) -> None:
        name = PurePosixPath(found.file_name).name
        names = alike(name), alike(PurePosixPath(name).stem)
        picture = next((self.pictures[n] for n in names if n in self.pictures), None)
        if picture is None:
            self.left_out.append(f"{printable(name)}: no picture has this name")
            return
        objects = self.made.setdefault(picture.id, [])
        for kind, title, rle in found.masks(picture.size):
            if tuple(rle["size"]) != picture.size:
                raise ValueError(f"a mask of {printable(name)} has another size than the picture")
            (start,) = compress_rle([rle])
            added = picture.new_object(len(objects))
            added.start, added.name = start, title[:200] or added.name
            added.set_base(record_of(start, 0.0, 0.0), picture.size)
            objects.append((kind, added))

    def finish(self) -> dict[str, list[MaskObject]]:
        """Add the objects to the session's pictures, with new classes; what was added, by picture.

        Raises Refusal, and adds nothing, where there are too many.
        """
        session, numbers = self.session, Numbers(self.session)
        for picture in {p.id: p for p in self.pictures.values()}.values():
            if picture.id in self.made and picture.id not in session.pictures:
                self.left_out.append(f"{picture.name}: it was removed in the meantime")
                del self.made[picture.id]
        for name, made in self.made.items():
            session.picture(name).check_room(len(made))
            for kind, added in made:
                added.category = numbers.of(kind)
        if numbers.classes != session.classes:
            session.set_classes(numbers.classes)
        for name, made in self.made.items():
            for _, added in made:
                session.put(session.picture(name), added)
        return {name: [added for _, added in made] for name, made in self.made.items()}


class Numbers:
    """The ids of classes by their names: those of a session, and new ones."""

    def __init__(self, session: Session):
        self.classes = list(session.classes)
        every = [o for p in session.pictures.values() for o in p.objects.values()]
        used = [each.id for each in self.classes] + [o.category or 0 for o in every]
        self.next_id = max(used, default=0) + 1  # of a new class

    def of(self, name: str | None) -> int | None:
        if not name or not (name := as_line(name)[:200]):
            return None
        for each in self.classes:
            if each.name == name:
                return each.id
        if len(self.classes) >= MAX_CLASSES:
            raise Refusal(400, f"the file has more than {MAX_CLASSES} classes")
        number = self.next_id
        self.next_id += 1
        self.classes.append(Category(number, name, hex_colour(len(self.classes))))
        return number
