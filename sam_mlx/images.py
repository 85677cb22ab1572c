"""Any picture as an (H, W, 3) uint8 array in RGB."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ACROSS = {TURNS[i] for i in (5, 6, 7, 8)}  # those that exchange the sides
SAMPLES_PER_PIXEL = 277  # the TIFF tag
# What Pillow lists among pictures but only writes, or reads no pixels of.
NO_PICTURES = {"PDF", "MPEG", "FLI", "BUFR", "GRIB", "HDF5", "WMF"}
HEIC_ENDINGS = {".heic", ".heif", ".hif"}
HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}  # file types


def load_image(image: Source, image_format: str = "RGB") -> np.ndarray:
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

    8-bit samples are taken as they are. What the samples of 16 bits mean is told by the largest
    one: above 4095 they are 16-bit values, which keep their high byte; up to 4095 they are 12-bit
    values, as of many cameras, which keep the high 8 of the 12 bits; up to 255 they are 8-bit
    values and taken as they are. In the last two cases a warning says so. Pillow's mode I counts
    as 16 bits where its values fit. 16-bit files in colour, of which Pillow keeps the high bytes
    only, are refused where nothing exceeds 4095.

    Raises ValueError for arrays of other shapes and types, with the line that converts them, empty
    ones, and files that are not readable pictures; FileNotFoundError for missing files.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format is {image_format!r}; expected 'RGB' or 'BGR'")
    if image is None:
        raise ValueError(
            "image is None, which cv2.imread returns for a file that is missing or unreadable"
        )
    if isinstance(image, (str, os.PathLike)):
        return _from_path(os.path.expanduser(image))
    if isinstance(image, (bytes, bytearray)):
        return _from_file(io.BytesIO(image), f"the {len(image)} bytes")
    if isinstance(image, Image.Image):
        with _as_value_error("the PIL image"):
            return _from_pil(image)
    if hasattr(image, "read"):
        return _from_file(image, str(getattr(image, "name", "the file object")))
    return _from_array(np.asarray(image), image_format)


def _from_array(array: np.ndarray, image_format: str = "RGB") -> np.ndarray:
    array = check_array(array)
    colours = 1 if array.shape[2] <= 2 else 3  # alpha would take part in what 16 bits mean
    array = to_8_bits(array[..., :colours])
    if colours == 1:
        return np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array if image_format == "RGB" else array[..., ::-1])


def check_array(array: np.ndarray) -> np.ndarray:
    """An array as (H, W, channels); ValueError where it is no picture."""
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"image has shape {shape}; expected (height, width) or (height, width, "
            "channels) with 1 to 4 channels, channels last: image[..., [0, 1, 2]] takes three of "
            "more, np.moveaxis(image, 0, -1) puts the first axis last"
        )
    if 0 in array.shape:
        raise ValueError(f"image has shape {array.shape}: it holds no pixels")
    return array


def to_8_bits(array: np.ndarray) -> np.ndarray:
    """Samples as uint8, by the rule of ``load_image``."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        return _from_16_bits(array)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"image has dtype {array.dtype}; expected uint8")
    low, high = array.min(), array.max()
    raise ValueError(
        f"image has dtype {array.dtype} and values {low} to {high}; expected uint8. As an array "
        f"it becomes that by {_conversion(array.dtype.kind == 'f', low, high)}"
    )


def _from_16_bits(array: np.ndarray) -> np.ndarray:
    highest = int(array.max())
    bits = next(bits for bits in (8, 12, 16) if highest < 1 << bits)
    if bits < 16 and highest > 0:
        # One text for all pictures: Python shows it once.
        warnings.warn(
            f"an image has 16-bit samples, all below {1 << bits}: they are taken for {bits}-bit "
            "ones. Where they are not, pass (image >> 8).astype(np.uint8)",
            stacklevel=2,
        )
    return (array >> (bits - 8)).astype(np.uint8)


def _conversion(is_float: bool, low: Any, high: Any) -> str:
    """Code that makes such an array one that ``to_8_bits`` takes."""
    if is_float and low >= 0 and high <= 1:
        return "(image * 255).round().astype(np.uint8)"
    if low >= 0 and high <= 255:
        return "image.round().astype(np.uint8)" if is_float else "image.astype(np.uint8)"
    if low >= 0 and high <= 65535 and not is_float:
        return "image.astype(np.uint16)"
    return "np.interp(image, (image.min(), image.max()), (0, 255)).astype(np.uint8)"


@contextmanager
def _as_value_error(name: str) -> Iterator[None]:
    """Whatever is raised while a picture is read: decoders let all kinds of errors through."""
    try:
        yield
    except (MemoryError, Warning):
        raise
    except Exception as error:
        reason = str(error)
        if isinstance(error, Image.DecompressionBombError):
            reason += (
                "; if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS (in the shell --max-pixels), "
                "or make it smaller"
            )
        elif not isinstance(error, (OSError, SyntaxError, ValueError)):
            reason = f"{type(error).__name__}: {reason}"
        raise ValueError(f"cannot read {name} as a picture: {reason}") from error


def _from_path(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            return _from_file(file, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such image file: {path}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path} as a picture: {error}") from error


def _seekable(file: Any) -> BinaryIO:
    """A file object that can be read again from its start."""
    if isinstance(file, io.TextIOBase):
        raise ValueError("it is open as text; open it with mode 'rb'")
    try:
        file.seek(0)
    except (AttributeError, OSError):
        return io.BytesIO(file.read())
    return file


def _from_file(file: Any, name: str) -> np.ndarray:
    with _as_value_error(name), _open(_seekable(file)) as image:
        pixels = _from_pil(image)
        _warn_of_more(image, name)
    return pixels


def _open(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        file.seek(0)
        if head[4:8] == b"ftyp" and head[8:] in HEIC:
            _register_heic()
            return Image.open(file)
        raise ValueError(_unknown(file, head)) from None


def look(file: bytes | BinaryIO) -> tuple[str, tuple[int, int]]:
    """What a file, or its bytes, are without decoding pixels: the format, as Pillow names it, and
    the height and width that ``load_image`` gives.

    Raises ValueError for what is no picture, or has more pixels than Pillow is allowed.
    """
    name = f"the {len(file)} bytes" if isinstance(file, bytes) else "the file"
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    with _as_value_error(name), _open(file) as image:
        if 0 in image.size:
            raise ValueError(f"image has size {image.size}: it holds no pixels")
        width, height = image.size
        turned = TURNS.get(_orientation(image)) in ACROSS
        return str(image.format), (width, height) if turned else (height, width)


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


def _register_heic() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ValueError("HEIC needs pillow-heif: pip install pillow-heif") from error
    register_heif_opener()


def _unknown(file: BinaryIO, head: bytes) -> str:
    """Why Pillow knows no format for a file."""
    if head[:4] in (b"II*\0", b"MM\0*"):
        tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
        file.seek(tags.next)
        tags.load(file)
        return (
            f"Pillow reads no TIFF of {tags.get(SAMPLES_PER_PIXEL, 1)} samples a pixel of "
            f"{tags.get(258, 1)} bits; pass an array of three of them"
        )
    return "its bytes are of no format that Pillow knows"


def _warn_of_more(image: Image.Image, name: str) -> None:
    """Name what of a file is not read."""
    samples = getattr(image, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1)
    if samples > 4:
        warnings.warn(f"{name} has {samples} samples a pixel; three are read", stacklevel=2)
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # damage after the first is no matter
        return
    if frames > 1 and image.format != "MPO":
        warnings.warn(f"{name} has {frames} frames or pages; the first is read", stacklevel=2)


def _from_pil(image: Image.Image) -> np.ndarray:
    if 0 in image.size:
        raise ValueError(f"image has size {image.size}: it holds no pixels")
    high_bytes = ";16" in str(getattr(image, "tile", ""))  # as which Pillow reads colours
    image.load()
    image = _turned(image)
    if image.mode[0] in "IF":
        # Pillow clips such samples to 255 in its own conversion.
        array = np.asarray(image)
        fits = image.mode == "I" and array.min() >= 0 and array.max() <= 65535
        return _from_array(array.astype(np.uint16) if fits else array)
    if image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")  # then drop alpha: keeps the colours under transparency
    pixels = np.asarray(image.convert("RGB"))
    if high_bytes and pixels.max() <= 15:
        raise ValueError(
            "none of its 16-bit samples exceeds 4095, and Pillow keeps their high bytes only; pass "
            "an array: cv2.imread(path, cv2.IMREAD_UNCHANGED), with image_format='BGR'"
        )
    return pixels


def _turned(image: Image.Image) -> Image.Image:
    """An image as its EXIF orientation says.

    ``ImageOps.exif_transpose`` writes all tags anew, and fails where one has an odd type.
    """
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF tag, 1 (as it is) where there is none."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # tags that cannot be read say nothing of the pixels
        return 1
    return orientation if isinstance(orientation, int) else 1
