"""Pictures of all kinds as arrays."""

import base64
import contextlib
import io
import os
import socket
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image, ImageOps

from sam_mlx.images import allow_pixels, load_image, look
from tests.support.pictures import encoded, png, tiff, tiff_file

rgb = np.array([[[10, 20, 30], [200, 100, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (rgb, rgb),
        (np.dstack([rgb, [[0, 255]]]).astype(np.uint8), rgb),  # alpha dropped
        (rgb[..., 0], np.repeat(rgb[..., :1], 3, 2)),
        (rgb[..., :1], np.repeat(rgb[..., :1], 3, 2)),
        (rgb[..., :2], np.repeat(rgb[..., :1], 3, 2)),  # gray and alpha
        (rgb.astype(np.uint16) * 257, rgb),
        (rgb[..., 0] > 50, np.repeat((rgb[..., :1] > 50) * np.uint8(255), 3, 2)),
    ],
)
def test_arrays(array, expected):
    image = load_image(array)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_bgr():
    np.testing.assert_array_equal(load_image(rgb[..., ::-1], "BGR"), rgb)
    with pytest.raises(ValueError, match="image_format is 'GBR'"):
        load_image(rgb, "GBR")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_pil_modes_and_files(mode, photograph, tmp_path):
    picture = Image.fromarray(photograph[:40, :50]).convert(mode)
    image = load_image(picture)
    assert image.shape == (40, 50, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")))
    if mode not in ("YCbCr", "HSV"):
        picture.save(tmp_path / "picture.tiff")
        np.testing.assert_array_equal(load_image(tmp_path / "picture.tiff"), image)


def test_transparency_keeps_colours(tmp_path):
    picture = Image.new("RGBA", (3, 2), (10, 20, 30, 0))
    picture.save(tmp_path / "picture.png")
    image = load_image(tmp_path / "picture.png")
    assert (image == [10, 20, 30]).all()


def test_16_bit_png_keeps_the_high_byte(tmp_path):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = load_image(tmp_path / "deep.png")
    np.testing.assert_array_equal(image[..., 0], [[0, 0, 1, 255]])


def test_exif_orientation(tmp_path, photograph):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    Image.fromarray(photograph[:20, :30]).save(tmp_path / "turned.png", exif=exif)
    image = load_image(tmp_path / "turned.png")
    np.testing.assert_array_equal(image, np.rot90(photograph[:20, :30], -1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 0, 3), np.uint8), "no pixels"),
        (np.zeros((0,), np.uint8), r"shape \(0,\)"),
        (np.zeros((5, 5, 5), np.uint8), r"shape \(5, 5, 5\)"),
        (np.zeros((1, 3, 5, 5), np.uint8), "channels last"),
        (np.zeros((5, 5, 3), np.float32), r"float32.*astype\(np.uint8\)"),
        (np.zeros((5, 5, 3), np.int64), "int64"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (Image.new("F", (5, 5)), r"float32.*astype\(np.uint8\)"),
    ],
)
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        load_image(image)


def test_a_picture_too_large_to_open(tmp_path, monkeypatch, photograph):
    Image.fromarray(photograph).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # and put back
    with pytest.raises(ValueError, match="exceeds limit of 2000 pixels.*Image.MAX_IMAGE_PIXELS"):
        load_image(tmp_path / "large.png")
    pixels = photograph.shape[0] * photograph.shape[1]
    allow_pixels(pixels - 2)
    with pytest.raises(ValueError, match="exceeds limit"):
        load_image(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        allow_pixels(pixels)
        assert load_image(tmp_path / "large.png").shape == photograph.shape
    with pytest.raises(ValueError, match="max_pixels is 0; expected 1 or more"):
        allow_pixels(0)


def test_bad_files(tmp_path, photograph):
    with pytest.raises(FileNotFoundError, match="no such image file"):
        load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(photograph).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "half.jpg", "empty.png", "."):
        with pytest.raises(ValueError, match="cannot read"):
            load_image(tmp_path / name)


RULE = [  # samples of 16 bits, and what becomes of them
    ([0, 255, 256, 65535], [0, 0, 1, 255]),
    ([0, 255, 256, 32768], [0, 0, 1, 128]),
    ([0, 15, 4096], [0, 0, 128]),
    ([0, 15, 16, 256, 4095], [0, 0, 1, 16, 255]),
    ([0, 256], [0, 128]),
    ([0, 1, 100, 255], [0, 1, 100, 255]),
    ([0, 0], [0, 0]),
]


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize(("values", "expected"), RULE)
def test_16_bits_by_what_they_hold(values, expected, tmp_path):
    """12-bit samples were nearly black, and 8-bit ones black."""
    for source in sources_of(np.array([values], np.uint16), tmp_path):
        np.testing.assert_array_equal(load_image(source)[..., 0], [expected])


def sources_of(array, folder):
    """Gray samples of 16 bits in all forms, also of colours."""
    colours = np.dstack([array // 2, array, array // 3])[..., [1, 0, 2]]
    alpha = np.full_like(array, 65535)  # has no part in what the samples mean
    Image.fromarray(array).save(folder / "deep.png")
    (folder / "colours.png").write_bytes(png(colours))
    return [
        array,
        array.astype(">u2"),
        np.dstack([array] * 3),
        colours,
        np.dstack([array, alpha]),
        np.dstack([colours, alpha]),
        Image.fromarray(array),
        Image.fromarray(array.astype(">u2")),  # I;16B
        Image.fromarray(array.astype(np.int32)),  # I, as which Pillow 10 opens 16-bit PNG
        folder / "deep.png",
        tiff(array),
        tiff(array, ">"),
        tiff(array.astype(np.int32)),
        # Of colours, Pillow gives the high bytes.
        *(tiff(colours, endian) for endian in "<>"),
        tiff(np.dstack([colours, alpha])),
        png(colours),
        png(np.dstack([colours, alpha])),
        png(np.dstack([array, alpha])),
        Image.open(io.BytesIO(png(colours))),
        Image.open(folder / "colours.png"),
    ]


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize("bits", range(8, 17))
def test_cameras_of_any_depth_read_as_their_8_bits(bits, tmp_path, photograph):
    """10, 13 and 14 bits were nearly black."""
    picture = photograph[:40, :50, 0]
    rng = np.random.default_rng(0)
    low = rng.integers(0, 1 << (bits - 8), picture.shape)
    array = ((picture.astype(np.uint16) << (bits - 8)) | low).astype(np.uint16)
    assert array.max() >> (bits - 1) == 1
    for source in sources_of(array, tmp_path):
        np.testing.assert_array_equal(load_image(source)[..., 0], picture)
        assert (load_image(source, value_range=(0, (1 << bits) - 1))[..., 0] == picture).all()


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_nodata_and_a_few_outliers_do_not_count(bits, tmp_path, photograph):
    """One bright pixel made a picture of 12 bits black."""
    array = photograph[:100, :100, 1].astype(np.uint16) << (bits - 8)
    expected = load_image(array)
    bright = {"one": np.s_[7, 9], "a few": np.s_[20, 0:10], "nodata": np.s_[:, 40:]}
    for value, places in [(65535, bright.values()), (50000, [bright["one"], bright["a few"]])]:
        for place in places:
            marked, whitened = array.copy(), expected.copy()
            marked[place], whitened[place] = value, 255
            for source in sources_of(marked, tmp_path):
                np.testing.assert_array_equal(load_image(source)[..., 0], whitened[..., 0])
    marked[20, :12] = 50000 + np.arange(12)  # more than one in 1000
    np.testing.assert_array_equal(load_image(marked), np.dstack([marked >> 8] * 3))


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize("mark", [65535, 65534, 65000, 55537, 32768, 32767, 9999])
def test_any_mark_above_the_values_counts_as_nodata(mark, tmp_path, photograph):
    """-9999 and -32768 are 55537 and 32768 without a sign."""
    array = photograph[:100, :100, 1].astype(np.uint16) << 4
    expected = load_image(array)
    array[:, 40:], expected[:, 40:] = mark, 255
    for source in sources_of(array, tmp_path):
        np.testing.assert_array_equal(load_image(source)[..., 0], expected[..., 0])


def test_the_highest_value_of_few_levels_is_one_of_them():
    """As in drawings, and maps of labels."""
    array = np.zeros((100, 100), np.uint16)
    array[20:40], array[60:80] = 300, 40000
    np.testing.assert_array_equal(load_image(array)[..., 0], array >> 8)


def test_reflectance_is_not_dark():
    array = np.linspace(0, 10000, 4096).astype(np.uint16).reshape(64, 64)
    with pytest.warns(UserWarning, match="taken for 14-bit ones"):
        assert load_image(array).max() == 156
    white = load_image(array, value_range=(0, 10000))
    assert white.max() == 255 and 126 < white.mean() < 129


@pytest.mark.parametrize("form", ["gray", "array", "png", "tiff"])
def test_what_uses_16_bits_keeps_its_high_bytes(form, recwarn):
    rng = np.random.default_rng(0)
    for array in (
        rng.integers(0, 65536, (50, 60, 3), np.uint16),
        rng.integers(0, 33200, (50, 60, 3), np.uint16),  # 1 in 77 exceeds 15 bits
        rng.choice([0, 65535], (50, 60, 3)).astype(np.uint16),
        np.full((20, 30, 3), 65535, np.uint16),
    ):
        source = {"gray": array[..., 0], "array": array, "png": png(array), "tiff": tiff(array)}
        expected = np.dstack([array[..., 0]] * 3) if form == "gray" else array
        np.testing.assert_array_equal(load_image(source[form]), expected >> 8)
    assert not recwarn.list


@pytest.mark.parametrize("highest, bits", [(32767, 15), (4095, 12), (256, 9), (255, 8), (1, 8)])
def test_what_is_taken_for_fewer_bits_is_said_once(highest, bits):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for width in range(1, 9):
            load_image(np.full((5, width), highest, np.uint16))
    (said,) = (str(w.message) for w in caught)
    assert f"taken for {bits}-bit ones" in said
    assert "value_range=(0, 65535)" in said and "--value-range 0 65535" in said


@pytest.mark.parametrize("highest", [0, 32768, 65535])
def test_nothing_is_said_of_16_bits(highest, recwarn):
    load_image(np.full((5, 5), highest, np.uint16))
    load_image(np.full((50, 50), highest, np.uint16))
    load_image(np.full((50, 50), highest // 3, np.uint16), value_range=(0, 65535))
    assert not recwarn.list


@pytest.mark.parametrize("bits", range(8, 17))
def test_a_range_has_256_equal_steps(bits):
    array = np.arange(65536).astype(np.uint16).reshape(256, 256)
    expected = np.minimum(array >> (bits - 8), 255)
    levels = load_image(array, value_range=(0, (1 << bits) - 1))
    np.testing.assert_array_equal(levels[..., 0], expected)
    shifted = load_image(array.astype(np.int32) - 500, value_range=(-500, (1 << bits) - 501))
    np.testing.assert_array_equal(shifted, levels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_read_by_a_range(dtype):
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    levels = load_image(eight.astype(dtype), value_range=(0, 255))
    np.testing.assert_array_equal(levels[..., 0], eight)
    if dtype != np.float16:
        levels = load_image(eight.astype(dtype) / 255, value_range=(0, 1))
        np.testing.assert_array_equal(levels[..., 0], eight)
    odd = np.array([[np.nan, -np.inf, np.inf, -1, 2]], dtype)
    assert load_image(odd, value_range=(0, 1))[0, :, 0].tolist() == [0, 0, 255, 0, 255]
    assert load_image(Image.fromarray(odd.astype(np.float32)), value_range=(0, 1)).max() == 255


def test_8_bits_have_no_range():
    for array in (rgb, rgb > 50, Image.fromarray(rgb)):
        np.testing.assert_array_equal(load_image(array, value_range=(0, 9)), load_image(array))


@pytest.mark.parametrize(
    "bad", [(5, 5), (5, 1), (0, np.nan), (0, np.inf), 5, "12", "ab", (1,), (1, 2, 3), (None, 2)]
)
def test_what_is_no_range_is_named(bad):
    if bad == "12":  # of two characters, each a number
        assert load_image(rgb, value_range=bad) is not None
        return
    with pytest.raises(ValueError, match=r"value_range is .*expected two numbers.*\(0, 10000\)"):
        load_image(rgb, value_range=bad)


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 7, "byteorder": ">"},
    ],
)
def test_colours_of_16_bits_in_any_tiff(more, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    array = np.random.default_rng(0).integers(0, 1 << 13, (40, 50, 3), np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", array, photometric="rgb", **more)
    for source in (tmp_path / "deep.tif", Image.open(tmp_path / "deep.tif")):
        np.testing.assert_array_equal(load_image(source), array >> 5)


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize("encode", [tiff, png])
def test_a_pil_image_stays_as_it_was(encode, photograph):
    array = photograph[:40, :50].astype(np.uint16) << 5
    for channels in (3, 4):
        with Image.open(io.BytesIO(encode(np.dstack([array, array])[..., :channels]))) as image:
            for _ in range(2):
                np.testing.assert_array_equal(load_image(image), photograph[:40, :50])
            np.testing.assert_array_equal(np.asarray(image)[..., :3], array >> 8)


def test_colours_of_16_bits_in_planes_are_refused(tmp_path):
    """Pillow takes them for planes of 8 bits: noise."""
    tifffile = pytest.importorskip("tifffile")
    array = np.random.default_rng(0).integers(0, 65536, (3, 40, 50), np.uint16)
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, array, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match="planes of 16 bits; pass an array: cv2.imread"):
        load_image(path)
    more = dict(photometric="rgb", planarconfig="separate", compression="zlib")
    tifffile.imwrite(path, array, **more)  # which libtiff reads, the high bytes
    np.testing.assert_array_equal(load_image(path), np.moveaxis(array, 0, -1) >> 8)
    tifffile.imwrite(path, array >> 3, **more)
    with pytest.raises(ValueError, match="16 bits, of which Pillow gives the high 8; pass an arr"):
        load_image(path)


def test_colours_of_16_bits_without_their_low_bytes_are_refused():
    """SGI's: Pillow has no other order of bytes for them."""
    bright = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    data = encoded(bright, "SGI", bpc=2)
    np.testing.assert_array_equal(load_image(data), np.asarray(bright))
    gray = encoded(bright.convert("L"), "SGI", bpc=2)
    np.testing.assert_array_equal(load_image(gray), np.asarray(bright))
    data = encoded(bright.point(lambda value: value // 16), "SGI", bpc=2)
    with pytest.raises(ValueError, match="Pillow gives the high 8; pass an array"):
        load_image(data)


@pytest.mark.parametrize("format", ["TIFF", "GIF", "PNG", "WEBP", "MPO"])
def test_further_pages_are_named(format, recwarn):
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(pages[0], format, save_all=True, append_images=pages[1:])
    image = load_image(data)
    assert image[0, 0, 0] > 240 and image[0, 0, 1:].max() < 15
    said = [str(warning.message) for warning in recwarn]
    # A camera's MPO has previews beside the picture.
    assert [("3 frames or pages; the first" in text) for text in said] == [True] * (format != "MPO")
    load_image(encoded(pages[0], format))
    assert len(recwarn) == len(said)


def test_further_bands_are_named():
    with pytest.warns(UserWarning, match="6 samples a pixel; three are read"):
        image = load_image(tiff(np.full((4, 5, 6), 7, np.uint8)))
    assert (image == 7).all()
    for array in (np.ones((4, 5, 8), np.uint8), np.ones((4, 5, 5), np.uint16)):
        with pytest.raises(ValueError, match=f"{array.shape[2]} samples a pixel.*pass an array"):
            load_image(tiff(array, gray=array.shape[2] == 8))
        with pytest.raises(ValueError, match=r"1 to 4 channels.*image\[..., \[0, 1, 2\]\]"):
            load_image(array)


def jpeg_with(picture, tags):
    """A JPEG with EXIF of one's own: (tag, type, value), as ``tiff_file`` has them."""
    exif = b"Exif\0\0" + tiff_file(">", b"", sorted(tags))
    data = encoded(picture, "JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


ODD = [
    (256, 2, b"160\0"),  # a width as text: struct.error
    (282, 2, b"72\0"),  # a resolution as text: TypeError
    (34665, 2, b"none\0"),  # the place of further tags as text
    (33434, 3, [1]),
    (37500, 4, [1, 2, 3]),
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_its_tag_alone(orientation, odd, photograph):
    picture = Image.fromarray(photograph[:40, :56])
    plain = jpeg_with(picture, [(274, 3, [orientation])])
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(plain))))
    data = jpeg_with(picture, [(274, 3, [orientation]), odd])
    np.testing.assert_array_equal(load_image(data), expected)
    np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(data))), expected)


@pytest.mark.parametrize(
    "tags",
    [
        [(274, 2, b"6\0")],
        [(274, 3, [0])],
        [(274, 3, [9])],
    ],
)
def test_odd_orientations_turn_nothing(tags, photograph):
    data = jpeg_with(Image.fromarray(photograph[:40, :56]), tags)
    assert load_image(data).shape == (40, 56, 3)


def test_exif_that_cannot_be_read_turns_nothing(photograph):
    data = jpeg_with(Image.fromarray(photograph[:40, :56]), [])
    broken = data.replace(b"Exif\0\0MM\0*", b"Exif\0\0MMMM")
    assert broken != data
    assert load_image(broken).shape == (40, 56, 3)


def test_pil_images_are_turned_as_files_are(tmp_path, photograph):
    """A picture opened with Pillow gave other masks than its path did."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(photograph[:24, :40]).save(path, exif=exif)
    expected = load_image(path)
    assert expected.shape == (40, 24, 3)
    with Image.open(path) as image:
        np.testing.assert_array_equal(load_image(image), expected)
        np.testing.assert_array_equal(load_image(image.convert("RGB")), expected)
        np.testing.assert_array_equal(load_image(ImageOps.exif_transpose(image)), expected)
        assert load_image(np.asarray(image)).shape == (24, 40, 3)


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_are_turned_once(dtype, endian):
    array = np.arange(20, dtype=dtype).reshape(4, 5) * dtype(np.iinfo(dtype).max // 20)
    data = tiff(array, endian, more=[(274, 3, [6])])
    expected = np.rot90(load_image(array), -1)
    np.testing.assert_array_equal(load_image(data), expected)
    np.testing.assert_array_equal(load_image(Image.open(io.BytesIO(data))), expected)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), struct.error("x"), AssertionError(), KeyError(3)]
)
def test_whatever_decoders_raise_is_one_error(error, monkeypatch, tmp_path):
    """Damaged AVIF was a RuntimeError, damaged TIFF a TypeError: each ended a whole folder."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (4, 5)).save(path)
    picture = Image.open(path)

    def fail(self):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    for source in (path, path.read_bytes(), picture):
        with pytest.raises(
            ValueError, match=f"cannot read .* as a picture: {type(error).__name__}"
        ):
            load_image(source)
    error = MemoryError()
    with pytest.raises(MemoryError):
        load_image(path)


@pytest.mark.parametrize("format", ["AVIF", "TIFF", "JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_damaged_files_are_read_or_refused(format, photograph):
    try:
        whole = encoded(Image.fromarray(photograph[:64, :64]), format)
    except (KeyError, OSError):
        pytest.skip(f"Pillow writes no {format} here")
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        place = rng.integers(0, min(len(data), 600), 4)
        data[place] = rng.integers(0, 256, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(ValueError):
                assert load_image(data.tobytes()).dtype == np.uint8


def lost():
    raise ConnectionError("lost")


def test_bytes_and_files(tmp_path, photograph):
    path = tmp_path / "picture.png"
    Image.fromarray(photograph[:20, :30]).save(path)
    expected = photograph[:20, :30]
    data = path.read_bytes()

    pipe = SimpleNamespace(read=io.BytesIO(data).read)  # no way back
    for source in (data, bytearray(data), io.BytesIO(data), pipe, str(path)):
        np.testing.assert_array_equal(load_image(source), expected)
    with open(path, "rb") as file:
        for _ in range(2):  # from its start, and left open
            np.testing.assert_array_equal(load_image(file), expected)
    with open(path) as file, pytest.raises(ValueError, match="open it with mode 'rb'"):
        load_image(file)
    with pytest.raises(ValueError, match="cannot read the file object .*: lost"):
        load_image(SimpleNamespace(read=lost))
    with pytest.raises(ValueError, match="cannot read the 0 bytes .*no format that Pillow knows"):
        load_image(b"")


def test_urls(tmp_path, photograph):
    path = tmp_path / "a picture %23#?.png"
    Image.fromarray(photograph[:20, :30]).save(path)
    expected = photograph[:20, :30]
    text = base64.b64encode(path.read_bytes()).decode()
    for url in (
        path.as_uri(),
        path.as_uri().replace("file://", "file://localhost"),
        path.as_uri().replace("file://", "FILE:"),
        f"data:image/png;base64,{text}",
        f"DATA:;charset=x;BASE64,{text[:50]}\n{text[50:].rstrip('=')}",
        f"data:,{quote(path.read_bytes())}",
    ):
        np.testing.assert_array_equal(load_image(url), expected)
    with pytest.raises(FileNotFoundError, match="no such image file: /none.png"):
        load_image("file:///none.png")
    (tmp_path / "file:x").write_bytes(path.read_bytes())
    assert load_image(f"{tmp_path}/file:x").shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/" + "x" * 9999, "is a URL; download it"),
        ("s3://bucket/key.png", "is a URL; download it"),
        ("file://host/x.png", "is a URL; download it"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,a" + "*" * 9999, "not base64"),
        ("data:image/png;base64,AAAA" + "A" * 9996, "cannot read the 7500 bytes"),
        ("iVBORw0KGgo" + "A" * 9999, "File name too long"),
        ("iVBORw0KGgo/" + "A" * 200, "no such image file: iVBOR"),
        ("a\0b", "null"),
    ],
)
def test_what_is_no_path_is_said_in_a_line(text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        load_image(text)
    assert len(str(error.value)) < 200 and str(error.value).isprintable()


class Upload:
    """As FastAPI gives it."""

    name = "upload.png"

    def __init__(self, data):
        self.file = io.BytesIO(data)

    async def read(self):
        return self.file.read()


def test_uploads_and_buffers(tmp_path, photograph):
    picture = photograph[:20, :30]
    data = encoded(Image.fromarray(picture), "PNG")
    with (
        tempfile.SpooledTemporaryFile() as spooled,
        zipfile.ZipFile(tmp_path / "z", "w") as archive,
    ):
        spooled.write(data)
        archive.writestr("a.png", data)
        with archive.open("a.png") as member:
            for source in (memoryview(data), Upload(data), spooled, member, memoryview(picture)):
                np.testing.assert_array_equal(load_image(source), picture)
    upload = Upload(data)
    upload.file = None
    with pytest.raises(ValueError, match=r"upload.png is read with await: give .*await read\(\)"):
        load_image(upload)
    with open(tmp_path / "z", "rb", buffering=0) as file, pytest.raises(ValueError, match="cannot"):
        load_image(file)


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    """To open a pipe is to wait for who writes to it."""
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
    kinds = [
        (tmp_path / "pipe.png", "a pipe"),
        ("/dev/zero", "a device"),
        (tmp_path, "a folder"),
        (tmp_path / "s", "a socket"),
    ]
    for path, kind in kinds:
        with pytest.raises(ValueError, match=f"cannot read {path} as a picture: it is {kind}, not"):
            load_image(path)


def png_with(kind: bytes, content: bytes, last: bool = False) -> bytes:
    """A picture with a chunk after its head, or before its end."""
    file = io.BytesIO()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(file, "PNG")
    whole = file.getvalue()
    chunk = struct.pack(">I", len(content)) + kind + content
    chunk += struct.pack(">I", zlib.crc32(kind + content))
    at = len(whole) - 12 if last else 33
    return whole[:at] + chunk + whole[at:]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("kind", "head"), [(b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")]
)
def test_texts_and_profiles_of_any_length_are_no_part_of_a_png(kind, head, last, tmp_path):
    """Pillow refuses more than 1 MB of one, and browsers show the picture."""
    data = png_with(kind, head + zlib.compress(bytes(3 << 20)), last)
    (tmp_path / "a.png").write_bytes(data)
    expected = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for source in (data, tmp_path / "a.png"):
        np.testing.assert_array_equal(load_image(source), expected)
    assert look(data) == ("PNG", (4, 5))
    if not last:
        with pytest.raises(ValueError, match="cannot read"):
            load_image(data[:-30])


@pytest.mark.parametrize("name", ["a#10.png", "b%11.png", "c?x=1.png", "d%20e.png", "f [1].png"])
def test_file_urls_as_people_write_them(name, tmp_path):
    """With characters that stand for something else in URLs."""
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(picture).save(tmp_path / name)
    for url in (f"file://{tmp_path / name}", f"file://localhost{tmp_path / name}",
                (tmp_path / name).as_uri()):  # fmt: skip
        np.testing.assert_array_equal(load_image(url), picture)


def test_streams_without_end_are_not_read_to_it(monkeypatch):
    monkeypatch.setattr("sam_mlx.image_files.MAX_BYTES", 5 << 20)
    endless = SimpleNamespace(read=bytes)
    with pytest.raises(ValueError, match="it has more than 5,242,880 bytes"):
        load_image(endless)


def test_files_that_are_too_large_are_not_opened(tmp_path):
    """A sparse file takes no room on disk, and all there is once it is read."""
    path = tmp_path / "sparse.png"
    path.touch()
    os.truncate(path, (4 << 30) + 1)
    with pytest.raises(ValueError, match="it has 4,294,967,297 bytes; expected at most 4,294,967,"):
        load_image(path)


def test_none_says_what_happened():
    with pytest.raises(ValueError, match="image is None, which cv2.imread returns for a file"):
        load_image(None)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.new("RGB", (5, 4)).save(tmp_path / "picture.png")
    for path in ("~/picture.png", Path("~/picture.png")):
        assert load_image(path).shape == (4, 5, 3)
    with pytest.raises(FileNotFoundError, match="none.png"):
        load_image("~/none.png")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 4)).save("~no_user.png")  # not a user's
    assert load_image("~no_user.png").shape == (4, 5, 3)


def test_heic_without_its_package_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = struct.pack(">I", 24) + b"ftypheic" + bytes(12)
    with pytest.raises(ValueError, match="HEIC needs pillow-heif: pip install pillow-heif"):
        load_image(data)


def test_heic_is_read_where_its_package_is(monkeypatch):
    data = struct.pack(">I", 24) + b"ftypheic" + bytes(12)

    def register_heif_opener():
        Image.register_open("HEIF", lambda file, name: Image.new("RGB", (5, 4)), is_heic)

    def is_heic(head):
        return head[4:12] == b"ftypheic"

    monkeypatch.setattr(Image, "OPEN", Image.OPEN.copy())
    monkeypatch.setattr(Image, "ID", Image.ID.copy())
    package = SimpleNamespace(register_heif_opener=register_heif_opener)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert load_image(data).shape == (4, 5, 3)


def test_a_real_heic_file(photograph):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert load_image(encoded(Image.fromarray(photograph), "HEIF")).shape == photograph.shape


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_file_is_without_its_pixels(orientation, format, monkeypatch):
    """TIFF of orientation 5 to 8 had its sides exchanged."""
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (30, 20)), format, exif=exif)
    expected = load_image(data).shape[:2]
    if format != "HEIF":  # which has a turn of its own beside the tag
        assert expected == ((30, 20) if orientation > 4 else (20, 30))
    monkeypatch.setattr(Image.Image, "load", None)
    assert look(data) == (format, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_tiff_is_without_its_pixels(orientation, monkeypatch):
    data = tiff(np.zeros((20, 30, 3), np.uint8), more=[(274, 3, [orientation])])
    expected = load_image(data).shape[:2]
    monkeypatch.setattr(Image.Image, "load", None)
    assert look(data) == ("TIFF", expected)


def test_what_is_no_picture_is_not_looked_at():
    for data in (b"", b"text", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match=f"cannot read the {len(data)} bytes as a picture"):
            look(data)


def test_arrays_that_only_claim_their_size_are_refused():
    for shape in ((10**9, 10**9, 3), (10**6, 10**6), (10**5, 10**5, 4)):
        with pytest.raises(ValueError, match=r"image would take 10+ pixels; expected up to"):
            load_image(np.broadcast_to(np.uint8(1), shape))
