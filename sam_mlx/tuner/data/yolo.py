"""YOLO's outlines: a text file for each picture, in a folder named labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ...files import read_file
from ...images import load_image, picture_endings
from ...masks import Rle
from ...messages import printable, short
from ...samples import Range
from .picture import MAX_TEXT, LabelledPicture, size_of
from .polygons import filled, rings_of


def folders_of(path: Path) -> list[tuple[Path, Path]]:
    """Folders of pictures, each with its folder of text files, at any of YOLO's depths."""
    if not path.is_dir():
        return []
    pairs = []
    for images in sorted(p for p in path.glob("**/images") if p.is_dir()):
        inner = [images, *sorted(p for p in images.iterdir() if p.is_dir())]
        for folder in inner:
            labels = images.parent / "labels" / folder.relative_to(images)
            if any(labels.glob("*.txt")):
                pairs.append((folder, labels))
    return pairs


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    endings = picture_endings()
    return [
        LabelledPicture(
            str(picture.relative_to(path)),
            picture,
            partial(load_image, picture, value_range=value_range),
            partial(objects_of_text, labels / f"{picture.stem}.txt", picture),
        )
        for images, labels in folders_of(path)
        for picture in sorted(images.iterdir())
        if picture.suffix.lower() in endings and (labels / f"{picture.stem}.txt").is_file()
    ]


def objects_of_text(file: Path, picture: Path) -> list[Rle]:
    """The objects of a YOLO file: a class, then x, y, x, y, ... as shares of the sides."""
    height, width = size_of(picture)
    objects = []
    for line in read_file(file, MAX_TEXT).decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) == 5:
            raise ValueError(
                f"{printable(str(file))} holds boxes; expected outlines, a class and x, y, x, y, "
                "... of three corners or more"
            )
        if words:
            try:
                ring = np.array([float(word) for word in words[1:]])
            except ValueError:
                raise ValueError(f"{printable(str(file))} has the line {short(line)}") from None
            (ring,) = rings_of([ring], str(file))
            objects.append(filled([ring * (width, height)], (height, width), name=str(file)))
    return objects
