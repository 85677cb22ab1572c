"""Safetensors files: read into memory of our own, and written with a note of what they hold.

Nothing is mapped: a process that touches a mapped file which another has cut short is killed. The
format: eight bytes of length, a header in JSON with every tensor's place, the tensors' bytes.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from safetensors import SafetensorError

from .files import MAX_TAGGED, check_file, parse_json, unfit, user_path, write_whole
from .messages import printable, short

Tensors = TypeVar("Tensors")

MAX_HEADER = 16 << 20  # bytes; ViT-H's takes 60 KB
MAX_SIDE = 1 << 31  # of a tensor: MLX's shapes are int32
MAX_NAME = 1000  # characters of a tensor's
LENGTH = struct.Struct("<Q")
# Types as numpy reads them, and MLX's type of the bits where numpy lacks it.
DTYPES: dict[str, tuple[str, mx.Dtype | None]] = {
    "F64": ("<f8", None), "F32": ("<f4", None), "F16": ("<f2", None), "BF16": ("<u2", mx.bfloat16),
    "I64": ("<i8", None), "I32": ("<i4", None), "I16": ("<i2", None), "I8": ("i1", None),
    "U64": ("<u8", None), "U32": ("<u4", None), "U16": ("<u2", None), "U8": ("u1", None),
    "BOOL": ("?", None), "C64": ("<c8", None),
}  # fmt: skip
LFS = b"version https://git-lfs"
PAGE = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a tensor lies, in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """An open safetensors file. Raises ValueError, without its name, if it is not a whole one."""

    def __init__(self, file: BufferedReader):
        self.file = file
        size = os.fstat(file.fileno()).st_size
        header, self.begin = read_header(file, size)
        self.metadata = checked_metadata(header.pop("__metadata__", None))
        self.places = {name: checked_place(name, values) for name, values in header.items()}
        check_tiling(self.places, size - self.begin)

    def array(self, name: str) -> np.ndarray:
        """A tensor as numpy's; bfloat16, which numpy lacks, as the bits of uint16."""
        place = self.places[name]
        dtype, _ = DTYPES[place.dtype]
        array = np.empty(place.shape, dtype)
        self.file.seek(self.begin + place.start)
        values = array.reshape(-1).view(np.uint8).data
        if array.size and self.file.readinto(values) != array.nbytes:
            raise ValueError("it was cut short while it was read")
        return array

    def tensor(self, name: str) -> mx.array:
        """A tensor as MLX's, bit for bit; float64 is rounded to float32."""
        return to_mlx(self.array(name), DTYPES[self.places[name].dtype][1])


def to_mlx(values: np.ndarray, bits_of: mx.Dtype | None = None) -> mx.array:
    """Values in a file as MLX's, row by row in memory. bits_of: the type whose bits they are."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(values.shape)
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):  # infinite values are told with their tensors' names
            values = values.astype(np.float32)
    array = mx.array(values)
    return array if bits_of is None else array.view(bits_of)


def read_header(file: BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """The header of a file of so many bytes, and where the tensors' bytes begin."""
    head = file.read(64)
    if problem := foreign(head):
        raise ValueError(problem)
    length = LENGTH.unpack(head[: LENGTH.size])[0] if len(head) >= LENGTH.size else 0
    if not 2 <= length <= min(MAX_HEADER, size - LENGTH.size):
        raise ValueError(
            f"its header would have {length:,} bytes; expected 2 to {MAX_HEADER:,}, within the file"
        )
    file.seek(LENGTH.size)
    header = parse_json(file.read(length).decode())
    if not isinstance(header, dict):
        raise ValueError(f"its header is {short(header)}; expected an object")
    return header, LENGTH.size + length


def foreign(head: bytes) -> str | None:
    """What a file is that begins like this, if it holds no tensors at all."""
    if not head:
        return "it is empty"
    if head.startswith(LFS):
        return "it is a Git LFS pointer; git lfs pull fetches the file itself"
    if head.startswith(b"PK\3\4"):
        return "it is a zip, as torch.save writes: let its name end in .pth"
    if PAGE.match(head):
        return "it is a web page; download the file that the page is about"
    return None


def checked_metadata(values: Any) -> dict[str, str]:
    values = {} if values is None else values
    if not isinstance(values, dict) or any(type(text) is not str for text in values.values()):
        raise ValueError(f"its __metadata__ is {short(values)}; expected texts by name")
    return values


def checked_place(name: str, values: Any) -> Place:
    """Where a tensor lies, from its entry in the header."""
    if len(name) > MAX_NAME:
        raise ValueError(f"{short(name)} has {len(name):,} characters; expected at most {MAX_NAME}")
    values = values if isinstance(values, dict) else {}
    dtype, shape, place = (values.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{short(name)} has dtype {short(dtype)}; expected one of {list(DTYPES)}")
    if not is_shape(shape) or not is_shape(place, 1 << 62) or len(place) != 2:
        raise ValueError(
            f"{short(name)} has shape {short(shape)} and data_offsets {short(place)}; expected "
            "lists of whole numbers"
        )
    size = math.prod(shape) * np.dtype(DTYPES[dtype][0]).itemsize
    if place[1] - place[0] != size:
        raise ValueError(f"{short(name)} takes {size:,} bytes, but lies at {short(place)}")
    return Place(dtype, tuple(shape), *place)


def is_shape(values: Any, limit: int = MAX_SIDE) -> bool:
    """True for a list of a few whole numbers below a limit."""
    is_short = isinstance(values, list) and len(values) <= 32
    return is_short and all(type(n) is int and 0 <= n < limit for n in values)


def check_tiling(places: Mapping[str, Place], size: int) -> None:
    """Raise ValueError unless the tensors fill the file, without gap or overlap."""
    at = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].start, item[1].end)):
        if place.start != at:
            raise ValueError(f"{short(name)} begins at byte {place.start:,}; expected {at:,}")
        at = place.end
    if at != size:
        raise ValueError(f"its tensors take {at:,} bytes, but {size:,} are there")


@contextmanager
def opened(path: Path, most: int = MAX_TAGGED) -> Iterator[BufferedReader]:
    """A file to read, of at most ``most`` bytes.

    Raises ValueError for what is not one, or was never wholly written; at the end, if the file was
    changed meanwhile.
    """
    check_file(path, most)
    if problem := unwritten(path):
        raise ValueError(f"{path}: {problem}")
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ValueError(f"{path} was changed while it was read; load it again")


def unwritten(path: Path) -> str | None:
    """The problem with a file of which most was never written, as disks that can tell know.

    Reading it would give zeros, as many as its size claims.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        holes = at = 0
        with suppress(OSError):  # past the last data, or the disk cannot tell
            for _ in range(1000):
                hole = os.lseek(descriptor, at, os.SEEK_HOLE)
                holes += size - hole
                at = os.lseek(descriptor, hole, os.SEEK_DATA)
                holes -= size - at
    finally:
        os.close(descriptor)
    if holes <= max(size // 2, 1 << 20):
        return None
    return f"{holes:,} of its {size:,} bytes were never written, as in a download that was cut off"


@contextmanager
def open_safetensors(path: Path, most: int = MAX_TAGGED) -> Iterator[TensorFile]:
    """A safetensors file to read. Raises ValueError, with its name, if it is not a whole one."""
    with opened(path, most) as file:
        try:
            tensors = TensorFile(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
        yield tensors


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise OSError if MLX or safetensors cannot write everything, for instance to a full disk."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(f"cannot write {printable(path)}: {error}") from error


def save_tagged(
    path: str | Path,
    kind: str,
    write: Callable[[str, dict[str, str]], object],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Have ``write`` (name, metadata) write a safetensors file that states its kind."""
    path = user_path(path)
    metadata = {"format": f"sam_mlx.{kind}", **(texts or {})}
    with writing(path):
        write_whole(path, lambda name: write(name, metadata))


def load_tagged(
    path: str | Path, kind: str, meaning: str, read: Callable[[TensorFile], Tensors]
) -> tuple[Tensors, dict[str, str]]:
    """Read a file that ``save_tagged`` wrote as ``kind``: what ``read`` returns, and its metadata.

    Raises FileNotFoundError, "no such ``meaning``", or ValueError that explains why it is not one.
    """
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such {meaning}: {printable(path)}")
    if why := unfit(path, MAX_TAGGED):
        raise ValueError(why)
    try:
        with open_safetensors(path) as file:
            if file.metadata.get("format") != f"sam_mlx.{kind}":
                raise ValueError(f"it was not written by {kind}.save")
            return read(file), file.metadata
    except OSError as error:
        raise ValueError(str(error)) from error
