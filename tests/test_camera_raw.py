"""Raw files of cameras are told apart from pictures, by content and by name."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from sam_mlx import camera_raw
from sam_mlx.images import load_image, look
from tests.support.pictures import tiff, tiff_file

PREVIEW = np.full((12, 16, 3), 90, np.uint8)
SENSOR = (262, 3, [32803])
REFUSED = r"cannot read .* as a picture: it is a camera's raw file.*rawpy.imread\(path\)"


def beside_a_preview(endian, tags):
    """A TIFF with a picture, as Pillow reads it, and another directory, named as a part of it."""
    place = len(tiff(PREVIEW, endian, more=[(330, 4, [0])]))
    data = tiff(PREVIEW, endian, more=[(330, 4, [place])])
    entries = b"".join(
        struct.pack(endian + "HHI", tag, kind, 1) + struct.pack(endian + "HH", value, 0)
        for tag, kind, (value,) in tags
    )
    return data + struct.pack(endian + "H", len(tags)) + entries + bytes(4)


HEADS = [
    b"FUJIFILMCCD-RAW 0201FF129502",
    b"IIRO\x08\0\0\0",
    b"IIRS\x08\0\0\0",
    b"MMOR\0\0\0\x08",
    b"IIU\0\x18\0\0\0",
    b"\0MRM\0\0",
    b"FOVb\0\0",
    b"\0\0\0\x18ftypcrx \0\0\0\x01",
    b"II\x1a\0\0\0HEAPCCDR",
    b"II*\0\x10\0\0\0CR\x02\0",
]
FILES = [
    *(head + bytes(64) for head in HEADS),
    tiff(PREVIEW, more=[(50706, 4, [0x0104])]),  # DNG
    tiff(PREVIEW, ">", more=[(50706, 4, [0x0104])]),
    *(beside_a_preview(endian, [SENSOR]) for endian in "<>"),  # NEF, ARW, SRW
    beside_a_preview("<", [(262, 3, [34892])]),
    tiff_file("<", bytes(24), [(256, 3, [4]), (257, 3, [3]), (258, 3, [16]), SENSOR]),  # PEF
]


@pytest.mark.parametrize("data", FILES, ids=range(len(FILES)))
def test_raw_files_are_refused_by_content(data, tmp_path):
    """The preview was segmented."""
    (tmp_path / "picture.tif").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "picture.tif"):
        with pytest.raises(ValueError, match=REFUSED):
            load_image(source)
    with pytest.raises(ValueError, match=REFUSED):
        look(data)


def test_images_that_pillow_opened_are_refused(tmp_path):
    for data in (FILES[len(HEADS)], FILES[-2]):
        with pytest.raises(ValueError, match=REFUSED):
            load_image(Image.open(io.BytesIO(data)))
    image = Image.open(io.BytesIO(FILES[len(HEADS)]))
    image.load()  # which closes its file
    with pytest.raises(ValueError, match=REFUSED):
        load_image(image)


@pytest.mark.parametrize("ending", [".dng", ".NEF", ".arw", ".Cr2", ".cr3", ".raf", ".srw"])
def test_raw_files_are_refused_by_name(ending, tmp_path):
    """Also one whose preview alone can be told, as some old ones."""
    path = tmp_path / f"IMG_0001{ending}"
    path.write_bytes(tiff(PREVIEW))
    with path.open("rb") as file:
        for source in (path, str(path), file, Image.open(path)):
            with pytest.raises(ValueError, match="its name is that of a camera's raw file.*rawpy"):
                load_image(source)
    with pytest.raises(FileNotFoundError, match="no such image file"):
        load_image(tmp_path / f"none{ending}")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_directories_of_pictures_are_no_raw_files():
    """As of pyramids, and of damaged ones."""
    for data in (
        beside_a_preview("<", [(262, 3, [2])]),
        tiff(PREVIEW, more=[(330, 4, [10**9])]),
        tiff(PREVIEW, more=[(330, 4, [3])]),
    ):
        np.testing.assert_array_equal(load_image(data), PREVIEW)
        assert look(data) == ("TIFF", (12, 16))


def test_no_ending_is_of_a_picture():
    from sam_mlx.images import picture_endings

    assert not camera_raw.ENDINGS & picture_endings()
