"""Pictures of all kinds as arrays."""

import contextlib
import io
import struct
import sys
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from sam_mlx.images import allow_pixels, load_image, look


def encoded(picture, format, **options):
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def tiff(array, endian="<", gray=False, more=()):
    """The bytes of a TIFF with the samples of an array; ``more`` are tags of its own."""
    channels = array.shape[2] if array.ndim == 3 else 1
    data = array.astype(array.dtype.newbyteorder(endian)).tobytes()
    data += b"\0" * (len(data) % 2)
    extra = channels - (1 if gray or channels == 1 else 3)
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    tags = [
        (256, 3, [array.shape[1]]),
        (257, 3, [array.shape[0]]),
        (258, 3, [array.dtype.itemsize * 8] * channels),
        (259, 3, [1]),
        (262, 3, [1 if gray or channels == 1 else 2]),
        (273, 4, [8]),
        (277, 3, [channels]),
        (278, 3, [array.shape[0]]),
        (279, 4, [len(data)]),
        *([(338, 3, [0] * extra)] if extra else []),
        (339, 3, [kind] * channels),
    ]
    return tiff_file(endian, data, sorted([*tags, *more]))


def png(array):
    """The bytes of a PNG of 16 bits in colour, which Pillow does not write."""

    def chunk(name, data):
        end = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + end

    height, width, _ = array.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


def tiff_file(endian, data, tags):
    where = 8 + len(data)
    after = where + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, kind, numbers in tags:
        if kind == 2:
            value = numbers
        else:
            value = struct.pack(f"{endian}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(value) > 4:
            place, values = struct.pack(endian + "I", after + len(values)), values + value
        else:
            place = value.ljust(4, b"\0")
        entries += struct.pack(endian + "HHI", tag, kind, len(numbers)) + place
    start = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "I", where)
    return start + data + struct.pack(endian + "H", len(tags)) + entries + b"\0" * 4 + values


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
    ([0, 15, 4096], [0, 0, 16]),
    ([0, 15, 16, 256, 4095], [0, 0, 1, 16, 255]),
    ([0, 256], [0, 16]),
    ([0, 1, 100, 255], [0, 1, 100, 255]),
    ([0, 0], [0, 0]),
]


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize(("values", "expected"), RULE)
def test_16_bits_by_what_they_hold(values, expected, tmp_path):
    """12-bit samples were nearly black, and 8-bit ones black."""
    array = np.array([values], np.uint16)
    Image.fromarray(array).save(tmp_path / "deep.png")
    sources = [
        array,
        array.astype(">u2"),
        np.dstack([array] * 3),
        np.dstack([array, np.full_like(array, 65535)]),  # alpha has no part in it
        Image.fromarray(array),
        Image.fromarray(array.astype(">u2")),  # I;16B
        Image.fromarray(array.astype(np.int32)),  # I, as which Pillow 10 opens 16-bit PNG
        tmp_path / "deep.png",
        tiff(array),
        tiff(array, ">"),
        tiff(array.astype(np.int32)),
    ]
    for source in sources:
        np.testing.assert_array_equal(load_image(source)[..., 0], [expected])


@pytest.mark.parametrize("highest, bits", [(4095, 12), (256, 12), (255, 8), (1, 8)])
def test_what_is_taken_for_fewer_bits_is_said_once(highest, bits):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for width in range(1, 9):
            load_image(np.full((5, width), highest, np.uint16))
    assert [f"taken for {bits}-bit ones" in str(w.message) for w in caught] == [True]


@pytest.mark.parametrize("highest", [0, 4096, 65535])
def test_nothing_is_said_of_16_bits(highest, recwarn):
    load_image(np.full((5, 5), highest, np.uint16))
    assert not recwarn.list


WIDE = [
    ([0, 200], np.int64),
    ([0, 200], np.int32),
    ([0, 65535], np.int32),
    ([-5, 70000], np.int32),
    ([-(2**31), 2**31 - 1], np.int32),
    ([0, 70000], np.uint32),
    ([-3, 3], np.int16),
    ([0, 100], np.int8),
    ([0, 1], np.float32),
    ([0, 200], np.float64),
    ([-2.5, 1e9], np.float32),
]


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
@pytest.mark.parametrize(("values", "dtype"), WIDE)
def test_other_numbers_are_refused_with_the_line_that_converts_them(values, dtype):
    array = np.array([values], dtype)
    with pytest.raises(ValueError, match=f"dtype {array.dtype} and values") as caught:
        load_image(array)
    code = str(caught.value).split("becomes that by ")[1]
    converted = load_image(eval(code, {"np": np, "image": array}))
    assert converted[0, 1, 0] == (255 if values[1] not in (100, 200) else values[1])


@pytest.mark.parametrize(
    "array",
    [
        np.array([[-1, 5]], np.int32),
        np.array([[0, 65536]], np.int32),
        np.array([[0, 2**31 - 1]], np.int32),
        np.array([[0, 0.5]], np.float32),
    ],
)
def test_wide_samples_of_files_are_refused(array):
    """Integers of 32 bits turned white where they exceeded 16."""
    for source in (Image.fromarray(array), tiff(array)):
        with pytest.raises(ValueError, match=f"cannot read .* dtype {array.dtype}.*becomes"):
            load_image(source)


@pytest.mark.parametrize("highest", [255, 4095])
@pytest.mark.parametrize("encode", [tiff, png])
def test_12_bits_in_colour_are_refused(encode, highest):
    """Pillow keeps their four highest bits: no more than a black picture."""
    array = np.full((4, 5, 3), highest, np.uint16)
    with pytest.raises(ValueError, match="none of its 16-bit samples exceeds 4095.*cv2.imread"):
        load_image(encode(array))
    assert (load_image(encode(array + np.uint16(4096))) == (highest + 4096) >> 8).all()


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_file_is_without_its_pixels(orientation, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif)
    expected = load_image(data).shape[:2]
    monkeypatch.setattr(Image.Image, "load", None)
    assert look(data) == ("JPEG", expected)


def test_what_is_no_picture_is_not_looked_at():
    for data in (b"", b"text", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ValueError, match=f"cannot read the {len(data)} bytes as a picture"):
            look(data)
