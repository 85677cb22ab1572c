"""What the samples of an array mean: numbers of any type as uint8."""

from __future__ import annotations

import math
import warnings
from functools import reduce
from typing import Any

import numpy as np

from .messages import short

Range = tuple[float, float]

NODATA = 65535  # how 16-bit rasters mark pixels without a value
OUTLIERS = 1000  # one pixel in this many may be brighter than the rest: hot pixels, glints
MIN_PIXELS = 100  # with fewer, each counts
MIN_LEVELS = 64  # of the other pixels, for the highest value to be a mark


def check_range(value_range: Any) -> Range | None:
    """Raise ValueError unless it is None or two finite numbers, the lower one first."""
    if value_range is None:
        return None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"value_range is {short(value_range)}; expected two numbers, the sample value that "
            "becomes black and the larger one that becomes white, such as (0, 10000)"
        )
    return low, high


def to_rgb(
    array: np.ndarray, value_range: Range | None = None, image_format: str = "RGB"
) -> np.ndarray:
    """An array that ``load_image`` takes as (H, W, 3) uint8 in RGB."""
    array = check_array(array)
    colours = 1 if array.shape[2] <= 2 else 3  # alpha must not affect what 16 bits mean
    array = to_8_bits(array[..., :colours], value_range)
    if colours == 1:
        return np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array if image_format == "RGB" else array[..., ::-1])


def check_array(array: np.ndarray) -> np.ndarray:
    """An array as (H, W, channels). Raises ValueError where it is not a picture."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"image has shape {shape}; expected (height, width) or (height, width, "
            "channels) with 1 to 4 channels, channels last: image[..., [0, 1, 2]] takes three of "
            "more, np.moveaxis(image, 0, -1) puts the first axis last, and so does "
            "image.permute(1, 2, 0) of a tensor"
        )
    if 0 in array.shape:
        raise ValueError(f"image has shape {array.shape}: it holds no pixels")
    return array


def to_8_bits(array: np.ndarray, value_range: Range | None = None) -> np.ndarray:
    """Samples (H, W, C) as uint8, by the rule of ``load_image``."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise ValueError(f"image has dtype {array.dtype}; expected uint8")
    if value_range is not None:
        return stretch(array, *value_range)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        return _from_16_bits(array)
    low, high = array.min(), array.max()
    raise ValueError(
        f"image has dtype {array.dtype} and values {low} to {high}; expected uint8. Say which "
        "values are black and white, with value_range=(low, high), in the shell --value-range LOW "
        f"HIGH; or an array becomes that by {_conversion(array.dtype.kind == 'f', low, high)}"
    )


def stretch(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Samples as uint8: 256 equal steps from low to high; values outside become 0 or 255.

    From 0 to 2^n - 1 these are the highest 8 of n bits. NaN becomes 0.
    """
    levels = np.empty(array.shape, np.uint8)
    for row, out in zip(array, levels):  # a row at a time: float64 is eight times as large
        steps = (row.astype(np.float64) - low) * (256 / (high - low))
        out[...] = np.fmin(np.fmax(steps, 0), 255)
    return levels


def found_bits(array: np.ndarray, min_levels: int = MIN_LEVELS) -> int:
    """How many bits, 8 to 16, the 16-bit samples (H, W, C) use, by ``load_image``'s rule."""
    # array.max(axis=2) would take 20 times as long.
    brightest, outliers = reduce(np.maximum, np.moveaxis(array, 2, 0)), 0
    if brightest.size >= MIN_PIXELS:
        brightest = _without_marks(brightest, min_levels)
        outliers = max(1, brightest.size // OUTLIERS)
    bits = 16
    while bits > 8 and np.count_nonzero(brightest >> (bits - 1)) <= outliers:
        bits -= 1
    return bits


def _without_marks(brightest: np.ndarray, min_levels: int) -> np.ndarray:
    """The pixels that have a value: the highest is a mark if more than outliers have exactly it."""
    found = brightest[brightest != NODATA]
    if found.size < MIN_PIXELS:
        return found
    rest = found[found != found.max()]
    if found.size - rest.size <= max(1, found.size // OUTLIERS):
        return found
    levels = np.unique(rest[:: max(1, rest.size // 100_000)]).size
    return rest if levels >= min_levels else found


def _from_16_bits(array: np.ndarray) -> np.ndarray:
    bits = found_bits(array)
    highest = (1 << bits) - 1
    if bits == 16:
        return (array >> 8).astype(np.uint8)
    if bits > 8 or ((array > 0) & (array < NODATA)).any():  # not only black and white
        # The same text for all pictures with this many bits: Python shows it once.
        warnings.warn(
            f"an image has 16-bit samples, nearly all up to {highest}: they are taken for "
            f"{bits}-bit ones. Where they are not, give value_range=(0, 65535), or the range that "
            "they have; in the shell --value-range 0 65535",
            stacklevel=2,
        )
    return (np.minimum(array, highest) >> (bits - 8)).astype(np.uint8)


def _conversion(is_float: bool, low: Any, high: Any) -> str:
    """Code that turns such an array into one that ``to_8_bits`` takes."""
    if is_float and low >= 0 and high <= 1:
        return "(image * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "image.round().astype(np.uint8)" if is_float else "image.astype(np.uint8)"
    if low >= 0 and high <= 65535 and not is_float:
        return "image.astype(np.uint16)"
    return "np.interp(image, (image.min(), image.max()), (0, 255)).astype(np.uint8)"
