"""Any picture as an (H, W, 3) uint8 array in RGB."""

import io
import os
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image

from .image_files import as_value_error, from_file, from_pil
from .image_files import look as look
from .messages import printable
from .samples import Range, check_range, to_rgb

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

# What Pillow lists among pictures but only writes, or reads no pixels of.
NO_PICTURES = {"PDF", "MPEG", "FLI", "BUFR", "GRIB", "HDF5", "WMF"}
HEIC_ENDINGS = {".heic", ".heif", ".hif"}


def load_image(
    image: Source, image_format: str = "RGB", value_range: Range | None = None
) -> np.ndarray:
    """Any picture as an (H, W, 3) uint8 array in RGB.

    Takes a path (``~`` is the home folder), a file's bytes, a binary file object (read from its
    start), a PIL image, or an array as ``image_format`` ("RGB" or "BGR") says: (H, W), (H, W, 1),
    (H, W, 2) gray and alpha, (H, W, 3) or (H, W, 4); uint8, uint16 or bool. HEIC needs the package
    pillow-heif, the extra ``heic``.

    Gray is repeated over the channels, alpha is dropped (colours stay as stored). Of a file with
    several frames or pages the first is read, and a warning says so (not for MPO, whose others
    are a camera's previews).

    Files and PIL images are turned as their EXIF orientation says: a picture gives the same masks
    either way, in the frame that viewers show. Arrays have no orientation; where a PIL image was
    turned by hand and kept its tag, pass ``np.asarray(image)``.

    8-bit samples are taken as they are. Samples of 16 bits are taken for n-bit ones, and keep the
    high 8 of their n bits: n is the smallest number from 8 to 16 whose range, 0 to 2^n - 1, holds
    the brightest channel of all pixels but one in 1000 (hot pixels, glints) and those of 65535,
    which marks missing values; what is brighter becomes white. Of fewer than 100 pixels all count.
    A warning says so where n is not 16. Pillow's mode I counts as 16 bits where its values fit.

    ``value_range``, two numbers, decides instead: the value that becomes black and the one that
    becomes white, with 256 equal steps between; what lies outside is black or white, NaN is
    black. It is for samples of more than 8 bits, of integers or floats of any size; without it,
    floats and integers that are not of 16 bits are refused.

    Raises ValueError for arrays of other shapes and types, with the line that converts them, empty
    ones, and files that are not readable pictures; FileNotFoundError for missing files.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format is {image_format!r}; expected 'RGB' or 'BGR'")
    value_range = check_range(value_range)
    if image is None:
        raise ValueError(
            "image is None, which cv2.imread returns for a file that is missing or unreadable"
        )
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.path.expanduser(image), value_range)
    if isinstance(image, (bytes, bytearray)):
        return from_file(io.BytesIO(image), f"the {len(image)} bytes", value_range)
    if isinstance(image, Image.Image):
        with as_value_error("the PIL image"):
            return from_pil(image, value_range)
    if hasattr(image, "read"):
        return from_file(image, str(getattr(image, "name", "the file object")), value_range)
    return to_rgb(np.asarray(image), value_range, image_format)


def _from_path(path: str, value_range: Range | None) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return from_file(file, path, value_range)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {printable(path)}") from None
    except OSError as error:
        raise ValueError(f"cannot read {printable(path)} as a picture: {error}") from error


def picture_endings() -> set[str]:
    """The endings of the files that ``load_image`` reads, as ".jpg"."""
    endings = Image.registered_extensions()
    known = {e for e, form in endings.items() if form in Image.OPEN and form not in NO_PICTURES}
    return known | HEIC_ENDINGS


def allow_pixels(most: int) -> None:
    """Have this process read files of up to so many pixels; Pillow's own limit is 178,956,970.

    A file that claims more is refused before its pixels are made.
    """
    if most < 1:
        raise ValueError(f"max_pixels is {most}; expected 1 or more")
    Image.MAX_IMAGE_PIXELS = -(-most // 2)  # Pillow warns of more than these, and refuses twice
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
