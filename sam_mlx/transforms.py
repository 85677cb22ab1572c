"""Into the model: pictures and coordinates. The way back is ``full_size``.

Sizes are (height, width) in pixels. Three frames: the original image; the input frame, the
original scaled so that its longest side is the model's; the padded square the model sees.
"""

import math

import mlx.core as mx
import numpy as np
from PIL import Image

from .arrays import check_rgb, check_size, to_numbers
from .config import CHOICES, SamConfig
from .full_size import upscale_masks as upscale_masks  # the way back, for users of both
from .images import load_image as load_image  # beside the functions that take its arrays
from .machine.worker import at_work
from .messages import short


def preprocess_shape(original_size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """The size of an image in the input frame (``ResizeLongestSide.get_preprocess_shape``).

    A side that would vanish keeps one pixel, where the original fails.
    """
    if not all(1 <= side < math.inf for side in original_size):
        raise ValueError(
            f"an image of {short(original_size)} holds no pixels; expected sides above 0"
        )
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
    check_rgb(image)
    if resample not in CHOICES["resample"]:
        raise ValueError(f"resample is {short(resample)}; expected one of {CHOICES['resample']}")
    if image.shape[:2] == check_size(size, "size"):
        return image
    filter = Image.Resampling[resample.upper()]
    return np.asarray(Image.fromarray(image).resize(size[::-1], filter))


@at_work
def preprocess(image: np.ndarray, config: SamConfig) -> mx.array:
    """An (H, W, 3) uint8 RGB image of any size to the model's input (1, S, S, 3), float32.

    Resizes the longest side to S, or both, normalises, then pads right and bottom with zeros.
    """
    check_rgb(image)
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
    found = to_numbers(coords, "coords").astype(float)
    if found.shape[-1:] != (2,):
        raise ValueError(f"coords has shape {found.shape}; expected (..., 2): x, y in pixels")
    return found * (new_width / width, new_height / height)


def apply_boxes(boxes: np.ndarray, original_size: tuple[int, int], long_side: int) -> np.ndarray:
    """Boxes (..., 4) as x0, y0, x1, y1 pixels of the original image to the input frame."""
    boxes = to_numbers(boxes, "boxes").astype(float)
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes has shape {boxes.shape}; expected (..., 4): x0, y0, x1, y1")
    return apply_coords(boxes.reshape(-1, 2, 2), original_size, long_side).reshape(boxes.shape)
