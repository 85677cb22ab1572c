"""PNG files, white on black, and a table with the original script's columns."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from .base import Format, Result

COLUMNS = [
    "id",
    "area",
    "bbox_x0",
    "bbox_y0",
    "bbox_w",
    "bbox_h",
    "point_input_x",
    "point_input_y",
    "predicted_iou",
    "stability_score",
    "crop_box_x0",
    "crop_box_y0",
    "crop_box_w",
    "crop_box_h",
]


class MaskImages(Format):
    name = "masks"
    help = "a folder of PNG and metadata.csv for each picture"
    pattern = "{}"

    def write(self, result: Result, path: str) -> None:
        Path(path).mkdir()
        for i, mask in enumerate(result.masks):
            save_mask(mask, f"{path}/{file_name(result, i)}.png")
        with open(f"{path}/metadata.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for i, r in enumerate(result.records):
                quality = r["predicted_iou"], r["stability_score"]
                table.writerow(
                    [i, r["area"], *r["bbox"], *r["point_coords"][0], *quality, *r["crop_box"]]
                )

    def remove(self, path: Path) -> None:
        """Raises OSError for a folder that holds something else, which stays."""
        if not path.is_dir():
            return
        for entry in path.iterdir():
            if entry.name != "metadata.csv" and not re.fullmatch(r"\d+\.png", entry.name):
                raise OSError(
                    f"{path} holds {entry.name}, which this command did not write; move it"
                )
        shutil.rmtree(path)


def file_name(result: Result, i: int) -> str:
    """The number of a mask, and where it has a class, that and its name."""
    record = result.records[i]
    if "category_id" not in record:
        return str(i)
    text = "_".join(filter(None, (str(i), result.category(i), record.get("name"))))
    return re.sub(r'[\x00-\x1f\x7f\ud800-\udfff<>:"/\\|?*]', "-", text)[:60].rstrip(". ")


def save_mask(mask: np.ndarray, path: str) -> None:
    """A mask (H, W) bool as an 8-bit PNG, 255 where it is set."""
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
