"""LoRA adapters in peft's form, merged into the weights of a base model.

A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, made for Meta's ``Sam`` or
transformers' ``SamModel``. W + s B A replaces W, with s = alpha / r, or alpha / sqrt(r) for
rank-stabilised LoRA, as in peft's ``tuners/lora``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..config import SamConfig
from ..files import read_json
from ..messages import naming, short, shown
from ..modeling.layers import as_float32
from ..registry import Weights
from ..tensor_files import open_safetensors
from . import families, layouts
from .files import MAX_TENSORS
from .low_rank import product
from .patterns import Patterns
from .unwrap import roots

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # that peft gives every name
MAX_ALPHA = 1_000_000
# Fields that are honoured, and those that do not change what the tensors mean. peft ignores
# fan_in_fan_out for linear layers, which SAM's are. Any other field that is set is refused.
HONOURED = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"}
HONOURED |= {"bias", "modules_to_save", "fan_in_fan_out", "init_lora_weights"}
INERT = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
INERT |= {"lora_dropout", "task_type", "auto_mapping", "peft_version", "inference_mode"}
INERT |= {"base_model_name_or_path", "revision", "megatron_core", "qalora_group_size"}
INERT |= {"loftq_config", "eva_config", "runtime_config"}
# These leave the base unchanged; pissa, olora, corda and others modify its weights.
INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
INSTEAD = "merge it with peft's merge_and_unload(), and convert the merged model"
# Copies of modules_to_save, whose tensors are also stored under their plain names.
SECOND = r"\.(original_module|modules_to_save)\."


@dataclass(frozen=True)
class Adapter:
    """Changes to a model's tensors, under its modules' names and in PyTorch's layout."""

    source: str  # for messages
    changes: dict[str, mx.array]  # added to the tensors
    replacements: dict[str, mx.array]  # of whole tensors


def refuse(path: Path) -> None:
    """Raise ValueError if a path holds an adapter, not a model."""
    folder = path.parent if path.name == TENSORS else path
    if not (folder / CONFIG).is_file() or (path == folder and (path / "config.json").exists()):
        return
    base = read_config(folder).get("base_model_name_or_path")
    raise ValueError(
        f"{folder} is an adapter, not a whole model: use from_pretrained(base, adapter=folder), or "
        "--model with --adapter in the shell" + (f"; its base is {short(base)}" if base else "")
    )


def merge(weights: Weights, adapter: Path, model: nn.Module, config: SamConfig) -> Weights:
    """Weights with an adapter merged into them. The tensors it changes become float32.

    weights: all of ``model``'s. Raises FileNotFoundError if there is no adapter, ValueError if it
    is of another kind or for another base.
    """
    loaded = read_adapter(adapter, config)
    changes = layouts.to_mlx(loaded.changes, model)
    replacements = layouts.to_mlx(loaded.replacements, model)
    check_base(weights, [*changes.items(), *replacements.items()], loaded.source, config)
    sums = {n: mx.array(as_float32(weights[n]) + np.array(w)) for n, w in changes.items()}
    return {**weights, **replacements, **sums}


def check_base(
    weights: Weights, tensors: list[tuple[str, mx.array]], source: str, config: SamConfig
) -> None:
    """Raise ValueError, in one line, if an adapter's tensors do not fit the base."""
    if any(f"{name.removesuffix('.weight')}.scales" in weights for name, _ in tensors):
        raise ValueError(
            f"{source} cannot be merged into 8-bit weights; give the base that they were made "
            "from, with quantize=8"
        )
    if folded := [name for name, _ in tensors if name.endswith((".c.weight", ".bn.weight"))]:
        raise ValueError(f"{source} adapts {folded[0]}, a layer that is folded with its batch norm")
    shapes = {name: weights[name].shape for name, _ in tensors if name in weights}
    misfits = [(name, w.shape) for name, w in tensors if shapes.get(name) != w.shape]
    if misfits:
        name, shape = misfits[0]
        there = f"has {shapes[name]}" if name in shapes else "has no such tensor"
        raise ValueError(
            f"{source} is for another base: it changes {name} of shape {shape}, but this SAM "
            f"{config.variant} {there} ({len(misfits)} of {len(tensors)} tensors do not fit)"
        )


def read_adapter(folder: Path, config: SamConfig) -> Adapter:
    """Read an adapter for a model of these sizes, which numbers in some names depend on."""
    values = read_config(folder)
    check_config(values, str(folder))
    scaling = Scaling(values, str(folder / CONFIG))
    path = folder / TENSORS
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{folder} holds no {TENSORS}, which peft's save_pretrained writes")
    tensors = read(path)
    rename = renaming(tensors, values, config)
    changes: dict[str, mx.array] = {}
    replacements: dict[str, mx.array] = {}
    room = MAX_TENSORS
    for name, tensor in tensors.items():
        module, lora, kind = name.partition(".lora_")
        if lora and kind not in ("A.weight", "B.weight"):
            raise ValueError(f"{folder} holds {shown(name)}, which is not merged here; {INSTEAD}")
        if kind == "B.weight":
            continue
        target = rename(f"{module}.weight" if lora else name)
        if target in changes or target in replacements:
            raise ValueError(f"{path} changes {shown(target)} twice, the second time by {name}")
        if lora:
            change = scaling.of(module, len(tensor)) * pair(tensors, name, path)
            changes[target] = mx.array(check_finite(change, name, path))
            room -= change.nbytes
            if room < 0:
                raise ValueError(f"{path} changes weights of more than {MAX_TENSORS:,} bytes")
        else:
            replacements[target] = mx.array(tensor)
    return Adapter(str(folder), changes, replacements)


def read(path: Path) -> dict[str, np.ndarray]:
    """An adapter's tensors, whole pairs of them, under names without peft's prefix."""
    tensors: dict[str, np.ndarray] = {}
    with open_safetensors(path) as file:
        for name in file.places:
            tensor = file.tensor(name)
            if not mx.issubdtype(tensor.dtype, mx.floating):
                raise ValueError(f"{path}: {name} has type {tensor.dtype}; expected floats")
            if not re.search(SECOND, name):
                own = name.removeprefix(PREFIX)
                if own in tensors:
                    raise ValueError(f"{path} holds {own} with and without {PREFIX}")
                tensors[own] = check_finite(as_float32(tensor), name, path)
    if not tensors:
        raise ValueError(f"{path} holds no tensors; save the adapter again")
    for name in tensors:
        for one, other in (("A", "B"), ("B", "A")):
            half = f".lora_{one}.weight"
            if name.endswith(half) and name.replace(half, f".lora_{other}.weight") not in tensors:
                raise ValueError(
                    f"{path} holds {name} without {name.replace(half, f'.lora_{other}.weight')}"
                )
    return tensors


def pair(tensors: Mapping[str, np.ndarray], a: str, path: Path) -> np.ndarray:
    """B A."""
    b = a.replace(".lora_A.", ".lora_B.")
    return product(tensors[a], tensors[b], f"{path}: {a}")


def check_finite(values: np.ndarray, name: str, path: Path) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: {name} holds or gives values that are NaN or infinite")
    return values


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{folder} is not an adapter: it holds no {CONFIG}")
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {short(values)}; expected an object")
    return values


def check_config(values: Mapping[str, Any], source: str) -> None:
    """Raise ValueError, naming the kind, for adapters that are not plain LoRA."""
    kind = values.get("peft_type")
    if kind != "LORA":
        raise ValueError(
            f"{source} is an adapter of type {short(kind)}; only LORA is merged here: {INSTEAD}"
        )
    unknown = {n: v for n, v in values.items() if v and n not in HONOURED | INERT}
    init = values.get("init_lora_weights", True)
    if init not in INITS:
        unknown["init_lora_weights"] = init
    for name, value in unknown.items():
        called = "DoRA" if name == "use_dora" else "a variant of LoRA"
        given = f"{name}={short(value)}"
        raise ValueError(f"{source} is {called}, {given}, which is not merged here: {INSTEAD}")


def renaming(
    names: Iterable[str], values: Mapping[str, Any], config: SamConfig
) -> Callable[[str], str]:
    """A function that turns the names in an adapter into Meta's, without wrappers."""
    mapping = values.get("auto_mapping")
    base = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    to_meta = families.renamer(names, base, config)
    wrappers = re.compile(rf"^.*?\b(?=({'|'.join(roots())})\.)")

    def rename(name: str) -> str:
        return to_meta(wrappers.sub("", name.replace(".base_layer.", ".")))

    return rename


class Scaling:
    """The factors of modules' B A. Raises ValueError if the settings in ``source`` do not fit."""

    def __init__(self, values: Mapping[str, Any], source: str):
        self.values, self.source = values, source
        self.ranks, self.alphas = (self._patterns(f"{name}_pattern") for name in ("rank", "alpha"))
        self.stabilised = values.get("use_rslora") or False
        if type(self.stabilised) is not bool:
            raise ValueError(f"{source}: use_rslora is {short(self.stabilised)}; expected a bool")

    def _patterns(self, field: str) -> Patterns:
        given = self.values.get(field)
        if given is not None and not isinstance(given, dict):
            raise ValueError(f"{self.source}: {field} is {short(given)}; expected an object")
        return Patterns(given or {}, f"{self.source}: {field}")

    def of(self, module: str, rank: int) -> float:
        """The factor of a module, whose tensors have that rank."""
        with naming(self.source):
            declared = self.ranks.get(module, self.values.get("r"))
            alpha = self.alphas.get(module, self.values.get("lora_alpha"))
        is_alpha = type(alpha) in (int, float) and -MAX_ALPHA <= alpha <= MAX_ALPHA
        if type(declared) is not int or declared != rank or not is_alpha:
            raise ValueError(
                f"{self.source} gives {shown(module)} rank {short(declared)} and alpha "
                f"{short(alpha)}; its tensors have rank {rank}, and alpha is a number up to "
                f"{MAX_ALPHA:,}"
            )
        return float(alpha / (math.sqrt(rank) if self.stabilised else rank))
