"""What every output format keeps to; what is in the files: test_batch.py."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_mlx import masks as M
from sam_mlx.formats import ALL, FORMATS, Format, Result


def result(count: int) -> Result:
    masks = np.zeros((count, 12, 20), bool)
    for i in range(count):
        masks[i, i : i + 6, 2 * i : 2 * i + 9] = True
    records = [
        {
            "segmentation": rle,
            "area": int(mask.sum()),
            "bbox": [0, 0, 1, 1],
            "predicted_iou": 0.9,
            "point_coords": [[1.5, 2.5]],
            "stability_score": 0.95,
            "crop_box": [0, 0, 20, 12],
        }
        for mask, rle in zip(masks, M.compress_rle(M.encode_rle(masks)))
    ]
    return Result("picture.png", 1, np.full((12, 20, 3), 90, np.uint8), records)


def test_names_are_unique_and_so_are_paths_but_of_the_two_that_exclude_each_other():
    assert list(FORMATS) == [format.name for format in ALL] and len(FORMATS) == len(ALL)
    same = {(a.name, b.name) for a, b in combinations(ALL, 2) if a.pattern == b.pattern}
    assert same == {("sa1b", "rle")}
    assert all(format.help for format in ALL)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_every_format_writes_what_it_is_given(format: Format, count: int, tmp_path: Path):
    path = format.path(tmp_path, "picture")
    path.parent.mkdir(exist_ok=True)
    format.write(result(count), str(path))
    if path.is_dir():
        assert len(list(path.glob("*.png"))) == count
    elif path.suffix == ".json":
        assert path.read_text().count('"segmentation"') == count
    else:
        assert Image.open(path).size == (20, 12)
    if format.joined:
        format.finish({"picture": path}, str(tmp_path / "joined.json"))
        dataset = json.loads((tmp_path / "joined.json").read_text())
        assert len(dataset["annotations"]) == count and len(dataset["images"]) == 1
    else:
        with pytest.raises(NotImplementedError, match=format.name):
            format.finish({}, "")
    assert path.exists()
    for _ in range(2):
        format.remove(path)
        assert not path.exists()


def test_a_folder_with_something_else_is_not_removed(tmp_path: Path):
    path = tmp_path / "picture"
    FORMATS["masks"].write(result(2), str(path))
    (path / "mine.png").touch()
    with pytest.raises(OSError, match=r"mine\.png"):
        FORMATS["masks"].remove(path)
    assert len(list(path.iterdir())) == 4


def test_masks_are_decoded_one_at_a_time():
    masks = result(3).masks
    assert len(masks) == 3 and [int(mask.sum()) for mask in masks] == [54, 54, 54]
