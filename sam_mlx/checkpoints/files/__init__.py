"""Find the files that hold a model's tensors, and open them without PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import mlx.core as mx

from ... import tensor_files
from ...files import check_file, read_json
from ...messages import naming, shown
from . import pytorch
from .pickles import leaves

MAX_FILE = 64 << 30  # bytes; ViT-H with the state of its training takes 8 GB
MAX_TENSORS = 16 << 30  # bytes of a model's tensors; ViT-H takes 5 GB in float64


@dataclass(frozen=True)
class Lazy:
    """A tensor in an open file: the bytes that it takes, and the function that reads it."""

    nbytes: int
    read: Callable[[], mx.array]


Stored = mx.array | Lazy


def check_size(tensors: Mapping[str, Stored]) -> None:
    """Raise ValueError for tensors that take more memory than those of any SAM."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > MAX_TENSORS:
        raise ValueError(
            f"its tensors take {total:,} bytes; expected at most {MAX_TENSORS:,}, three times "
            "those of the largest SAM"
        )


def values(tensors: Mapping[str, Stored]) -> dict[str, mx.array]:
    """The tensors themselves, read from their file if they have not been yet."""
    return {n: t if isinstance(t, mx.array) else t.read() for n, t in tensors.items()}


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Stored]]:
    """The tensors of a file, or of the model in a folder, by name.

    They are read on demand (``values``), within the context. Raises FileNotFoundError, or
    ValueError with the file's name if it is damaged, or changed before the context ends.
    """
    tensors: dict[str, Stored] = {}
    with ExitStack() as stack:
        for file in [path] if path.is_file() else weight_files(path):
            is_safe = file.suffix == ".safetensors"
            part = (open_safetensors if is_safe else open_pytorch)(file, stack)
            if twice := sorted(tensors.keys() & part.keys()):
                raise ValueError(f"{file} holds {shown(twice[0])}, which another file holds too")
            tensors |= part
        yield tensors


def open_safetensors(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The tensors in a safetensors file; ``stack`` closes it."""

    def read(name: str) -> mx.array:
        with naming(path):
            return file.tensor(name)

    file = stack.enter_context(tensor_files.open_safetensors(path, MAX_FILE))
    sizes = {name: place.end - place.start for name, place in file.places.items()}
    return {name: Lazy(size, partial(read, name)) for name, size in sizes.items()}


def open_pytorch(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The tensors in a file written by ``torch.save``; ``stack`` closes it."""

    def read(tensor: pytorch.Tensor) -> mx.array:
        with naming(path):
            return file.read(tensor)

    opened_file = stack.enter_context(tensor_files.opened(path, MAX_FILE))
    with naming(path):
        file = pytorch.File(opened_file)
        found = leaves(file.values, pytorch.Tensor)
    return {name: Lazy(file.nbytes(t), partial(read, t)) for name, t in found.items()}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's model.

    ``model.safetensors``, or the shards that its index names, or the only safetensors files; if
    there are none, the same for ``pytorch_model.bin``. Raises FileNotFoundError, or ValueError if
    the choice is ambiguous, or one of them is not a file.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        whole, index = (folder / f"{stem}{suffix}{end}" for end in ("", ".index.json"))
        own = f"{stem}*{suffix}" if suffix == ".bin" else f"*{suffix}"
        found = (folder / name for name in names if fnmatchcase(name, own))
        files = [path for path in found if is_there(path)]
        if whole in files:
            return [whole]
        if os.path.lexists(index):
            return indexed(index, files)
        if (len(files) > 1 or (files and "-of-" in files[0].stem)) and not are_shards(files, stem):
            listed = ", ".join(shown(f.name) for f in files)
            raise ValueError(
                f"{folder} holds several models ({listed}), or a part of one; give one file's path"
            )
        if files:
            return files
    raise FileNotFoundError(f"{folder} holds no .safetensors file and no pytorch_model.bin")


def is_there(path: Path) -> bool:
    """Whether an entry of a folder is a file; folders are passed over.

    Raises ValueError for pipes, devices, and links that lead nowhere.
    """
    if path.is_dir():
        return False
    if not path.exists():
        raise ValueError(f"{path} is a link to a file that is missing; download or save it again")
    check_file(path, MAX_FILE)
    return True


def indexed(index: Path, there: list[Path]) -> list[Path]:
    """The shards that an index names. They must be exactly those in the folder."""
    names = shards(index)
    if problem := sorted(names ^ {path.name for path in there}):
        where = "is missing" if problem[0] in names else "is in the folder, but not among them"
        raise ValueError(f"{index} names {len(names)} files; {shown(problem[0])} {where}")
    return sorted(index.parent / name for name in names)


def shards(index: Path) -> set[str]:
    """The files that an index names."""
    values = read_json(index)
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    listed = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not listed or any(not isinstance(n, str) or Path(n).name != n for n in listed):
        raise ValueError(f"{index} does not name files in its own folder")
    return set(listed)


def are_shards(files: list[Path], stem: str) -> bool:
    """True if the files are, by their names, all the shards of one model."""
    found = [re.fullmatch(rf"{stem}-(\d+)-of-(\d+)", path.stem) for path in files]
    return all(m and int(m[1]) == i and int(m[2]) == len(files) for i, m in enumerate(found, 1))
