"""Automatic masks of many files: ``sam-mlx auto``.

Results appear whole or not at all, and what is there is not made again, so that a run that was
stopped continues. Under ``mlx.launch`` every process takes its share of the files.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from os.path import commonpath
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image

from .automatic_mask_generator import SamAutomaticMaskGenerator
from .files import write_whole
from .masks import coco_annotations, decode_rle, label_map
from .overlay import draw_overlay
from .predictor import fingerprint
from .transforms import load_image

SETTINGS = ".settings.json"
DATASET = "annotations.json"
COLUMNS = (
    "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
    "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
).split(",")


def run(
    source: str,
    output: str | Path,
    formats: Sequence[str],
    generator: Callable[[], SamAutomaticMaskGenerator],
    settings: dict,
) -> int:
    """Segment every picture of ``source`` into the folder ``output``; returns the exit code.

    generator: called when there is work. settings: what the results depend on; a folder with
    results of other settings is refused. Returns 0, or 1 when some files could not be read.
    Raises ValueError, FileNotFoundError or NotADirectoryError before any work.
    """
    pictures = find_pictures(source)
    output = Path(output)
    if output.resolve() in {path.parent.resolve() for path in pictures.values()}:
        raise ValueError(f"{output} holds the pictures themselves; write to another folder")
    check_names(pictures, output, formats)
    output.mkdir(parents=True, exist_ok=True)
    check_settings(output / SETTINGS, settings)
    group = mx.distributed.init()
    workspace = output / f".partial-{group.rank()}"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    try:
        # Which process takes which picture must not depend on what is done already.
        mine = {name: i for i, name in enumerate(pictures, 1) if i % group.size() == group.rank()}
        todo = {
            name: i
            for name, i in mine.items()
            if not all(path.exists() for path in targets(output, formats, name).values())
        }
        failures = {}
        if todo:
            model = generator()
            # The same name may stand for other weights by now.
            sam = model.predictor.model
            settings = {**settings, "weights": fingerprint(sam.config, sam)}
            check_settings(output / SETTINGS, settings)
            # Noted once all is known to fit, or a slip in the options would bar their correction.
            note_settings(output / SETTINGS, settings, workspace)
            with Bars(len(todo), shown=group.rank() == 0) as bars:
                for name, number in todo.items():
                    try:
                        image = load_image(pictures[name])
                    except (ValueError, OSError) as error:
                        failures[name] = error
                    else:
                        records = model.generate(image, progress=bars.points)
                        result = Result(pictures[name].name, number, image, records)
                        write_missing(result, targets(output, formats, name), workspace)
                    bars.images()
        for name, error in failures.items():
            text = " ".join(str(error).split())
            print(f"not read: {pictures[name]}: {text}", file=sys.stderr)
        made, failed = total(len(todo) - len(failures)), total(len(failures))
        if group.rank() == 0:
            if "coco" in formats:
                parts = {name: targets(output, ["coco"], name)["coco"] for name in pictures}
                join_coco(parts, output / DATASET, workspace)
            for leftover in output.glob(".partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            there = len(pictures) - made - failed
            print(
                f"{made} of {len(pictures)} pictures segmented into {output}"
                + (f", {there} were there already" if there else "")
                + (f", {failed} could not be read" if failed else "")
            )
        total(0)  # the launcher ends all processes as soon as one exits with a code other than 0
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return 1 if failed else 0


def targets(output: Path, formats: Sequence[str], name: str) -> dict[str, Path]:
    """Where the results of a picture go."""
    return {f: output / FORMATS[f][0].format(name) for f in formats}


def write_missing(result: Result, paths: dict[str, Path], workspace: Path) -> None:
    for format, path in paths.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, partial(FORMATS[format][1], result), workspace)


def total(count: int) -> int:
    """The sum over all processes, each of which waits here for the others."""
    return mx.distributed.all_sum(mx.array(count), stream=mx.cpu).item()


def find_pictures(source: str) -> dict[str, Path]:
    """The pictures that a file name, a folder or a glob stands for, by the name of their results.

    That is the path below the folder they share, without its ending where that is unambiguous.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        endings = Image.registered_extensions()
        files = [f for f in path.iterdir() if f.suffix.lower() in endings and f.is_file()]
    elif path.exists() or not has_magic(source):
        files = [path]
    else:
        files = [Path(f) for f in glob(str(path), recursive=True) if Path(f).is_file()]
    if not files:
        raise FileNotFoundError(f"no pictures: {source}")
    if len(files) == 1 and not files[0].exists():
        raise FileNotFoundError(f"no such picture, folder or glob: {source}")
    root = commonpath([f.parent for f in files])
    files = sorted(f.relative_to(root) for f in files)
    times = Counter(f.with_suffix("") for f in files)
    names = [str(f if times[f.with_suffix("")] > 1 else f.with_suffix("")) for f in files]
    return {name: root / f for name, f in zip(names, files)}


def check_names(pictures: dict[str, Path], output: Path, formats: Sequence[str]) -> None:
    """Raise ValueError where two results would have one name."""
    paths = Counter(path for name in pictures for path in targets(output, formats, name).values())
    if "coco" in formats:
        paths[output / DATASET] += 1
    path, times = paths.most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"two results would be called {path}; rename the picture, or write each of the formats "
            f"{', '.join(formats)} to a folder of its own"
        )


def check_settings(path: Path, settings: dict) -> None:
    """Raise ValueError where results of other settings are."""
    if not path.exists():
        return
    before = json.loads(path.read_text())
    changed = sorted(k for k in settings if before.get(k) != settings[k])
    if changed:
        listed = ", ".join(f"{k}={before.get(k)} (now {settings.get(k)})" for k in changed)
        raise ValueError(
            f"{path.parent} holds results made with {listed}; use another folder or delete it"
        )


def note_settings(path: Path, settings: dict, workspace: Path) -> None:
    text = json.dumps(settings, indent=2) + "\n"
    write_whole(path, lambda name: Path(name).write_text(text), workspace)


@dataclass(frozen=True)
class Result:
    """What one picture gave; segmentations are compressed RLE."""

    file_name: str
    number: int  # among the run's pictures, from 1
    image: np.ndarray  # (H, W, 3)
    records: list[dict]


class Masks(Sequence):
    """The masks of records in RLE; only the one asked for is in memory."""

    def __init__(self, records: Sequence[dict]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> np.ndarray:
        return decode_rle([self.records[i]["segmentation"]])[0]


def write_masks(result: Result, folder: str) -> None:
    """PNG files, white on black, and metadata.csv with the original script's columns."""
    Path(folder).mkdir()
    for i, mask in enumerate(Masks(result.records)):
        Image.fromarray(mask.astype(np.uint8) * 255).save(f"{folder}/{i}.png")
    with open(f"{folder}/metadata.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for i, r in enumerate(result.records):
            quality = r["predicted_iou"], r["stability_score"]
            table.writerow(
                [i, r["area"], *r["bbox"], *r["point_coords"][0], *quality, *r["crop_box"]]
            )


def write_rle(result: Result, path: str) -> None:
    Path(path).write_text(json.dumps(result.records))


def write_sa1b(result: Result, path: str) -> None:
    """One picture's file as the SA-1B dataset has it."""
    image = {"image_id": result.number, **size_and_name(result)}
    annotations = [{"id": i, **record} for i, record in enumerate(result.records, 1)]
    Path(path).write_text(json.dumps({"image": image, "annotations": annotations}))


def write_coco(result: Result, path: str) -> None:
    """One picture's part of the dataset, with the ids that it would have alone."""
    image = {"id": 1, **size_and_name(result)}
    annotations = coco_annotations(result.records, image_id=1)
    Path(path).write_text(json.dumps({"image": image, "annotations": annotations}))


def size_and_name(result: Result) -> dict:
    height, width = result.image.shape[:2]
    return {"width": width, "height": height, "file_name": result.file_name}


def write_label_map(result: Result, path: str) -> None:
    labels = label_map(Masks(result.records), result.image.shape[:2])
    Image.fromarray(labels).save(path)


def write_overlay(result: Result, path: str) -> None:
    by_size = sorted(result.records, key=lambda record: -record["area"])
    draw_overlay(result.image, Masks(by_size)).save(path)


# What each picture's result is called, and what writes it.
FORMATS = {
    "masks": ("{}", write_masks),
    "rle": ("{}.json", write_rle),
    "sa1b": ("{}.json", write_sa1b),
    "coco": (".coco/{}.json", write_coco),
    "labelmap": ("{}_labels.png", write_label_map),
    "overlay": ("{}_overlay.png", write_overlay),
}


def join_coco(parts: dict[str, Path], path: Path, workspace: Path) -> None:
    """One dataset of the parts that are there; ids count through."""
    images, annotations = [], []
    for name, part in parts.items():
        if not part.exists():
            continue
        found = json.loads(part.read_text())
        number = len(images) + 1
        # The dataset names files as they lie below the folder that was segmented.
        file_name = str(Path(name).with_name(found["image"]["file_name"]))
        images.append({**found["image"], "id": number, "file_name": file_name})
        annotations += [
            {**a, "id": len(annotations) + i, "image_id": number}
            for i, a in enumerate(found["annotations"], 1)
        ]
    dataset = {
        "info": {"description": "Automatic masks of Segment Anything, by sam_mlx"},
        "licenses": [],
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
        "images": images,
        "annotations": annotations,
    }
    write_whole(path, lambda name: Path(name).write_text(json.dumps(dataset)), workspace)


class Bars:
    """Progress of pictures and of one picture's points; nothing where nobody looks."""

    def __init__(self, total: int, shown: bool):
        from tqdm import tqdm

        disable = None if shown else True  # None: only on a terminal
        self.outer = tqdm(total=total, unit="picture", disable=disable)
        self.inner = tqdm(unit="point", leave=False, position=1, disable=disable)

    def points(self, done: int, total: int) -> None:
        self.inner.total = total
        self.inner.update(done - self.inner.n)

    def images(self) -> None:
        self.outer.update()
        self.inner.reset()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *error) -> None:
        self.inner.close()
        self.outer.close()
