"""Sessions of ``sam-mlx web``: the objects that were made there."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from ...images import load_image
from ...masks import Rle, decode_rle, encode_rle
from ...samples import Range
from ...web.archive import load
from ...web.errors import Refusal
from ...web.sessions import Picture
from ...web.store import Content, Store
from .picture import LabelledPicture


def recognises(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return "session.json" in archive.namelist()


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    """Pictures with their objects. The samples of each are read as the page did, unless a range is
    given.
    """
    store = Store(value_range=value_range)  # its folder is there as long as something refers to it
    try:
        pictures = load(path, store).pictures.values()
    except Refusal as error:
        raise ValueError(f"{path}: {error}") from error
    return [of_picture(one, store, value_range) for one in pictures if one.objects]


def of_picture(picture: Picture, store: Store, value_range: Range | None) -> LabelledPicture:
    known = value_range or picture.content.value_range
    return LabelledPicture(
        f"{picture.name} ({picture.id})",
        picture.content.path,
        partial(read_picture, store, picture.content, value_range=known),
        partial(objects_of, picture),
    )


def read_picture(store: Store, content: Content, value_range: Range | None) -> np.ndarray:
    return load_image(store.folder / content.path.name, value_range=value_range)


def objects_of(picture: Picture) -> list[Rle]:
    """The masks of the picture's objects, but empty ones."""
    masks = (decode_rle([found.mask]) for found in picture.objects.values())
    return [encode_rle(mask)[0] for mask in masks if mask.any()]
