"""Sizes, coordinates and pictures."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_mlx import transforms
from sam_mlx.modeling.layers import window_partition, window_unpartition


@given(*[st.integers(1, 3)], *[st.integers(1, 20)] * 2, st.integers(1, 8))
def test_windows_come_back(batch, height, width, window):
    x = mx.arange(batch * height * width * 2).reshape(batch, height, width, 2)
    windows = window_partition(x, window)
    assert windows.shape[1:] == (window * window, 2)
    back = window_unpartition(windows, window, (height, width))
    np.testing.assert_array_equal(np.array(back), np.array(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_masks_have_the_images_size(height, width):
    size = transforms.preprocess_shape((height, width), 128)
    logits = mx.random.normal((2, 64, 64), key=mx.random.key(height))
    masks = transforms.upscale_masks(logits, size, (height, width), 128)
    assert masks.shape == (2, height, width)
    above = transforms.upscale_masks(logits, size, (height, width), 128, threshold=0.3)
    np.testing.assert_array_equal(np.array(above), np.array(masks) > 0.3)


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
    image = transforms.load_image(array)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_bgr():
    np.testing.assert_array_equal(transforms.load_image(rgb[..., ::-1], "BGR"), rgb)
    with pytest.raises(ValueError, match="image_format is 'GBR'"):
        transforms.load_image(rgb, "GBR")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "HSV"])
def test_pil_modes_and_files(mode, photograph, tmp_path):
    picture = Image.fromarray(photograph[:40, :50]).convert(mode)
    image = transforms.load_image(picture)
    assert image.shape == (40, 50, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.asarray(picture.convert("RGB")))
    if mode not in ("YCbCr", "HSV"):
        picture.save(tmp_path / "picture.tiff")
        np.testing.assert_array_equal(transforms.load_image(tmp_path / "picture.tiff"), image)


def test_transparency_keeps_colours(tmp_path):
    picture = Image.new("RGBA", (3, 2), (10, 20, 30, 0))
    picture.save(tmp_path / "picture.png")
    image = transforms.load_image(tmp_path / "picture.png")
    assert (image == [10, 20, 30]).all()


def test_16_bit_png_keeps_the_high_byte(tmp_path):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = transforms.load_image(tmp_path / "deep.png")
    np.testing.assert_array_equal(image[..., 0], [[0, 0, 1, 255]])


def test_exif_orientation(tmp_path, photograph):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    Image.fromarray(photograph[:20, :30]).save(tmp_path / "turned.png", exif=exif)
    image = transforms.load_image(tmp_path / "turned.png")
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
        (Image.new("F", (5, 5)), "float samples"),
    ],
)
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        transforms.load_image(image)


def test_a_picture_too_large_to_open(tmp_path, monkeypatch, photograph):
    Image.fromarray(photograph).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="exceeds limit"):
        transforms.load_image(tmp_path / "large.png")


def test_bad_files(tmp_path, photograph):
    with pytest.raises(FileNotFoundError, match="no such image file"):
        transforms.load_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(photograph).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "half.jpg", "empty.png", "."):
        with pytest.raises(ValueError, match="cannot read"):
            transforms.load_image(tmp_path / name)
