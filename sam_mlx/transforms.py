"""From pictures to model input and from low-resolution masks back to pictures.

Sizes are (height, width) in pixels. Three frames: the original image; the input frame, the
original scaled so that its longest side is the model's; the padded square the model sees.
"""

from functools import lru_cache, partial
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image, ImageOps

from .config import SamConfig
from .modeling.layers import interpolate_rows
from .streams import spread

Band = tuple[slice, mx.array]  # the inputs that some outputs depend on, and by how much


def load_image(
    image: str | Path | Image.Image | np.ndarray, image_format: str = "RGB"
) -> np.ndarray:
    """Any picture as an (H, W, 3) uint8 array in RGB.

    Files are turned as their EXIF orientation says. Gray is repeated over the channels, alpha
    is dropped (colours stay as stored), 16-bit samples keep their high byte. Arrays are taken
    as ``image_format`` ("RGB" or "BGR") says: (H, W), (H, W, 1), (H, W, 2) gray and alpha,
    (H, W, 3) or (H, W, 4); uint8, uint16 or bool.

    Raises ValueError for arrays of other shapes and types, empty ones, and files that are not
    readable pictures; FileNotFoundError for missing files.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format is {image_format!r}; expected 'RGB' or 'BGR'")
    if isinstance(image, (str, Path)):
        return _from_file(Path(image))
    if isinstance(image, Image.Image):
        return _from_pil(image)
    array = to_8_bits(check_array(np.asarray(image)))
    if array.shape[2] <= 2:
        return np.repeat(array[..., :1], 3, axis=2)
    return np.ascontiguousarray(array[..., :3] if image_format == "RGB" else array[..., 2::-1])


def check_array(array: np.ndarray) -> np.ndarray:
    """An array as (H, W, channels); ValueError where it is no picture."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"image has shape {shape}; expected (height, width) or (height, width, "
            "channels) with 1 to 4 channels, channels last"
        )
    if 0 in array.shape:
        raise ValueError(f"image has shape {array.shape}: it holds no pixels")
    return array


def to_8_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.uint8:
        return array
    raise ValueError(
        f"image has dtype {array.dtype}; expected uint8 values 0 to 255. A float image in "
        "[0, 1] becomes one by (image * 255).round().astype(np.uint8)"
    )


def _from_file(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image.load()
            return _from_pil(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {path}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read {path} as a picture: {error}") from error


def _from_pil(image: Image.Image) -> np.ndarray:
    if 0 in image.size:
        raise ValueError(f"image has size {image.size}: it holds no pixels")
    if image.mode.startswith("I"):
        # Pillow clips 16-bit samples to 255 in its own conversion.
        return load_image(np.clip(np.asarray(image), 0, 65535).astype(np.uint16))
    if image.mode == "F":
        raise ValueError("image has float samples (Pillow mode F); convert it to 8 bits first")
    if image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")  # then drop alpha: keeps the colours under transparency
    return np.asarray(image.convert("RGB"))


def preprocess_shape(original_size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """The size of an image in the input frame (``ResizeLongestSide.get_preprocess_shape``).

    A side that would vanish keeps one pixel, where the original fails.
    """
    scale = long_side * 1.0 / max(original_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in original_size)
    return height, width


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bilinear resize of an (H, W, 3) uint8 image, by Pillow, as the original."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def preprocess(image: np.ndarray, config: SamConfig) -> mx.array:
    """An (H, W, 3) uint8 RGB image of any size to the model's input (1, S, S, 3), float32.

    Resizes the longest side to S, normalises, then pads right and bottom with zeros.
    """
    size = preprocess_shape(image.shape[:2], config.image_size)
    return normalize_and_pad(mx.array(resize_image(image, size))[None], config)


def normalize_and_pad(images: mx.array, config: SamConfig) -> mx.array:
    """(B, h, w, 3) pixels in the input frame to (B, S, S, 3) (original: ``Sam.preprocess``)."""
    _, h, w, _ = images.shape
    pixels = normalize(images, config)
    return mx.pad(pixels, [(0, 0), (0, config.image_size - h), (0, config.image_size - w), (0, 0)])


def normalize(images: mx.array, config: SamConfig) -> mx.array:
    """Pixels (..., 3) in RGB, 0 to 255, to the range that the encoder was trained on, float32."""
    pixels = images.astype(mx.float32) - mx.array(config.pixel_mean)
    return pixels / mx.array(config.pixel_std)


def apply_coords(coords: np.ndarray, original_size: tuple[int, int], long_side: int) -> np.ndarray:
    """Points (..., 2) as x, y pixels of the original image to the input frame, in float64."""
    height, width = original_size
    new_height, new_width = preprocess_shape(original_size, long_side)
    return np.asarray(coords, float) * (new_width / width, new_height / height)


def apply_boxes(boxes: np.ndarray, original_size: tuple[int, int], long_side: int) -> np.ndarray:
    """Boxes (..., 4) as x0, y0, x1, y1 pixels of the original image to the input frame."""
    boxes = np.asarray(boxes, float)
    return apply_coords(boxes.reshape(-1, 2, 2), original_size, long_side).reshape(boxes.shape)


def upscale_masks(
    masks: mx.array,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    image_size: int,
    threshold: float | None = None,
) -> mx.array:
    """Low-resolution logits (..., n, n) to the original image's size (..., H, W), in float32.

    The original enlarges to the padded square, crops the padding and resizes, each bilinear
    (``Sam.postprocess_masks``). That is linear and separable: one matrix for each axis. With
    ``threshold`` the result is bool, the logits above it.
    """
    n = masks.shape[-1]
    rows, columns = (
        upscaling(n, image_size, inner, outer) for inner, outer in zip(input_size, original_size)
    )
    masks = masks.astype(mx.float32)
    masks = mx.concatenate([matrix @ masks[..., band, :] for band, matrix in rows], axis=-2)

    def enlarged(band: slice, matrix: mx.array) -> mx.array:
        part = masks[..., band] @ matrix.T
        return part if threshold is None else part > threshold

    return mx.concatenate(spread([partial(enlarged, *column) for column in columns]), axis=-1)


@lru_cache(maxsize=16)
def upscaling(n: int, image_size: int, inner: int, outer: int) -> list[Band]:
    """Along one axis, n -> image_size, cropped to inner, -> outer, as bands of one matrix.

    An output pixel depends on three or four inputs, so 128 of them on about 20: the zeros of
    the whole matrix would be most of the work. (Shorter bands are more, smaller products.)
    """
    matrix = interpolate_rows(interpolate_rows(np.eye(n), image_size)[:inner], outer)
    bands = []
    for i in range(0, outer, 128):
        rows = matrix[i : i + 128]
        used = np.flatnonzero(rows.any(axis=0))
        band = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((band, mx.array(rows[:, band].astype(np.float32))))
    mx.eval([part for _, part in bands])  # cached, so it must outlive this thread
    return bands
