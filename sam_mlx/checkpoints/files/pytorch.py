"""Read PyTorch's files without PyTorch: a zip of one pickle and every storage's raw bytes.

The pickle is read as inert values (``pickles``), in which a ``Tensor`` only says where its values
lie. ``File.read`` then reads the wanted tensors, checking each against its storage before it
allocates anything. Format: ``torch.serialization``, since PyTorch 1.6.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from ...messages import short
from . import pickles
from .pickles import Inert

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
MAX_PICKLE = 64 << 20  # bytes; ViT-H's names and shapes take 100 KB
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
        numbers = (self.offset, *self.shape, *self.strides)
        fits = len(self.shape) == len(self.strides) and isinstance(self.storage, Storage)
        if not fits or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(
                f"a tensor has invalid shape {short(self.shape)} or strides {short(self.strides)}"
            )


def called(name: str, arguments: Any) -> Any:
    """The value that stands for a call in a pickle."""
    if name == "collections.OrderedDict":
        return pickles.pairs([value for pair in (arguments or ((),))[0] for value in pair])
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
    return Storage(str(name), STORAGES.get(kind.name.rpartition(".")[2], ""))


class File:
    """A file written by ``torch.save``: its values, and the tensors in it.

    Raises ValueError, without the file's name, if it is another file or damaged.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
            raise ValueError(other_format(file)) from error
        self.records = {record.filename: record for record in archive.infolist()}
        self.root = find_root(self.records)
        check_places(archive.infolist())
        self.order = ">" if self.optional("byteorder") == b"big" else "<"
        if self.records[f"{self.root}data.pkl"].file_size > MAX_PICKLE:
            raise ValueError(f"its pickle is larger than {MAX_PICKLE >> 20} MB")
        self.values = pickles.read(self.record("data.pkl"), called, storage_of)

    def optional(self, name: str) -> bytes:
        return self.record(name) if self.root + name in self.records else b""

    def record(self, name: str) -> bytes:
        """All bytes of a record, checked."""
        info = self.records[self.root + name]
        data = self._bytes(info, 0, info.file_size)
        # torch writes 0 with set_crc32_options(False).
        if info.CRC and zlib.crc32(data) != info.CRC:
            raise ValueError(f"its record {short(name)} is damaged (CRC-32)")
        return data

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

    def read(self, tensor: Tensor) -> mx.array:
        """A tensor's values, bit for bit; float64 is rounded to float32.

        Raises ValueError for other types, and for tensors that do not lie within their storage.
        """
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"a tensor has dtype {short(tensor.dtype)}; expected one of {list(DTYPES)}"
            )
        code, bits_of = DTYPES[tensor.dtype]
        dtype = np.dtype(self.order + code)
        info = self.records.get(f"{self.root}data/{tensor.storage.key}")
        size = math.prod(tensor.shape)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides))
        have = 0 if info is None else info.file_size // dtype.itemsize
        if info is None or size > have or (size and last >= have):
            raise ValueError(
                f"a tensor of shape {tensor.shape} reaches beyond its storage of {have} values"
            )
        flat = self._span(info, tensor, 0 if size == 0 else last + 1 - tensor.offset, dtype)
        strides = [s * dtype.itemsize for s in tensor.strides]
        values = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        values = values.astype(dtype.newbyteorder("="), copy=False)
        array = mx.array(values.astype(np.float32) if code == "f8" else values)
        return array if bits_of is None else array.view(bits_of)

    def _span(
        self, info: zipfile.ZipInfo, tensor: Tensor, count: int, dtype: np.dtype[Any]
    ) -> np.ndarray:
        """The values from a tensor's first to its last."""
        if count * dtype.itemsize == info.file_size:  # the usual case
            return np.frombuffer(self.record(info.filename.removeprefix(self.root)), dtype)
        start = tensor.offset * dtype.itemsize
        return np.frombuffer(self._bytes(info, start, count * dtype.itemsize), dtype)


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
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; git lfs pull fetches the file itself"
    if head[257:262] == b"ustar":
        return "it is a tar archive, as PyTorch wrote before 0.1.10"
    if head.startswith(b"PK"):
        return "it is cut short: the end of the zip is missing"
    if not head:
        return "it is empty"
    return "it was not written by torch.save"
