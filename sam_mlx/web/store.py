"""Pictures as files of the server, checked before they are decoded."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import unicodedata
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..files import read_file, unfit
from ..image_files import MAX_BYTES as MAX_FILE
from ..images import load_image, look
from ..samples import Range
from .errors import Refusal
from .validate import NAME, check, form, parse

# By content. Other formats that Pillow opens are rare, or start other programs.
FORMATS = {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "HEIF", "AVIF", "PPM", "JPEG2000"}
MAX_BYTES = 100 << 20  # of one picture
MAX_PIXELS = 50_000_000  # of one picture: phones have 48 million
MAX_STORE_BYTES = 4 << 30  # of all uploaded pictures
STUB = b"sam_mlx.large 1 "  # what begins a large picture's entry in a session file
THUMBNAIL = 160  # pixels of the longer side
LARGE = form("digest name", digest={"type": "string", "maxLength": 64}, name=NAME)
MAX_PNG_PIXELS = 2_000_000  # larger pictures are shown as JPEG


class Content:
    """A picture's file, shared by the sessions that show it."""

    tiles: dict[str, int] | None = None  # of a picture that is drawn in tiles

    def __init__(
        self, key: str, path: Path, size: tuple[int, int], room: int, value_range: Range | None
    ):
        self.key, self.path, self.size = key, path, size  # the key is its embedding's
        self.room = room  # bytes of the store's folder
        self.value_range = value_range
        self.encoding: float | None = None  # the time at which it began, while it is encoded
        self.error: str | None = None  # why it could not be encoded
        self._thumbnail: bytes | None = None

    def read(self) -> bytes:
        try:
            return read_file(self.path, MAX_FILE)
        except OSError:
            raise Refusal(404, "the picture's file is gone") from None
        except ValueError as error:
            raise Refusal(415, str(error)) from None

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, as ``load_image`` gives it. The key becomes the content's."""
        data = self.read()
        self.key = key_of(data, self.value_range)
        return decode(data, self.value_range)

    def shown(self) -> tuple[bytes, str]:
        """The picture as browsers can show it, and its type."""
        pixels = self.pixels()
        png = pixels.shape[0] * pixels.shape[1] <= MAX_PNG_PIXELS
        return compressed(Image.fromarray(pixels), png), "image/png" if png else "image/jpeg"

    def thumbnail(self) -> bytes:
        if self._thumbnail is None:
            picture = Image.fromarray(self.pixels())
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            self._thumbnail = compressed(picture, png=False)
        return self._thumbnail


def compressed(picture: Image.Image, png: bool) -> bytes:
    file = io.BytesIO()
    if png:
        picture.save(file, "PNG", compress_level=1)
    else:
        picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def key_of(data: bytes, value_range: Range | None) -> str:
    """What an embedding depends on: a picture's content, and how its samples are read."""
    return hashlib.sha256(data).hexdigest() + (f" {value_range}" if value_range else "")


def decode(data: bytes, value_range: Range | None = None) -> np.ndarray:
    try:
        return load_image(data, value_range=value_range)
    except ValueError as error:
        raise Refusal(415, str(error)) from None


class Store:
    """All pictures; uploaded ones are in a folder that is deleted when the server ends."""

    def __init__(
        self,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        value_range: Range | None = None,
    ):
        self.max_pixels, self.max_bytes = max_pixels, max_bytes
        self.value_range = value_range  # of new pictures, as ``load_image`` takes it
        self.room = MAX_STORE_BYTES  # bytes of all uploaded pictures
        self._folder = tempfile.TemporaryDirectory(
            prefix="sam_mlx-web-", ignore_cleanup_errors=True
        )
        # Pictures in tiles, by their digests.
        self.large: weakref.WeakValueDictionary[str, Content] = weakref.WeakValueDictionary()
        self._contents: weakref.WeakValueDictionary[str, Content] = weakref.WeakValueDictionary()
        self._count = 0
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def close(self) -> None:
        self._folder.cleanup()

    def new_file(self) -> Path:
        """A name not chosen by any client."""
        with self._lock:
            self._count += 1
            return self.folder / f"{self._count}"

    def of_file(self, path: Path) -> Content:
        """A picture from the command line: it stays where it is, and is read when needed."""
        if why := unfit(path, MAX_FILE):
            raise Refusal(415, why)
        with path.open("rb") as file:
            return Content(str(path), path, self.check(file), 0, self.value_range)

    def of_upload(self, path: Path, value_range: Range | None) -> Content:
        """An uploaded picture in the folder. Raises Refusal for anything else."""
        try:
            return self._keep(path.read_bytes(), path, value_range)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def of_bytes(self, data: bytes, value_range: Range | None) -> Content:
        if data.startswith(STUB):
            return self.of_stub(data.removeprefix(STUB))
        path = self.new_file()
        path.write_bytes(data)
        return self.of_upload(path, value_range)

    def of_stub(self, data: bytes) -> Content:
        """The large picture that an entry of a session file stands for, if the server has it."""
        about = parse(data, "the entry of a large picture")
        check(about, LARGE, "the entry of a large picture")
        if about["digest"] not in self.large:
            raise Refusal(
                400,
                f"the session has the large picture {clean_name(about['name'])}, which the file "
                "does not hold: start sam-mlx web with that picture, then open the session",
            )
        return self.large[about["digest"]]

    def _keep(self, data: bytes, path: Path, value_range: Range | None) -> Content:
        key = key_of(data, value_range)
        with self._lock:
            known = self._contents.get(key)
        if known is not None:
            path.unlink()
            return known
        content = Content(key, path, self.check(data), len(data), value_range)
        with self._lock:
            if sum(c.room for c in self._contents.values()) + len(data) > self.room:
                raise Refusal(413, "the server has no room for more pictures: remove some first")
            self._contents[key] = content
        weakref.finalize(content, _remove, path)
        return content

    def check(self, data: bytes | BinaryIO) -> tuple[int, int]:
        """Height and width of a picture. Raises Refusal if it is not one, or is too large."""
        try:
            form, (height, width) = look(data)
        except ValueError as error:
            raise Refusal(415, str(error)) from None
        if form not in FORMATS:
            raise Refusal(415, f"the file is {form}; expected {', '.join(sorted(FORMATS))}")
        if height * width > self.max_pixels:
            raise Refusal(
                413,
                f"the picture has {width} x {height} pixels; this server takes up to "
                f"{self.max_pixels} in all: make it smaller, or start it with --max-pixels; "
                "GeoTIFF, slides and zarr of any size are opened by: sam-mlx web FILE",
            )
        return height, width


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def receive(
    chunks: AsyncIterator[bytes], store: Store, declared: str | None, max_bytes: int
) -> Path:
    """An upload as a file in the store's folder, abandoned as soon as it is too long.

    declared: the length that the request's head claims.
    """
    too_long = Refusal(413, f"the file has more than {max_bytes} bytes, the most that are taken")
    if declared is not None and declared.isdecimal() and int(declared) > max_bytes:
        raise too_long
    path, count = store.new_file(), 0
    try:
        with path.open("wb") as file:
            async for chunk in chunks:
                count += len(chunk)
                if count > max_bytes:
                    raise too_long
                file.write(chunk)
        if not count:
            raise Refusal(400, "the request has no body; expected a file's bytes")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def clean_name(name: str | None, fallback: str = "picture") -> str:
    """A client's name for a picture, made safe to show and to use in archives: not a path."""
    name = os.path.basename((name or "").replace("\\", "/"))
    kept = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*/')
    return kept.strip(" .")[:100] or fallback
