"""From pictures to model input and from low-resolution masks back to pictures.

Sizes are (height, width) in pixels. Three frames: the original image; the input frame, the
original scaled so that its longest side is the model's; the padded square the model sees.
"""

from functools import lru_cache, partial

import mlx.core as mx
import numpy as np
from PIL import Image

from .config import SamConfig
from .images import load_image as load_image  # beside what takes its arrays
from .machine.streams import spread
from .modeling.layers import interpolate_rows

THIN = 16  # times as high as wide
Band = tuple[slice, mx.array]  # the inputs that some outputs depend on, and by how much


def preprocess_shape(original_size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """The size of an image in the input frame (``ResizeLongestSide.get_preprocess_shape``).

    A side that would vanish keeps one pixel, where the original fails.
    """
    scale = long_side * 1.0 / max(original_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in original_size)
    return height, width


def input_size(original_size: tuple[int, int], config: SamConfig) -> tuple[int, int]:
    """The size of an image in a model's input frame."""
    if config.resize == "square":
        return config.image_size, config.image_size
    return preprocess_shape(original_size, config.image_size)


def resize_image(
    image: np.ndarray, size: tuple[int, int], resample: str = "bilinear"
) -> np.ndarray:
    """Antialiased resize of an (H, W, 3) uint8 image, by Pillow, bilinear as the original's."""
    if image.shape[:2] == size:
        return image
    filter = Image.Resampling[resample.upper()]
    return np.asarray(Image.fromarray(image).resize(size[::-1], filter))


def preprocess(image: np.ndarray, config: SamConfig) -> mx.array:
    """An (H, W, 3) uint8 RGB image of any size to the model's input (1, S, S, 3), float32.

    Resizes the longest side to S, or both, normalises, then pads right and bottom with zeros.
    """
    size = input_size(image.shape[:2], config)
    return normalize_and_pad(mx.array(resize_image(image, size, config.resample))[None], config)


def normalize_and_pad(images: mx.array, config: SamConfig) -> mx.array:
    """(B, h, w, 3) pixels in the input frame to (B, S, S, 3) (original: ``Sam.preprocess``)."""
    _, h, w, _ = images.shape
    pixels = normalize(images, config)
    return mx.pad(pixels, [(0, 0), (0, config.image_size - h), (0, config.image_size - w), (0, 0)])


def normalize(images: mx.array, config: SamConfig) -> mx.array:
    """Pixels (..., H, W, 3) in RGB, 0 to 255, to what the encoder was trained on, float32."""
    pixels = images.astype(mx.float32)
    if config.pixel_range == "minmax":
        low, high = (f(pixels, axis=(-3, -2, -1), keepdims=True) for f in (mx.min, mx.max))
        pixels = (pixels - low) / mx.maximum(high - low, 1e-8)
    return (pixels - mx.array(config.pixel_mean)) / mx.array(config.pixel_std)


def apply_coords(coords: np.ndarray, original_size: tuple[int, int], long_side: int) -> np.ndarray:
    """Points (..., 2) as x, y pixels of the original image to the input frame, in float64."""
    return scale_coords(coords, original_size, preprocess_shape(original_size, long_side))


def scale_coords(
    coords: np.ndarray, original_size: tuple[int, int], input_size: tuple[int, int]
) -> np.ndarray:
    """The same for an input frame of any size."""
    (height, width), (new_height, new_width) = original_size, input_size
    return np.asarray(coords, float) * (new_width / width, new_height / height)


def apply_boxes(boxes: np.ndarray, original_size: tuple[int, int], long_side: int) -> np.ndarray:
    """Boxes (..., 4) as x0, y0, x1, y1 pixels of the original image to the input frame."""
    boxes = np.asarray(boxes, float)
    return apply_coords(boxes.reshape(-1, 2, 2), original_size, long_side).reshape(boxes.shape)


def enlarge(
    masks: mx.array,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    image_size: int,
    threshold: float | None = None,
) -> np.ndarray:
    """``upscale_masks`` of (B, C, n, n), a prompt at a time: at full size logits are large."""
    sizes = input_size, original_size, image_size
    if len(masks) == 1:  # without a second copy
        return np.array(upscale_masks(masks, *sizes, threshold))
    full = np.empty((*masks.shape[:2], *original_size), np.float32 if threshold is None else bool)
    for i, logits in enumerate(masks):
        full[i] = np.array(upscale_masks(logits, *sizes, threshold))
    return full


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
    height, width = original_size
    if height > THIN * width:  # rows first would take height x n
        turned = masks.swapaxes(-1, -2), input_size[::-1], (width, height), image_size, threshold
        return upscale_masks(*turned).swapaxes(-1, -2)
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
    the whole matrix would be most of the work. (Shorter bands are more, smaller products; there
    are at most 256, for along a line of a million pixels an input has thousands of outputs.)
    """
    cropped = interpolate_rows(np.eye(n), image_size)[:inner]
    length = max(128, -(-outer // 256))
    bands = []
    for i in range(0, outer, length):
        rows = interpolate_rows(cropped, outer, range(i, min(i + length, outer)))
        used = np.flatnonzero(rows.any(axis=0))
        band = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((band, mx.array(rows[:, band].astype(np.float32))))
    mx.eval([part for _, part in bands])  # cached, so it must outlive this thread
    return bands
