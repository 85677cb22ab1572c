"""Exports: files in the formats of the shell, and lines of Python."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from ..formats import FORMATS, Format, Result
from ..formats.large import LARGE_FORMATS
from ..formats.masks import save_mask
from ..masks import Rle, decode_rle
from . import large_out
from .automatic import SEARCHED, parts_of
from .errors import Refusal
from .instances import Thresholds
from .large import LargeContent
from .model import POINTS_AT_ONCE
from .names import alike, stem_of
from .objects import MaskObject
from .sessions import Picture, Session

NAMES = ("masks", "cutout", "coco", "yolo", "labelme", "labelmap", "classmap", "svg", "geojson")
TYPES = {".png": "image/png", ".json": "application/json", ".svg": "image/svg+xml",
         ".geojson": "application/geo+json", ".zip": "application/zip",
         ".txt": "text/plain", ".tif": "image/tiff",
         ".gpkg": "application/geopackage+sqlite3"}  # fmt: skip
WITH_PICTURE = {"cutout"}  # formats that need its pixels
LEFT_OUT = "left out.txt"  # in a zip: what could not be written, and why
LABELLED = {"yolo", "classmap"}  # formats whose classes are numbers
FOLDERS = {"yolo": "labels", "labelme": "labelme"}  # of some formats, among all files
File = tuple[bytes, str, str]  # with its type and its name


def export(session: Session, picture: Picture, name: str, chosen: str | None) -> File:
    """A file, its type and its name, for all objects of a picture or for one."""
    if picture.content.tiles is None:
        check_names([name])
    objects = picture.in_order() if chosen is None else [picture.object(chosen)]
    if not objects:
        raise Refusal(404, "the picture has no objects: click on one first")
    stem = stem_of(picture.name).rpartition("/")[2]
    if isinstance(picture.content, LargeContent):
        with tempfile.TemporaryDirectory() as folder:
            written = large_out.write(Path(folder), picture.content, objects, name)
            ending = LARGE_FORMATS[name].ending
            return written.read_bytes(), TYPES[written.suffix], f"{stem}{ending}"
    if name == "masks" and len(objects) == 1:
        return mask_png(objects[0]), TYPES[".png"], f"{stem}_mask.png"
    with tempfile.TemporaryDirectory() as folder:
        format = FORMATS[name]
        path = format.path_of_one(Path(folder), "picture")
        path.parent.mkdir(parents=True, exist_ok=True)
        format.write_one(result_of(session, picture, objects, name in WITH_PICTURE), str(path))
        if path.is_dir():
            return zipped(sorted(path.rglob("*")), path), TYPES[".zip"], f"{stem}_masks.zip"
        return path.read_bytes(), TYPES[path.suffix], f"{stem}_{name}{path.suffix}"


def check_names(names: Sequence[str]) -> None:
    if not names or not set(names) <= set(NAMES):
        raise Refusal(404, f"there is no such format; there are {', '.join(NAMES)}")


def mask_png(found: MaskObject) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        save_mask(decode_rle([found.mask])[0], str(path))
        return path.read_bytes()


def result_of(
    session: Session,
    picture: Picture,
    objects: list[MaskObject],
    with_picture: bool,
    name: str = "",
    number: int = 1,
) -> Result:
    size = picture.size
    image = picture.content.pixels() if with_picture else np.empty((*size, 3), np.uint8)
    categories = categories_of(session)
    numbers = {each.id: i for i, each in enumerate(session.classes, 1)}
    records = [found.record() for found in objects]
    if session.classes:
        for record, found in zip(records, objects):
            record["category_id"] = numbers.get(found.category or 0, len(categories))
    return Result(name or picture.name, number, image, records, categories=categories)


def categories_of(session: Session) -> list[str]:
    """The names of the session's classes, and one more if any of its objects has none of them."""
    names = [each.name for each in session.classes]
    known = {each.id for each in session.classes}
    every = (found for picture in session.pictures.values() for found in picture.in_order())
    if names and all(found.category in known for found in every):
        return names
    return [*names, next(name for name in ("object", "no class", "?") if name not in names)]


def export_all(session: Session, names: Sequence[str] = NAMES) -> bytes:
    """A zip of all pictures' objects in these formats; of one name, pictures are numbered."""
    check_names(names)
    pictures = [p for p in session.pictures.values() if p.objects]
    if not pictures:
        raise Refusal(404, "no picture has objects: click on one first")
    formats = [FORMATS[name] for name in names]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        every = {picture.id: name for name, picture in file_names(session)}
        files = [every[picture.id] for picture in pictures]
        stems = unique([Path(stem_of(p.name)) for p in pictures], paths_of)
        small: dict[str, str] = {}  # by the picture's name: what its files are called
        left_out: list[str] = []
        for number, (file, stem, picture) in enumerate(zip(files, stems, pictures), 1):
            if isinstance(picture.content, LargeContent):
                write_large(folder, stem, picture.content, picture.in_order())
                continue
            small[file] = stem
            result, writable = result_in(session, picture, file, number, formats, left_out)
            for format in writable:
                path = place(format, folder, stem)
                path.parent.mkdir(parents=True, exist_ok=True)
                format.write(result, str(path))
        for format in formats:
            if format.joined and small:
                parts = {file: place(format, folder, stem) for file, stem in small.items()}
                format.finish(parts, str(folder / format.joined))
        if small and not LABELLED.isdisjoint(names):
            (folder / "data.yaml").write_text(data_yaml(session), encoding="utf-8")
        if left_out:
            (folder / LEFT_OUT).write_text("\n".join(left_out) + "\n", encoding="utf-8")
        found = [p for p in sorted(folder.rglob("*")) if ".coco" not in p.parts]
        return zipped(found, folder)


def result_in(
    session: Session,
    picture: Picture,
    file: str,
    number: int,
    formats: list[Format],
    left_out: list[str],
) -> tuple[Result, list[Format]]:
    """A picture's result, and the formats that can have it: those with pixels need its file."""
    make = partial(result_of, session, picture, picture.in_order())
    if WITH_PICTURE.isdisjoint(format.name for format in formats):
        return make(False, file, number), formats
    try:
        return make(True, file, number), formats
    except Refusal as error:
        left_out.append(f"{file}: without {', '.join(WITH_PICTURE)}, for {error}")
        others = [format for format in formats if format.name not in WITH_PICTURE]
        return make(False, file, number), others


def data_yaml(session: Session) -> str:
    """The names of classes by their numbers, as YOLO has them."""
    values = {"train": "images", "val": "images", "names": dict(enumerate(categories_of(session)))}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def write_large(folder: Path, stem: str, content: LargeContent, objects: list[MaskObject]) -> None:
    """A large picture's objects in every format that can be written, in a folder of its own."""
    own = folder / f"{stem}_large"
    own.mkdir(parents=True)
    for name in LARGE_FORMATS:
        with suppress(Refusal):
            large_out.write(own, content, objects, name)


def paths_of(stem: Path) -> list[str]:
    """Where the results of a picture go."""
    return [str(place(FORMATS[name], Path(), str(stem))) for name in NAMES]


def place(format: Format, folder: Path, stem: str) -> Path:
    """Where the result of a picture goes among those of other formats."""
    return format.path(folder / FOLDERS.get(format.name, ""), stem)


def file_names(session: Session) -> list[tuple[str, Picture]]:
    """The session's pictures by the names that files of annotations have for them."""
    return [(picture.name, picture) for picture in session.pictures.values()]


def unique(names: list[Path], uses: Callable[[Path], list[str]]) -> list[str]:
    """Names made distinct by numbers before their endings, so that no two use the same paths.

    Paths count as the same that some disks hold for the same: in other cases or accents.
    """
    taken = {FORMATS["coco"].joined, "data.yaml", LEFT_OUT}
    found = []
    for name in names:
        new, i = name, 2
        while taken & (used := {alike(path) for path in uses(new)}):
            new, i = name.with_stem(f"{name.stem} {i}"), i + 1
        taken |= used
        found.append(str(new))
    return found


def zipped(files: list[Path], folder: Path) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return target.getvalue()


def python(model: str, picture: Picture, found: MaskObject, side: int) -> str:
    """Lines that, run beside the picture, give the object's mask as ``mask``.

    model: the arguments of ``from_pretrained``. side: of windows of large pictures, in pixels.
    """
    if isinstance(picture.content, LargeContent):
        return large_out.python(model, picture.content, found, side)
    if found.automatic is not None:
        first, *lines = of_automatic(model, picture, found.automatic)
    elif found.prompt:
        first, *lines = of_prompt(model, picture, found)
    elif found.start is not None:
        first, *lines = "from sam_mlx.masks import decode_rle", given_mask(found.start)
    else:
        first, *lines = "import numpy as np", f"mask = np.zeros({picture.size}, bool)"
    tools = []
    if found.min_mask_region_area > 0 and found.base is not None:
        tools.append("remove_small_regions")
        for mode in ("holes", "islands"):
            area = found.min_mask_region_area
            lines.append(f'mask, _ = remove_small_regions(mask, {area!r}, "{mode}")')
    if found.edits:
        tools.append("brush")
    for edit in found.edits:
        erase = ", erase=True" if edit["erase"] else ""
        lines.append(f"mask = brush(mask, {edit['path']!r}, {edit['radius']!r}{erase})")
    imported = [f"from sam_mlx.masks import {', '.join(sorted(tools))}"] if tools else []
    return "\n".join([first, *imported, *lines]) + "\n"


def read(picture: Picture) -> str:
    """The arguments that have a picture read as it was here, as Python."""
    value_range = picture.content.value_range
    return repr(picture.name) + (f", value_range={value_range}" if value_range else "")


def of_prompt(model: str, picture: Picture, found: MaskObject) -> list[str]:
    arguments = [f"{k}={v!r}" for k, v in found.prompt.items() if k != "start"]
    start: list[str] = []
    imported = "from sam_mlx.mask_inputs import mask_input", "from sam_mlx.masks import decode_rle"
    if found.start is not None:
        arguments.append("mask_input=mask_input(mask, predictor.model.config)")
        start = [given_mask(found.start)]
    arguments.append(f"multimask_output={found.asks_for_three}")
    chosen = "scores.argmax()" if found.choice is None else str(found.choice)
    chosen = chosen if found.asks_for_three else "0"
    return [
        "from sam_mlx import SamPredictor",
        *(imported if start else []),
        "",
        f"predictor = SamPredictor.from_pretrained({model})",
        f"predictor.set_image({read(picture)})",
        *start,
        f"masks, scores, _ = predictor.predict({', '.join(arguments)})",
        f"mask = masks[{chosen}]",
    ]


def given_mask(rle: Rle) -> str:
    return f"mask = decode_rle([{rle!r}])[0]"


def of_automatic(model: str, picture: Picture, name: str) -> list[str]:
    kind, _, index = parts_of(name)
    if "." in kind:
        maker, made, arguments = "InstanceSegmenter", "segmenter", asdict(Thresholds.of_kind(kind))
    else:
        maker, made = "SamAutomaticMaskGenerator", "generator"
        arguments = {"points_per_side": int(kind), "points_per_batch": POINTS_AT_ONCE, **SEARCHED}
    listed = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
    return [
        f"from sam_mlx import {maker}",
        "",
        f"{made} = {maker}.from_pretrained(",
        f"    {model}, {listed}",
        ")",
        f"records = {made}.generate({read(picture)})",
        f'mask = records[{index}]["segmentation"]',
    ]
