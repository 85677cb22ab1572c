"""Labelled pictures in the forms that people have: label images, COCO, labelme, YOLO."""

from __future__ import annotations

from pathlib import Path

from ...files import user_path
from ...samples import Range
from . import coco, label_images, labelme, session, yolo
from .picture import LabelledPicture, objects_of_labels

__all__ = ["LabelledPicture", "objects_of_labels", "open_data"]


def open_data(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    labels: str | Path | None = None,
    value_range: Range | None = None,
) -> list[LabelledPicture]:
    """Labelled pictures, whose pixels and objects are read when they are asked for.

    data: a folder with a folder of pictures and one of label images, which have the same names
    (images and labels or masks; MedSAM's imgs and gts); a folder of pictures with their label
    images beside them (``x_masks.tif``, as Cellpose has it), or with labelme's JSON; YOLO's folders
    images and labels; a COCO file; or a session of ``sam-mlx web``, saved, or the file in which the
    server keeps it. images, labels: the two folders themselves; with a COCO file ``images`` is
    where its pictures are. Stacks in TIFF are a picture for each page.

    Raises FileNotFoundError if something is not there, ValueError if nothing is labelled, or
    pictures and labels do not fit together.
    """
    if data is None:
        if images is None or labels is None:
            raise ValueError("give the data, or both images and labels")
        found = label_images.of_folders(existing(images), existing(labels), value_range)
    else:
        folder = None if images is None else existing(images)
        found = read(existing(data), folder, value_range)
    if not found:
        raise ValueError(f"nothing is labelled in {data or images}")
    return found


def existing(path: str | Path) -> Path:
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return path


def read(path: Path, images: Path | None, value_range: Range | None) -> list[LabelledPicture]:
    if session.recognises(path):
        return session.read(path, value_range)
    if coco.recognises(path):
        return coco.read(path, images, value_range)
    if yolo.folders_of(path):
        return yolo.read(path, value_range)
    if label_images.recognises(path):
        return label_images.read(path, value_range)
    if labelme.files_of(path):
        return labelme.read(path, value_range)
    raise ValueError(
        f"{path} holds no labelled pictures that are known: expected a COCO file, or a folder with "
        "images and labels, x.tif with x_masks.tif, or labelme's JSON; or a session of sam-mlx web"
    )
