"""One COCO dataset for all pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from ..masks import coco_annotations
from .base import Format, Result

MAX_PART = 1 << 30  # bytes of one picture's part


class Coco(Format):
    name = "coco"
    help = "annotations.json for all pictures, as COCO has it"
    pattern = ".coco/{}.json"
    joined = "annotations.json"

    def write(self, result: Result, path: str) -> None:
        """One picture's part of the dataset, with ids as if it were alone."""
        image = {"id": 1, **result.describe()}
        annotations = [
            annotation | ({"name": record["name"]} if "name" in record else {})
            for annotation, record in zip(coco_annotations(result.records, 1), result.records)
        ]
        part = {"image": image, "annotations": annotations, "categories": list(result.categories)}
        write_json(path, part)

    def finish(self, parts: Mapping[str, Path], path: str) -> None:
        """Join the parts, which have the same classes; ids are numbered across all of them."""
        categories = ["object"]
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for name, part in parts.items():
            try:
                found = read_json(part, MAX_PART)
                found["image"]["file_name"], found["annotations"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{part} is damaged; delete it, and the same command makes it again"
                ) from error
            categories = found.get("categories", categories)
            number = len(images) + 1
            # The dataset names files by their paths below the folder that was segmented.
            file_name = str(Path(name).with_name(Path(found["image"]["file_name"]).name))
            images.append({**found["image"], "id": number, "file_name": file_name})
            annotations += [
                {**a, "id": len(annotations) + i, "image_id": number}
                for i, a in enumerate(found["annotations"], 1)
            ]
        dataset = {
            "info": {"description": "Automatic masks of Segment Anything, by sam_mlx"},
            "licenses": [],
            "categories": [
                {"id": i, "name": name, "supercategory": "object"}
                for i, name in enumerate(categories, 1)
            ],
            "images": images,
            "annotations": annotations,
        }
        write_json(path, dataset)
