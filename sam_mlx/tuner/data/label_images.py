"""Pictures with label images: two folders, or both in one, as Cellpose, StarDist and MedSAM have
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...files import check_file
from ...image_files import MAX_BYTES, as_value_error
from ...images import load_image, picture_endings
from ...masks import Rle
from ...messages import printable
from ...samples import Range
from .picture import LabelledPicture, check_labels, objects_of_labels

# Names of folders, in the order in which they are looked for.
IMAGES = ("images", "imgs", "image", "img", "raw")
LABELS = ("labels", "masks", "gts", "label", "mask", "annotations")
ENDINGS = re.compile(r"[_-](masks?|labels?|seg|gt|cp_masks)$", re.IGNORECASE)
ARRAYS = {".npy"}


def recognises(path: Path) -> bool:
    return path.is_dir() and (folders_of(path) is not None or next(beside(path), None) is not None)


def read(path: Path, value_range: Range | None) -> list[LabelledPicture]:
    if (folders := folders_of(path)) is not None:
        return of_folders(*folders, value_range)
    return [
        one
        for picture, labels in beside(path)
        for one in of_pair(picture, labels, picture.name, value_range)
    ]


def folders_of(path: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and of label images below ``path``, if it has them."""
    inner = {each.name.lower(): each for each in path.iterdir() if each.is_dir()}
    images = next((inner[name] for name in IMAGES if name in inner), None)
    labels = next((inner[name] for name in LABELS if name in inner), None)
    if images is None or labels is None or not files_in(labels):
        return None
    return images, labels


def beside(path: Path) -> Iterator[tuple[Path, Path]]:
    """Pictures in a folder and their label images, such as ``x.tif`` and ``x_masks.tif``."""
    files = files_in(path)
    labels = {ENDINGS.sub("", file.stem): file for file in files if ENDINGS.search(file.stem)}
    for file in files:
        if file.stem in labels and file != labels[file.stem]:
            yield file, labels[file.stem]


def of_folders(
    images: Path, labels: Path, value_range: Range | None = None
) -> list[LabelledPicture]:
    """Pictures of one folder with the label images of another, matched by name.

    Raises ValueError, with names, where a picture has no labels, or labels have no picture.
    """
    pictures = {file.stem: file for file in files_in(images)}
    found = {ENDINGS.sub("", file.stem): file for file in files_in(labels)}
    found |= {file.stem: file for file in files_in(labels) if file.stem in pictures}
    without = sorted(pictures.keys() - found.keys())
    strangers = sorted(found.keys() - pictures.keys())
    if not pictures or without or strangers:
        raise ValueError(misfits(images, labels, len(pictures), without, strangers))
    return [
        one
        for name, picture in sorted(pictures.items())
        for one in of_pair(picture, found[name], picture.name, value_range)
    ]


def misfits(
    images: Path, labels: Path, count: int, without: list[str], strangers: list[str]
) -> str:
    if not count:
        return f"no pictures in {images}: expected files with the names of those in {labels}"
    lines = []
    if without:
        lines.append(f"{len(without)} of {count} pictures have no labels, such as {without[0]}")
    if strangers:
        lines.append(f"{len(strangers)} labels have no picture, such as {strangers[0]}")
    return printable(
        f"{images} and {labels}: {'; '.join(lines)}. Pictures and labels need the same names, up "
        "to an ending such as _masks"
    )


def of_pair(
    picture: Path, labels: Path, name: str, value_range: Range | None
) -> list[LabelledPicture]:
    """A picture with its label image, or each page of two stacks."""
    pages = pages_of(labels)
    if pages_of(picture) != pages:
        raise ValueError(
            f"{printable(str(picture))} has {pages_of(picture)} pages, and "
            f"{printable(str(labels))} has {pages}: they do not belong together"
        )
    return [
        LabelledPicture(
            name if pages == 1 else f"{name}[{page}]",
            picture,
            partial(read_picture, picture, page, value_range=value_range),
            partial(read_objects, labels, page),
            page,
        )
        for page in range(pages)
    ]


def read_picture(path: Path, page: int, value_range: Range | None) -> np.ndarray:
    if path.suffix.lower() in ARRAYS:
        return load_image(read_array(path), value_range=value_range or range_of_medsam(path))
    if pages_of(path) == 1:
        return load_image(path, value_range=value_range)
    with as_value_error(str(path)), Image.open(path) as stack:
        stack.seek(page)
        return load_image(stack.copy(), value_range=value_range)


def range_of_medsam(path: Path) -> Range | None:
    """MedSAM's own preparation saves pictures with samples from 0 to 1 in ``imgs``."""
    return (0.0, 1.0) if path.parent.name == "imgs" else None


def read_objects(path: Path, page: int) -> list[Rle]:
    return objects_of_labels(check_labels(read_labels(path, page), str(path)))


def read_labels(path: Path, page: int) -> np.ndarray:
    """The samples of a label image as they are in the file."""
    if path.suffix.lower() in ARRAYS:
        return read_array(path)
    check_file(path, MAX_BYTES)
    with as_value_error(str(path)), Image.open(path) as image:
        image.seek(page)
        if image.mode == "P":  # a palette: its numbers, not its colours
            return np.asarray(image)
        return np.asarray(image.convert("I") if image.mode.startswith("I;") else image)


def read_array(path: Path) -> np.ndarray:
    """The array in a file of numpy's. Raises ValueError for pickles, which could run code."""
    check_file(path, MAX_BYTES)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"cannot read {printable(str(path))}: {error}. Cellpose's _seg.npy is a pickle; save "
            "its masks as TIFF or PNG"
        ) from error


def pages_of(path: Path) -> int:
    if path.suffix.lower() in ARRAYS:
        return 1
    check_file(path, MAX_BYTES)
    with as_value_error(str(path)), Image.open(path) as image:
        return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def files_in(folder: Path) -> list[Path]:
    """The pictures and arrays of a folder, but hidden ones, sorted."""
    endings = picture_endings() | ARRAYS
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in endings and file.is_file() and not file.name.startswith(".")
    )
