"""Pictures as files of the server, checked before they are decoded."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..files import read_file, unfit
from ..image_files import MAX_BYTES as MAX_FILE
from ..images import load_image, look
from ..samples import Range
from .errors import Refusal
from .names import clean_name
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


GONE = "the picture's file is gone"
CHANGED = "the picture's file has changed on disk"


class Content:
    """A picture's file, shared by the sessions that show it."""

    tiles: dict[str, int] | None = None  # of a picture that is drawn in tiles

    def __init__(
        self,
        key: str,
        path: Path,
        size: tuple[int, int],
        room: int,
        value_range: Range | None,
        upload: str | None = None,
    ):
        self.key, self.path, self.size = key, path, size  # the key is its embedding's
        self.room = room  # bytes of the store's folder
        self.value_range = value_range
        self.upload = upload  # the SHA-256 of a file that was uploaded
        self.encoding: float | None = None  # the time at which it began, while it is encoded
        self.error: str | None = None  # why it could not be encoded
        self._thumbnail: bytes | None = None
        self.first_state = self._seen = self.state

    @property
    def source(self) -> str | None:
        """The path of a file that was not uploaded."""
        return os.path.abspath(self.path) if self.upload is None else None

    def read(self) -> bytes:
        try:
            return read_file(self.path, MAX_FILE)
        except OSError:
            raise Refusal(404, GONE) from None
        except ValueError as error:
            raise Refusal(415, str(error)) from None

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8, as ``load_image`` gives it. The key becomes the content's."""
        self.refresh()
        data = self.read()
        found = decode(data, self.value_range)
        height, width = found.shape[:2]
        if (height, width) != self.size:
            raise Refusal(
                415, f"{CHANGED} and has {width} x {height} pixels instead of {self.size[1]} x "
                f"{self.size[0]}: put the former file back, or remove the picture and add it again"
            )  # fmt: skip
        self.key = key_of(data, self.value_range)
        return found

    @property
    def state(self) -> str | None:
        """What of the file shows whether it has changed; None if it is gone."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return f"{found.st_mtime_ns}-{found.st_size}"

    @property
    def notice(self) -> str | None:
        """What a user should know of the file."""
        if self.upload is not None or (state := self.state) == self.first_state:
            return None
        return GONE if state is None else f"{CHANGED}; masks are of what it is now"

    def refresh(self) -> None:
        """Forget what is known of a file that has changed since."""
        if self.upload is None and (state := self.state) not in (None, self._seen):
            if self._seen is not None:
                self.key, self._thumbnail = f"{self.path} {state} {self.value_range}", None
            self._seen = state

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
        self.make_room: Callable[[], object] = lambda: None  # called when they are too many
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
            return self.of_source(path, self.check(file), self.value_range)

    def of_source(self, path: Path, size: tuple[int, int], value_range: Range | None) -> Content:
        """A picture of a known size that stays where it is, or was."""
        key = f"{os.path.abspath(path)} {value_range}"
        return self._known(key, lambda: Content(key, path, size, 0, value_range))

    def of_kept(
        self, path: Path, size: tuple[int, int], value_range: Range | None, upload: str
    ) -> Content:
        """An uploaded picture, which is kept with its session."""
        key = upload + (f" {value_range}" if value_range else "")
        return self._known(key, lambda: Content(key, path, size, 0, value_range, upload))

    def _known(self, key: str, make: Callable[[], Content]) -> Content:
        """The one content of this key."""
        with self._lock:
            if (known := self._contents.get(key)) is None:
                known = self._contents[key] = make()
            return known

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
        upload = hashlib.sha256(data).hexdigest()
        content = Content(key, path, self.check(data), len(data), value_range, upload)
        if not self._has_room(len(data)):
            self.make_room()
        with self._lock:
            if not self._has_room(len(data)):
                raise Refusal(413, "the server has no room for more pictures: remove some first")
            self._contents[key] = content
        weakref.finalize(content, _remove, path)
        return content

    def _has_room(self, count: int) -> bool:
        return sum(c.room for c in list(self._contents.values())) + count <= self.room

    def rescue(self, folder: Path) -> None:
        """Move pictures that are still in use out of a folder that will be removed."""
        with self._lock:
            inside = [c for c in self._contents.values() if c.path.parent == folder]
        for content in inside:
            with suppress(OSError):
                link_or_copy(content.path, str(path := self.new_file()))
                content.path = path
                weakref.finalize(content, _remove, path)

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


def link_or_copy(source: Path, name: str) -> None:
    try:
        os.link(source, name)
    except OSError:  # on another disk, or one without links
        shutil.copyfile(source, name)


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
