"""Read PyTorch's files without PyTorch: a zip of one pickle and every storage's raw bytes.

The pickle is read as inert values (``pickles``), in which a ``Tensor`` only says where its values
lie. ``File.read`` then reads the wanted tensors, checking each against its storage before it
allocates anything. Format: ``torch.serialization``, since PyTorch 1.6.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from ...messages import short
from ...tensor_files import foreign, to_mlx
from . import pickles
from .pickles import Inert

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
MAX_PICKLE = 16 << 20  # bytes; ViT-H's names and shapes take 100 KB
MAX_DIRECTORY = 8 << 20  # bytes of the zip's; ViT-H's takes 50 KB
MAX_EXPANDED = 1 << 26  # values of a tensor that repeats those in its storage
END, END_64 = b"PK\5\6", b"PK\6\6"  # of the directory: with its size, in 4 bytes and in 8
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a record: signature, lengths of name and extra field

# PyTorch's dtypes: as numpy reads them, and MLX's dtype of the bits where numpy lacks the type.
DTYPES: dict[str, tuple[str, mx.Dtype | None]] = {
    "float64": ("f8", None), "float32": ("f4", None), "float16": ("f2", None),
    "bfloat16": ("u2", mx.bfloat16), "complex64": ("c8", None),
    "int64": ("i8", None), "int32": ("i4", None), "int16": ("i2", None), "int8": ("i1", None),
    "uint64": ("u8", None), "uint32": ("u4", None), "uint16": ("u2", None), "uint8": ("u1", None),
    "bool": ("?", None),
}  # fmt: skip
STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "ComplexFloatStorage": "complex64", "LongStorage": "int64",
    "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip
REBUILD = "torch._utils._rebuild_"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled magic number


@dataclass(eq=False)
class Storage:
    key: str
    dtype: str  # PyTorch's name; "" for bytes, whose tensors give it


@dataclass(eq=False)
class Tensor:
    """The place of a tensor's values, according to the pickle. All numbers count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        fits = type(self.shape) is tuple and type(self.strides) is tuple
        fits = fits and len(self.shape) == len(self.strides) <= 32
        numbers = (self.offset, *self.shape, *self.strides) if fits else (-1,)
        fits = isinstance(self.storage, Storage) and isinstance(self.dtype, str)
        if not fits or any(type(n) is not int or not 0 <= n < 1 << 63 for n in numbers):
            raise ValueError(
                f"a tensor has invalid shape {short(self.shape)} or strides {short(self.strides)}"
            )

    @property
    def span(self) -> int:
        """Values of the storage from the tensor's first to its last; 0 if it has none."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))


def called(name: str, arguments: Any) -> Any:
    """The value that stands for a call in a pickle."""
    if name == "collections.OrderedDict":
        return pickles.pairs([x for key, value in (arguments or ((),))[0] for x in (key, value)])
    if name == f"{REBUILD}tensor_v2":
        storage, offset, shape, strides, *_ = check_plain(arguments, 6)
        return Tensor(storage, storage.dtype, offset, shape, strides)
    if name == f"{REBUILD}tensor_v3":
        storage, offset, shape, strides, _, _, dtype, *_ = check_plain(arguments, 7)
        return Tensor(storage, dtype.name.removeprefix("torch."), offset, shape, strides)
    if name in (f"{REBUILD}parameter", f"{REBUILD}parameter_with_state"):
        return arguments[0]
    return Inert(name, arguments)


def check_plain(arguments: tuple[Any, ...], metadata: int) -> tuple[Any, ...]:
    """Raise ValueError for tensors whose values differ from the stored ones (lazy conjugates)."""
    if len(arguments) > metadata and arguments[metadata]:
        raise ValueError(f"a tensor is {short(arguments[metadata])}; save it after resolve_conj()")
    return arguments


def storage_of(key: Any) -> Storage:
    """The storage that a persistent id names: ("storage", type, key, device, elements)."""
    _, kind, name, *_ = key
    if not isinstance(name, (str, int)):
        raise ValueError(f"a storage is called {short(name)}; expected a text")
    return Storage(str(name), STORAGES.get(kind.name.rpartition(".")[2], ""))


class File:
    """A file written by ``torch.save``: its values, and the tensors in it.

    Raises ValueError, without the file's name, if it is another file or damaged.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        self.undamaged: set[str] = set()  # records whose checksum was found right
        try:
            check_directory(file)
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, struct.error, EOFError) as error:
            raise ValueError(other_format(file)) from error
        self.records = {record.filename: record for record in archive.infolist()}
        self.root = find_root(self.records)
        check_places(archive.infolist())
        has_order = f"{self.root}byteorder" in self.records
        self.order = ">" if has_order and self.record("byteorder", 16) == b"big" else "<"
        self.values = pickles.read(self.record("data.pkl", MAX_PICKLE), called, storage_of)

    def record(self, name: str, most: int) -> bytes:
        """All bytes of a record, checked."""
        info = self.records[self.root + name]
        if info.file_size > most:
            raise ValueError(f"its {name} has {info.file_size:,} bytes; expected at most {most:,}")
        return self._part(info, 0, info.file_size)

    def _part(self, info: zipfile.ZipInfo, start: int, count: int) -> bytes:
        """Bytes of a record. Raises ValueError if any of the record's are damaged."""
        data = self._bytes(info, start, count)
        if info.filename not in self.undamaged:
            crc = zlib.crc32(data) if count == info.file_size else self._checksum(info)
            # torch writes 0 with set_crc32_options(False).
            if info.CRC and crc != info.CRC:
                name = info.filename.removeprefix(self.root)
                raise ValueError(f"its record {short(name)} is damaged (CRC-32)")
            self.undamaged.add(info.filename)
        return data

    def _checksum(self, info: zipfile.ZipInfo) -> int:
        crc, step = 0, 1 << 24
        for start in range(0, info.file_size, step):
            crc = zlib.crc32(self._bytes(info, start, min(step, info.file_size - start)), crc)
        return crc

    def _bytes(self, info: zipfile.ZipInfo, start: int, count: int) -> bytes:
        self.file.seek(info.header_offset)
        header = self.file.read(LOCAL_HEADER.size).ljust(LOCAL_HEADER.size)
        signature, name, extra = LOCAL_HEADER.unpack(header)
        if signature != b"PK\3\4":
            raise ValueError(f"its record {short(info.filename)} has no header")
        self.file.seek(info.header_offset + LOCAL_HEADER.size + name + extra + start)
        data = self.file.read(count)
        if len(data) != count:
            raise ValueError(f"its record {short(info.filename)} is cut short")
        return data

    def nbytes(self, tensor: Tensor) -> int:
        """Bytes to read for a tensor, or to hold it; the larger."""
        code, _ = DTYPES.get(tensor.dtype, ("u1", None))
        return max(tensor.span, math.prod(tensor.shape)) * np.dtype(code).itemsize

    def read(self, tensor: Tensor) -> mx.array:
        """A tensor's values, bit for bit, row by row in memory; float64 is rounded to float32.

        Raises ValueError for other types, and for tensors that do not lie within their storage.
        """
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"a tensor has dtype {short(tensor.dtype)}; expected one of {list(DTYPES)}"
            )
        code, bits_of = DTYPES[tensor.dtype]
        dtype = np.dtype(self.order + code)
        if not tensor.span:
            return to_mlx(np.empty(tensor.shape, dtype), bits_of)
        info = self.records.get(f"{self.root}data/{tensor.storage.key}")
        have = 0 if info is None else info.file_size // dtype.itemsize
        size, end = math.prod(tensor.shape), tensor.offset + tensor.span
        if info is None or end > have or size > max(have, MAX_EXPANDED):
            raise ValueError(
                f"a tensor of shape {short(tensor.shape)} reaches beyond its storage of {have} "
                "values"
            )
        start = tensor.offset * dtype.itemsize
        flat = np.frombuffer(self._part(info, start, tensor.span * dtype.itemsize), dtype)
        strides = [s * dtype.itemsize * (n > 1) for n, s in zip(tensor.shape, tensor.strides)]
        values = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        return to_mlx(values, bits_of)


def check_directory(file: BinaryIO) -> None:
    """Raise ValueError for a zip whose directory, which ``zipfile`` reads whole, is too large."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    for mark, place, form in ((END, 12, "<I"), (END_64, 40, "<Q")):
        found = tail.rfind(mark)
        if 0 <= found <= len(tail) - place - 8:
            (claimed,) = struct.unpack_from(form, tail, found + place)
            if claimed > MAX_DIRECTORY and (mark == END_64 or claimed < 0xFFFFFFFF):
                raise ValueError(
                    f"its directory has {claimed:,} bytes; expected at most {MAX_DIRECTORY:,}"
                )


def find_root(names: Collection[str]) -> str:
    """The folder in the archive, with a slash, that holds the pickle."""
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl")]
    roots = [root for root in roots if root == "" or root.count("/") == 1]
    if any(f"{root}constants.pkl" in names for root in roots):
        raise ValueError("it is a TorchScript program; save the model's state_dict() instead")
    if len(roots) != 1:
        raise ValueError("it is a zip, but not one that torch.save writes")
    return roots[0]


def check_places(records: list[zipfile.ZipInfo]) -> None:
    """Raise ValueError for records that are compressed, overlap, or share a name."""
    end = 0
    for record in sorted(records, key=lambda record: record.header_offset):
        stored = record.compress_type == zipfile.ZIP_STORED
        if not stored or record.compress_size != record.file_size or record.flag_bits & 1:
            raise ValueError(
                f"its record {short(record.filename)} is compressed, which torch never does"
            )
        if record.header_offset < end:
            raise ValueError(f"its record {short(record.filename)} overlaps another")
        end = record.header_offset + LOCAL_HEADER.size + record.file_size
    if len({record.filename for record in records}) < len(records):
        raise ValueError("it has two records with the same name")


def other_format(file: BinaryIO) -> str:
    """Describe a file that is not a zip."""
    file.seek(0)
    head = file.read(512)
    if head.startswith(LEGACY):
        return (
            "its format predates PyTorch 1.6. Convert it with PyTorch, in a clone of "
            "sam_mlx: python -m convert FILE FOLDER"
        )
    if not head.startswith(b"PK") and (other := foreign(head)):
        return other
    if head[8:9] == b"{":
        return "it is a safetensors file: let its name end in .safetensors"
    if head[257:262] == b"ustar":
        return "it is a tar archive, as PyTorch wrote before 0.1.10"
    if head.startswith(b"PK"):
        return "it is cut short: the end of the zip is missing"
    return "it was not written by torch.save"
