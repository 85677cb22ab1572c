"""Pages and channels of TIFF files, through the shell."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("zarr")

from sam_mlx.batch import stacks
from sam_mlx.cli import main


class Recorded:
    """Takes the generator's place, and keeps the pictures that it is given."""

    def __init__(self, model):
        self.model = model
        self.pictures = []

    @property
    def predictor(self):
        return self

    def generate(self, image, progress=None):
        self.pictures.append(image)
        return []


@pytest.fixture
def auto(monkeypatch, tmp_path, capsys):
    """``sam-mlx auto`` on a folder, without a search: its exit code, pictures and output."""
    from sam_mlx import Sam
    from sam_mlx.commands import auto as command

    recorded = Recorded(Sam.from_pretrained("nano"))
    monkeypatch.setattr(command, "generator_of", lambda *_: recorded)

    def run(*arguments: object, out: str = "out"):
        recorded.pictures.clear()
        code = main(["auto", *map(str, arguments), "-o", str(tmp_path / out), "--format", "rle"])
        said = capsys.readouterr()
        return code, list(recorded.pictures), said.out + said.err

    return run


def results(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").glob("[!.]*.json"))


def samples(*shape, dtype=np.uint8, seed=0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def test_each_page_is_a_picture(auto, tmp_path):
    stack = samples(12, 20, 30)
    tifffile.imwrite(tmp_path / "cells.tif", stack)
    code, pictures, said = auto(tmp_path / "cells.tif")
    assert code == 0 and "12 of 12 pictures" in said
    assert results(tmp_path) == [f"cells_{i:02}.json" for i in range(12)]
    for page, picture in zip(stack, pictures, strict=True):
        np.testing.assert_array_equal(picture, np.repeat(page[..., None], 3, axis=2))
    assert auto(tmp_path / "cells.tif")[1] == []  # all there
    tifffile.imwrite(tmp_path / "cells.tif", stack[::-1])
    code, pictures, said = auto(tmp_path / "cells.tif")
    assert len(pictures) == 12 and "12 made again" in said


def test_chosen_pages(auto, tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", samples(12, 20, 30))
    code, pictures, _ = auto(tmp_path / "cells.tif", "--pages", "0", "3-5")
    assert code == 0 and len(pictures) == 4
    assert results(tmp_path) == [f"cells_{i:02}.json" for i in (0, 3, 4, 5)]
    code, _, said = auto(tmp_path / "cells.tif", "--pages", "40")
    assert code == 2 and "no picture has one of the --pages" in said
    with pytest.raises(SystemExit):
        auto(tmp_path / "cells.tif", "--pages", "5-3")


@pytest.mark.parametrize("metadata", ["imagej", "ome"])
def test_axes_are_the_files_own(auto, tmp_path, metadata):
    hyperstack = samples(2, 3, 3, 20, 30, dtype=np.uint16)  # T, Z, C, Y, X
    kind = {"imagej": True} if metadata == "imagej" else {"ome": True}
    tifffile.imwrite(tmp_path / "cells.tif", hyperstack, metadata={"axes": "TZCYX"}, **kind)
    code, pictures, _ = auto(tmp_path / "cells.tif")
    assert code == 0 and len(pictures) == 6
    expected = np.moveaxis(hyperstack.reshape(6, 3, 20, 30), 1, -1) >> 8
    np.testing.assert_array_equal(pictures, expected)


def test_channels_by_choice(auto, tmp_path):
    five = samples(5, 20, 30)
    tifffile.imwrite(tmp_path / "five.tif", five, metadata={"axes": "CYX"}, imagej=True)
    code, pictures, said = auto(tmp_path / "five.tif")
    assert code == 1 and "has 5 channels; choose up to 3 with --channels" in said
    (picture,) = auto(tmp_path / "five.tif", "--channels", 4, 0, 1, out="chosen")[1]
    np.testing.assert_array_equal(picture, np.moveaxis(five[[4, 0, 1]], 0, -1))


def test_two_channels_and_one(tmp_path):
    two = samples(2, 20, 30)
    path = tmp_path / "two.tif"
    tifffile.imwrite(path, two, metadata={"axes": "CYX"}, imagej=True)
    picture = stacks.load_page(path, 0, [1, 0], None)
    np.testing.assert_array_equal(picture, np.dstack([two[1], two[0], 0 * two[0]]))
    gray = stacks.load_page(path, 0, [1], None)
    np.testing.assert_array_equal(gray, np.repeat(two[1][..., None], 3, axis=2))


def test_channels_of_ordinary_pictures(auto, tmp_path):
    colours = samples(20, 30, 3)
    Image.fromarray(colours).save(tmp_path / "a.png")
    (picture,) = auto(tmp_path / "a.png", "--channels", 2, 0, 1)[1]
    np.testing.assert_array_equal(picture, colours[..., [2, 0, 1]])


@pytest.mark.parametrize("channels", [[0, 1, 2, 3], [-1]])
def test_too_many_channels(auto, tmp_path, channels):
    Image.fromarray(samples(20, 30, 3)).save(tmp_path / "a.png")
    code, _, said = auto(tmp_path / "a.png", "--channels", *channels)
    assert code == 2 and "a picture has up to 3, counted from 0" in said
    assert not (tmp_path / "out").exists()


def test_a_channel_that_is_not_there(auto, tmp_path):
    Image.fromarray(samples(20, 30, 3)).save(tmp_path / "a.png")
    code, _, said = auto(tmp_path / "a.png", "--channels", 7)
    assert code == 1 and "has the channels 0 to 2; --channels asks for 7" in said
    assert results(tmp_path) == []


def test_odd_axes(auto, tmp_path):
    path = tmp_path / "odd.tif"
    tifffile.imwrite(path, samples(2, 20, 30, 3), metadata={"axes": "CYXS"}, photometric="rgb")
    code, _, said = auto(path)
    assert code == 1 and "axes CYXS (2, 20, 30, 3); expected one Y, one X, and C or S" in said
    assert results(tmp_path) == []


def test_ordinary_tiffs_are_read_as_before(auto, tmp_path):
    for i, shape in enumerate([(20, 30), (20, 30, 3), (20, 30, 4)]):
        tifffile.imwrite(tmp_path / f"{i}.tif", samples(*shape))
        assert stacks.stack_of(tmp_path / f"{i}.tif") is None
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and no more")
    code, pictures, said = auto(tmp_path)
    assert code == 1 and len(pictures) == 3 and "not read: " in said
    assert results(tmp_path) == ["0.json", "1.json", "2.json"]


def test_without_tifffile_the_first_page_is_read(auto, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "cells.tif", samples(5, 20, 30))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    code, pictures, said = auto(tmp_path / "cells.tif")
    assert "5 frames or pages; the first is read" in said
    assert code == 0 and len(pictures) == 1 and results(tmp_path) == ["cells.json"]
    code, _, said = auto(tmp_path / "cells.tif", "--pages", "1")
    assert code == 2 and 'needs the package tifffile: pip install "sam-mlx[microscopy]"' in said
