"""What a folder or file holds: sizes and tensors, all read without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..config import MODEL_TYPE, SamConfig, check
from ..files import read_json, read_safetensors
from ..messages import short, shown
from ..registry import Weights, config_of
from . import hugging_face, names, pytorch
from .lora import refuse_adapter
from .wrapping import flatten, unwrap


@dataclass(frozen=True)
class Checkpoint:
    """Sizes of a model, and its tensors under its modules' names."""

    config: SamConfig
    weights: Weights
    channels_first: bool  # kernels in PyTorch's layout, tables of any length
    source: str  # for messages


def read_checkpoint(path: Path) -> Checkpoint:
    """A folder, a .safetensors file, or one of ``torch.save``.

    Raises FileNotFoundError, or ValueError with the file's name when it is not a SAM model.
    """
    refuse_adapter(path)
    if path.is_file():
        return from_foreign(read_file(path), None, str(path))
    config, native = read_configs(path)
    weights = read_folder(path)
    if config is not None and native:
        return Checkpoint(config, weights, channels_first=False, source=str(path))
    return from_foreign(weights, config, str(path))


def read_configs(folder: Path) -> tuple[SamConfig | None, bool]:
    """What a folder's ``config.json`` and ``preprocessor_config.json`` say, and whether the first
    is this package's.
    """
    path, processor = folder / "config.json", folder / "preprocessor_config.json"
    if not path.exists():
        return None, False
    values = read_json(path)
    config = parse_config(values, str(path))
    if values["model_type"] == MODEL_TYPE or not processor.exists():
        return config, values["model_type"] == MODEL_TYPE
    try:
        return hugging_face.preprocessing(read_json(processor), config), False
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{processor}: {error}") from error


def from_foreign(
    weights: Weights, config: SamConfig | None = None, source: str = "the checkpoint"
) -> Checkpoint:
    """Tensors of another package's; the sizes are read off them where ``config`` is None."""
    try:
        weights = names.to_meta(weights, source)
        config = config or check(names.infer_config(weights))
    except (ValueError, ArithmeticError, IndexError) as error:
        raise ValueError(f"{source}: {error}") from error
    return Checkpoint(config, weights, channels_first=True, source=source)


def read_file(path: Path) -> dict[str, mx.array]:
    """The tensors of a file, of one of ``torch.save`` SAM's alone.

    Raises ValueError, with the file's name, when it is not whole.
    """
    return read_safetensors(path) if path.suffix == ".safetensors" else read_pytorch([path])


def read_pytorch(paths: list[Path]) -> dict[str, mx.array]:
    """SAM's tensors of files of ``torch.save`` that hold one model."""
    found: dict[str, tuple[pytorch.File, pytorch.Tensor]] = {}
    path = paths[0]
    try:
        with ExitStack() as stack:
            for path in paths:
                file = pytorch.File(stack.enter_context(path.open("rb")))
                tensors = flatten(file.values, pytorch.Tensor)
                found |= {name: (file, tensor) for name, tensor in tensors.items()}
            wanted = unwrap(found, str(path))
            return {name: file.read(tensor) for name, (file, tensor) in wanted.items()}
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_folder(folder: Path) -> dict[str, mx.array]:
    """The tensors of a model in safetensors, or else of a pytorch_model.bin."""
    files = weight_files(folder)
    if files[0].suffix != ".safetensors":
        return read_pytorch(files)
    weights: dict[str, mx.array] = {}
    for file in files:
        part = read_safetensors(file)
        if twice := sorted(weights.keys() & part.keys()):
            raise ValueError(f"{file} holds {shown(twice[0])}, which another file holds too")
        weights |= part
    return weights


def weight_files(folder: Path) -> list[Path]:
    """The files that a folder's model is in: ``model.safetensors``, the shards that its index
    names, or the only ones of their kind; of ``torch.save`` where none is of safetensors.

    Raises FileNotFoundError, or ValueError where it is not clear which they are.
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
                f"{folder} holds several models ({listed}), or not all of one; give the path of one"
            )
        if files:
            return files
    raise FileNotFoundError(f"{folder} holds no .safetensors file and no pytorch_model.bin")


def indexed(index: Path, there: list[Path]) -> list[Path]:
    """The shards that an index names, which are all that there are."""
    values = read_json(index)
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
        raise ValueError(f"{index} names no files of its own folder")
    if problem := sorted(names ^ {path.name for path in there}):
        where = "is not there" if problem[0] in names else "is there beside them"
        raise ValueError(f"{index} names {len(names)} files, and {shown(problem[0])} {where}")
    return sorted(index.parent / name for name in names)


def are_shards(files: list[Path], stem: str) -> bool:
    """Whether they are all the parts of one model, by their names."""
    found = [re.fullmatch(rf"{stem}-(\d+)-of-(\d+)", path.stem) for path in files]
    return all(m and int(m[1]) == i and int(m[2]) == len(files) for i, m in enumerate(found, 1))


def parse_config(values: Any, source: str = "config") -> SamConfig:
    """Accepts this package's ``config.json`` and Hugging Face's (``model_type: sam``).

    Raises ValueError, naming the field, when the values do not describe a SAM model.
    """
    try:
        return check(_layout(values)(values))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{source}: {error}") from error


def _layout(values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"config is {short(values)}; expected an object")
    model_type = values.get("model_type")
    if model_type == "sam":
        return hugging_face.config_of
    if model_type == MODEL_TYPE:
        return config_of
    raise ValueError(
        f"config has model_type {short(model_type)}; expected {MODEL_TYPE!r} (this package) "
        "or 'sam' (Hugging Face). SAM 2, SAM 3 and SAM-HQ are other models"
    )
