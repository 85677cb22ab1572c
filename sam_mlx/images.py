"""Any picture as an (H, W, 3) uint8 array in RGB."""

import base64
import inspect
import io
import math
import os
import re
import warnings
from os.path import exists
from typing import Any, BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from .arrays import check_pixels, to_numpy
from .files import unfit
from .image_files import MAX_BYTES, as_value_error, from_file, from_pil
from .image_files import look as look
from .messages import printable, shown
from .samples import Range, check_range, to_rgb

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | ArrayLike | mx.array

MAX_PATH = 150  # characters of a path that errors show whole

# What Pillow lists among pictures but only writes, or from which it reads no pixels.
NO_PICTURES = {"PDF", "MPEG", "FLI", "BUFR", "GRIB", "HDF5", "WMF"}
HEIC_ENDINGS = {".heic", ".heif", ".hif"}


def load_image(
    image: Source, image_format: str = "RGB", value_range: Range | None = None
) -> np.ndarray:
    """Any picture as an (H, W, 3) uint8 array in RGB.

    Takes a path (``~`` is the home folder), a file or data URL, a file's bytes, a binary file
    object or upload (read from its start), a PIL image, or an array in ``image_format`` ("RGB" or
    "BGR"): (H, W), (H, W, 1), (H, W, 2) gray and alpha, (H, W, 3) or (H, W, 4); uint8, uint16 or
    bool. Arrays may be from numpy, MLX, PyTorch, JAX, TensorFlow or CuPy, on any device. HEIC
    needs the package pillow-heif, the extra ``heic``.

    Gray is repeated over the channels, alpha is dropped (colours stay as stored). Of a file with
    several frames or pages the first is read, with a warning (not for MPO, whose other frames are
    a camera's previews).

    Files and PIL images are turned as their EXIF orientation says: a picture gives the same masks
    either way, in the frame that viewers show. Arrays have no orientation; where a PIL image was
    turned by hand and kept its tag, pass ``np.asarray(image)``.

    8-bit samples are taken as they are. 16-bit samples are taken for n-bit ones, and keep the high
    8 of their n bits: n is the smallest number from 8 to 16 whose range, 0 to 2^n - 1, holds the
    brightest channel of all pixels except one in 1000 (hot pixels, glints) and those that mark
    missing values; brighter ones become white. Such marks are 65535, and the highest value, if more
    than one pixel in 1000 has exactly that and the others have 64 levels or more. With fewer than
    100 pixels all count. There is a warning if n is not 16. Pillow's mode I counts as 16 bits if
    its values fit.

    ``value_range``, two numbers, decides instead: the value that becomes black and the one that
    becomes white, with 256 equal steps between; values outside are black or white, NaN is black.
    It is for samples of more than 8 bits, integers or floats of any size; without it, floats and
    integers that are not 16-bit are refused.

    Raises ValueError for arrays of other shapes and types, with the line that converts them, for
    empty ones, and for files that are not readable pictures; FileNotFoundError for missing files.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format is {image_format!r}; expected 'RGB' or 'BGR'")
    value_range = check_range(value_range)
    if image is None:
        raise ValueError(
            "image is None, which cv2.imread returns for a file that is missing or unreadable"
        )
    if isinstance(image, str):
        image = of_url(image)
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.path.expanduser(os.fsdecode(image)), value_range)
    if isinstance(image, (bytes, bytearray)) or (isinstance(image, memoryview) and image.ndim == 1):
        return from_file(io.BytesIO(image), f"the {len(image)} bytes", value_range)
    if isinstance(image, Image.Image):
        with as_value_error("the PIL image"):
            return from_pil(image, value_range)
    if hasattr(image, "read"):
        return _from_object(image, value_range)
    array = to_numpy(image, "image")
    check_pixels(math.prod(array.shape[:2]), "image")  # one that is repeated may claim any size
    return to_rgb(array, value_range, image_format)


def of_url(text: str) -> str | bytes:
    """The path of a file URL, the bytes of a data URL, and any other text as it is: a path.

    Raises ValueError for damaged data, and for URLs that lead elsewhere.
    """
    scheme, rest = text.partition(":")[::2]
    if scheme.lower() == "data":
        return _data(rest)
    if scheme.lower() == "file" and rest.startswith("/"):
        place = urlsplit(text)
        if place.netloc in ("", "localhost"):
            plain = rest.removeprefix(f"//{place.netloc}")  # as people write them, with a # or %
            return plain if exists(plain) else unquote(place.path, errors="surrogateescape")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ValueError(f"{shown(text)} is a URL; download it, and give its path or its bytes")
    return text


def _data(text: str) -> bytes:
    """The bytes of a data URL, without its scheme."""
    kind, comma, data = text.partition(",")
    found = unquote_to_bytes(data)
    if not comma:
        raise ValueError("the data URL has no comma before its data")
    if not kind.lower().rstrip().endswith(";base64"):
        return found
    try:
        found = b"".join(found.split())
        return base64.b64decode(found + b"=" * (-len(found) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"the data URL is not base64: {error}") from error


def _from_path(path: str, value_range: Range | None) -> np.ndarray:
    shortened = path if len(path) <= MAX_PATH else f"{path[:60]} ... {path[-60:]}"
    name = printable(shortened)
    try:
        if why := unfit(path, MAX_BYTES):
            raise OSError(why)
        with open(path, "rb") as file:
            return from_file(file, path, value_range)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {name}") from None
    except OSError as error:
        raise ValueError(f"cannot read {name} as a picture: {error.strerror or error}") from error


def _from_object(file: Any, value_range: Range | None) -> np.ndarray:
    """A picture from an object with ``read``: an open file, or a web framework's upload."""
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "the file object"
    if inspect.iscoroutinefunction(file.read):
        file = getattr(file, "file", None)  # of Starlette's and FastAPI's uploads
        if file is None:
            raise ValueError(f"{printable(name)} is read with await: give the bytes, await read()")
    return from_file(file, name, value_range)


def picture_endings() -> set[str]:
    """The endings of the files that ``load_image`` reads, such as ".jpg"."""
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
