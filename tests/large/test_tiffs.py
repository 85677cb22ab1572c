"""TIFFs whose pages lead in a circle: tifffile follows them without end."""

import struct

import numpy as np
import pytest
from PIL import Image

from sam_mlx.batch.stacks import stack_of
from sam_mlx.cli import main
from sam_mlx.large.readers.tiffs import check_pages, looks_like_microscopy, tiff_reader

tifffile = pytest.importorskip("tifffile")


def in_a_circle(path, to, byteorder="<", bigtiff=False, pages=3):
    """A TIFF whose last page has the page ``to`` after it."""
    pixels = np.random.default_rng(0).integers(0, 256, (pages, 40, 50), np.uint8)
    tifffile.imwrite(
        path, pixels, byteorder=byteorder, bigtiff=bigtiff, metadata=None, photometric="minisblack"
    )
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    count, entry, offset = ("Q", 20, "Q") if bigtiff else ("H", 12, "I")
    data = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from(byteorder + count, data, offsets[-1])
    after = offsets[-1] + struct.calcsize(byteorder + count) + entries * entry
    assert struct.unpack_from(byteorder + offset, data, after) == (0,)
    struct.pack_into(byteorder + offset, data, after, offsets[to])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("to", [0, 1, 2])
def test_pages_in_a_circle_end(tmp_path, to, byteorder, bigtiff):
    """Reading went on for ever: found by damaging TIFFs at random."""
    path = in_a_circle(tmp_path / "circle.tif", to, byteorder, bigtiff)
    with pytest.raises(ValueError, match="page 3 is an earlier one again, at byte"):
        check_pages(str(path))
    with pytest.raises(ValueError, match="cannot read .*circle.tif as a TIFF: page 3 is"):
        tiff_reader(str(path))
    assert stack_of(path) is None and not looks_like_microscopy(str(path))


def test_the_first_page_is_segmented_all_the_same(tmp_path, small_sam, capsys):
    (tmp_path / "in").mkdir()
    model = str(tmp_path / "model")
    small_sam.save_pretrained(model)
    in_a_circle(tmp_path / "in" / "circle.tif", 0)
    flags = (
        "--model",
        model,
        "--points-per-side",
        "1",
        "--pred-iou-thresh",
        "0",
        "--stability-score-thresh",
        "0",
    )
    out = tmp_path / "out"
    assert main(["auto", str(tmp_path / "in"), "-o", str(out), *flags]) == 0
    assert "1 of 1 pictures segmented" in capsys.readouterr().out


SHORT = [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"\x89PNG"]


@pytest.mark.parametrize("data", [*SHORT, b"MM\0+" + b"\xff" * 16])
def test_what_ends_early_is_left_to_the_reader(tmp_path, data):
    path = tmp_path / "short.tif"
    path.write_bytes(data)
    check_pages(str(path))


def test_sound_files_pass(tmp_path):
    pages = [Image.new("L", (9, 7), i) for i in range(5)]
    pages[0].save(tmp_path / "pillow.tif", save_all=True, append_images=pages[1:])
    check_pages(str(tmp_path / "pillow.tif"))
    assert stack_of(tmp_path / "pillow.tif").pages == 5
