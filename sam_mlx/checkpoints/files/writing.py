"""``torch.save`` without PyTorch: a zip with a pickle of names and places, and the tensors' bytes.

The other way is ``pytorch.read``.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np

from ...files import write_whole

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
FOLDER = "archive"  # of all records, as PyTorch names it


Tensors = Mapping[str, "np.ndarray | Mapping[str, np.ndarray]"]


def write_pth(path: str | Path, tensors: Tensors) -> None:
    """Write tensors by name as a state dict that ``torch.load(path, weights_only=True)`` reads.

    tensors: float32, float16 or int64, or dictionaries of such. The file appears whole or not at
    all.
    """

    def write(name: str) -> None:
        with zipfile.ZipFile(name, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(f"{FOLDER}/data.pkl", pickle_of(tensors))
            archive.writestr(f"{FOLDER}/byteorder", "little")
            for i, tensor in enumerate(flat(tensors)):
                values = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
                archive.writestr(f"{FOLDER}/data/{i}", values.tobytes())
            archive.writestr(f"{FOLDER}/version", "3\n")

    write_whole(path, write)


def flat(tensors: Tensors) -> list[np.ndarray]:
    """All tensors, in the order in which their storages are numbered."""
    return [
        each
        for value in tensors.values()
        for each in ([value] if isinstance(value, np.ndarray) else value.values())
    ]


def pickle_of(tensors: Tensors) -> bytes:
    """An OrderedDict of tensors, each rebuilt of a storage that the archive holds."""
    return b"\x80\x02" + dictionary(tensors, count()) + b"."


def dictionary(tensors: Tensors, numbers: Iterator[int]) -> bytes:
    items = b"".join(
        text(name)
        + (
            rebuilt(next(numbers), value)
            if isinstance(value, np.ndarray)
            else dictionary(value, numbers)
        )
        for name, value in tensors.items()
    )
    return ordered_dict() + b"(" + items + b"u"


def rebuilt(number: int, tensor: np.ndarray) -> bytes:
    """``_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)``, of PyTorch."""
    strides = [int(np.prod(tensor.shape[i + 1 :])) for i in range(tensor.ndim)]
    kind = STORAGES[tensor.dtype.name]
    storage = text("storage") + global_name("torch", kind) + text(str(number)) + text("cpu")
    place = b"(" + storage + whole(tensor.size) + b"tQ"  # a persistent id: the archive's record
    shape, steps = (b"(" + b"".join(map(whole, n)) + b"t" for n in (tensor.shape, strides))
    arguments = b"(" + place + whole(0) + shape + steps + b"\x89" + ordered_dict() + b"t"
    return global_name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def ordered_dict() -> bytes:
    return global_name("collections", "OrderedDict") + b")R"


def global_name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
