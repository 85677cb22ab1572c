"""Picture files as Pillow decodes them, and what it leaves to do: turns, 16-bit colours."""

from __future__ import annotations

import io
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from . import camera_raw
from .messages import printable
from .samples import Range, found_bits, to_rgb

T = TypeVar("T")

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
WIDTH, HEIGHT, BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, PLANES = 256, 257, 258, 277, 284  # TIFF tags
# Of 16-bit colours Pillow gives the high bytes: the names of such samples, and of those with
# their bytes exchanged. Gray with alpha has none: its 4 bytes are named as 4 samples.
OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
LOW_BYTES = {"LA;16B": "RGBA"} | {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in OTHER.items()
}
PASS_AN_ARRAY = "pass an array: cv2.imread(path, cv2.IMREAD_UNCHANGED), with image_format='BGR'"
MAX_BYTES = 4 << 30  # of a picture's file: what TIFF can address
TOO_MUCH_TEXT = re.compile("decompressed data too large|memory used in text", re.IGNORECASE)
HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}  # file types


@contextmanager
def as_value_error(name: str) -> Iterator[None]:
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
        raise ValueError(f"cannot read {printable(name)} as a picture: {reason}") from error


def look(file: bytes | BinaryIO) -> tuple[str, tuple[int, int]]:
    """What a file, or its bytes, is, without decoding pixels: the format, as Pillow names it, and
    the height and width that ``load_image`` gives.

    Raises ValueError for what is not a picture, or has more pixels than Pillow is allowed.
    """
    name = f"the {len(file)} bytes" if isinstance(file, bytes) else "the file"
    file = io.BytesIO(file) if isinstance(file, bytes) else file
    with as_value_error(name):
        return _read(file, _look)


def _look(image: Any) -> tuple[str, tuple[int, int]]:
    check(image)
    width, height = image.size
    if image.format == "TIFF":  # some versions of Pillow exchange these already
        width, height = image.tag_v2[WIDTH], image.tag_v2[HEIGHT]
    turned = TURNS.get(orientation(image)) in ACROSS
    return str(image.format), (width, height) if turned else (height, width)


def check(image: Any) -> None:
    """Raise ValueError for a PIL image without pixels, or with a preview of a camera's raw file."""
    if 0 in image.size:
        raise ValueError(f"image has size {image.size}: it holds no pixels")
    camera_raw.refuse_ending(getattr(image, "filename", ""))
    camera_raw.refuse_tiff(getattr(image, "tag_v2", {}), getattr(image, "fp", None))


def _seekable(file: Any) -> BinaryIO:
    """A file object that can be read again from its start."""
    if isinstance(file, io.TextIOBase):
        raise ValueError("it is open as text; open it with mode 'rb'")
    try:
        file.seek(0)
    except (AttributeError, OSError):
        return io.BytesIO(_content(file))
    return file


def from_file(file: Any, name: str, value_range: Range | None) -> np.ndarray:
    def pixels(image: Image.Image) -> np.ndarray:
        found = from_pil(image, value_range)
        _warn_of_more(image, name)
        return found

    with as_value_error(name):
        camera_raw.refuse_ending(name)
        return _read(_seekable(file), pixels)


def _read(file: BinaryIO, use: Callable[[Image.Image], T]) -> T:
    """What ``use`` makes of a picture; Pillow refuses a PNG with over 1 MB of text or profile."""
    try:
        with _open(file) as image:
            return use(image)
    except ValueError as error:
        if not TOO_MUCH_TEXT.search(str(error)):
            raise
        file.seek(0)
        with _open(io.BytesIO(_without_texts(_content(file)))) as image:
            return use(image)


def _without_texts(png: bytes) -> bytes:
    """A PNG without chunks that have no part in its pixels."""
    parts, at = [png[:8]], 8
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            parts.append(png[at : at + length + 12])
        at += length + 12
    return b"".join(parts)


def _open(file: BinaryIO) -> Image.Image:
    file.seek(0)
    head = file.read(16)
    camera_raw.refuse(head)
    file.seek(0)
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        if head[4:8] == b"ftyp" and head[8:12] in HEIC:
            _register_heic()
            return Image.open(file)
        raise ValueError(_unknown(file, head)) from None


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
        camera_raw.refuse_tiff(tags, file)
        return (
            f"Pillow reads no TIFF of {tags.get(SAMPLES_PER_PIXEL, 1)} samples a pixel of "
            f"{tags.get(BITS_PER_SAMPLE, 1)} bits; pass an array of three of them"
        )
    return "its bytes are of no format that Pillow knows"


def _warn_of_more(image: Image.Image, name: str) -> None:
    """Name the parts of a file that are not read."""
    samples = getattr(image, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1)
    if samples > 4:
        warnings.warn(
            f"{printable(name)} has {samples} samples a pixel; three are read", stacklevel=2
        )
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # damage after the first does not matter
        return
    if frames > 1 and image.format != "MPO":
        warnings.warn(
            f"{printable(name)} has {frames} frames or pages; the first is read", stacklevel=2
        )


def from_pil(image: Image.Image, value_range: Range | None) -> np.ndarray:
    """A PIL image as (H, W, 3) uint8 in RGB."""
    check(image)
    if _has_deep_colours(image):
        return _from_deep_colours(image, value_range)
    image.load()
    image = turned(image)
    if image.mode[0] in "IF":
        # Pillow clips such samples to 255 in its own conversion.
        array = np.asarray(image)
        fits = image.mode == "I" and array.min() >= 0 and array.max() <= 65535
        return to_rgb(array.astype(np.uint16) if fits else array, value_range)
    if image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")  # then drop alpha: keeps the colours under transparency
    return np.asarray(image.convert("RGB"))


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether a file that is not loaded yet has 16-bit colours, of which Pillow gives 8 bits.

    Raises ValueError if they are stored in planes, which Pillow takes for 8-bit planes.
    """
    tags, tiles = getattr(image, "tag_v2", {}), str(getattr(image, "tile", ""))
    if tags.get(PLANES) == 2 and 16 in tags.get(BITS_PER_SAMPLE, ()) and "'raw'" in tiles:
        raise ValueError(f"Pillow reads no TIFF with colours in planes of 16 bits; {PASS_AN_ARRAY}")
    return image.mode in ("L", "RGB", "RGBA", "RGBX") and (";16" in tiles or "SGI16" in tiles)


def _from_deep_colours(image: Any, value_range: Range | None) -> np.ndarray:
    """The caller's image is not touched: once loaded, it has lost half of each sample."""
    place = image.fp.tell()
    image.fp.seek(0)
    decoded = partial(_decoded, _content(image.fp), image.tell())
    image.fp.seek(place)
    high = decoded(lambda tile: tile)[..., :3]
    # With the fewest levels that mark missing values: the high bytes alone have few.
    if value_range is None and found_bits(high.astype(np.uint16) * 257, min_levels=0) == 16:
        return to_rgb(high)
    try:
        if getattr(image, "tag_v2", {}).get(PLANES) == 2:  # libtiff chooses the order itself
            raise KeyError(PLANES)
        low = decoded(_exchanged)
    except KeyError as error:
        raise ValueError(
            f"its samples have 16 bits, of which Pillow gives the high 8; {PASS_AN_ARRAY}"
        ) from error
    low = low[..., 1:2] if "LA;16B" in str(image.tile) else low[..., :3]
    return to_rgb(high.astype(np.uint16) << 8 | low, value_range)


def _content(file: BinaryIO) -> bytes:
    """What is left in a file, which may be a pipe without end."""
    content = io.BytesIO()
    while part := file.read(1 << 20):
        if content.write(part) and content.tell() > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return content.getvalue()


def _decoded(content: bytes, frame: int, change: Callable[[Any], Any]) -> np.ndarray:
    """The pixels (H, W, C) of a file opened anew, with changed descriptions of its tiles."""
    image: Any = Image.open(io.BytesIO(content))
    image.seek(frame)
    image.tile = [change(tile) for tile in image.tile]
    return np.atleast_3d(np.asarray(turned(image)))


def _exchanged(tile: Any) -> Any:
    """A tile's description, with the bytes of its samples in the other order."""
    args = tile[3]
    args = LOW_BYTES[args] if isinstance(args, str) else (LOW_BYTES[args[0]], *args[1:])
    return tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)


def turned(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF orientation says.

    ``ImageOps.exif_transpose`` writes all tags anew, and fails where one has an odd type.
    """
    turn = TURNS.get(orientation(image))
    is_turned = isinstance(image, TiffImagePlugin.TiffImageFile)  # where Pillow loads it
    return image if turn is None or is_turned else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """The EXIF tag, 1 (as it is) where there is none."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except MemoryError:
        raise
    except Exception:  # unreadable tags do not mean unreadable pixels
        return 1
    return orientation if isinstance(orientation, int) else 1
