"""Find the files that hold a model's tensors, and open them without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import mlx.core as mx

from ...files import read_json, read_safetensors
from ...messages import naming, shown
from . import pytorch
from .pickles import leaves

Stored = mx.array | Callable[[], mx.array]  # a tensor, or the function that reads it


def value(tensor: Stored) -> mx.array:
    """The tensor itself, read from its file if it has not been yet."""
    return tensor if isinstance(tensor, mx.array) else tensor()


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Stored]]:
    """The tensors of a file, or of the model in a folder, by name.

    Those that ``torch.save`` wrote are read on demand (``value``), within the context. Raises
    FileNotFoundError, or ValueError with the file's name if it is damaged.
    """
    tensors: dict[str, Stored] = {}
    with ExitStack() as stack:
        for file in [path] if path.is_file() else weight_files(path):
            is_safe = file.suffix == ".safetensors"
            part = read_safetensors(file) if is_safe else open_pytorch(file, stack)
            if twice := sorted(tensors.keys() & part.keys()):
                raise ValueError(f"{file} holds {shown(twice[0])}, which another file holds too")
            tensors |= part
        yield tensors


def open_pytorch(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The tensors in a file written by ``torch.save``; ``stack`` closes it."""

    def read(tensor: pytorch.Tensor) -> mx.array:
        with naming(path):
            return file.read(tensor)

    with naming(path):
        file = pytorch.File(stack.enter_context(path.open("rb")))
        found = leaves(file.values, pytorch.Tensor)
    return {name: partial(read, tensor) for name, tensor in found.items()}


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's model.

    ``model.safetensors``, or the shards that its index names, or the only safetensors files; if
    there are none, the same for ``pytorch_model.bin``. Raises FileNotFoundError, or ValueError if
    the choice is ambiguous.
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        whole, index = (folder / f"{stem}{suffix}{end}" for end in ("", ".index.json"))
        own = f"{stem}*{suffix}" if suffix == ".bin" else f"*{suffix}"
        files = sorted(path for path in folder.glob(own) if path.is_file())
        if whole in files:
            return [whole]
        if index.is_file():
            return indexed(index, files)
        if (len(files) > 1 or (files and "-of-" in files[0].stem)) and not are_shards(files, stem):
            listed = ", ".join(shown(f.name) for f in files)
            raise ValueError(
                f"{folder} holds several models ({listed}), or a part of one; give one file's path"
            )
        if files:
            return files
    raise FileNotFoundError(f"{folder} holds no .safetensors file and no pytorch_model.bin")


def indexed(index: Path, there: list[Path]) -> list[Path]:
    """The shards that an index names. They must be exactly those in the folder."""
    values = read_json(index)
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
        raise ValueError(f"{index} does not name files in its own folder")
    if problem := sorted(names ^ {path.name for path in there}):
        where = "is missing" if problem[0] in names else "is in the folder, but not among them"
        raise ValueError(f"{index} names {len(names)} files; {shown(problem[0])} {where}")
    return sorted(index.parent / name for name in names)


def are_shards(files: list[Path], stem: str) -> bool:
    """True if the files are, by their names, all the shards of one model."""
    found = [re.fullmatch(rf"{stem}-(\d+)-of-(\d+)", path.stem) for path in files]
    return all(m and int(m[1]) == i and int(m[2]) == len(files) for i, m in enumerate(found, 1))
