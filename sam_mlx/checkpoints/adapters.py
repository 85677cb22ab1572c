"""LoRA adapters in peft's form, merged into the weights of a base model.

A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, made for Meta's ``Sam`` or
transformers' ``SamModel``. W + s B A replaces W, with s = alpha / r, or alpha / sqrt(r) for
rank-stabilised LoRA, as in peft's ``tuners/lora``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..config import SamConfig
from ..files import read_json, read_safetensors
from ..messages import short
from ..modeling.layers import as_float32
from ..registry import Weights
from . import families, layouts
from .low_rank import product
from .unwrap import roots

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
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
    if not (folder / TENSORS).is_file():
        raise FileNotFoundError(f"{folder} holds no {TENSORS}, which peft's save_pretrained writes")
    tensors = {
        name.removeprefix("base_model.model."): tensor
        for name, tensor in read(folder / TENSORS).items()
        if not re.search(SECOND, name)
    }
    rename = renaming(tensors, values, config)
    changes, replacements = {}, {}
    for name, tensor in tensors.items():
        module, lora, kind = name.partition(".lora_")
        if not lora:
            replacements[rename(name)] = mx.array(tensor)
        elif kind == "A.weight":
            other = f"{module}.lora_B.weight"
            if other not in tensors:
                raise ValueError(f"{folder / TENSORS} holds {name} without {other}")
            change = product(tensor, tensors[other], f"{folder / TENSORS}: {name}")
            scale = scaling(values, module, len(tensor), str(folder))
            changes[rename(f"{module}.weight")] = mx.array(scale * change)
        elif kind != "B.weight":
            raise ValueError(f"{folder} holds {name}, which is not merged here; {INSTEAD}")
    return Adapter(str(folder), changes, replacements)


def read(path: Path) -> dict[str, np.ndarray]:
    return {name: as_float32(tensor) for name, tensor in read_safetensors(path).items()}


def read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
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


def scaling(values: Mapping[str, Any], module: str, rank: int, source: str) -> float:
    """The factor of a module's B A. Raises ValueError if ``adapter_config.json`` does not fit."""
    try:
        declared = pattern_value(values, "rank_pattern", module, values.get("r"))
        alpha = pattern_value(values, "alpha_pattern", module, values.get("lora_alpha"))
    except ValueError as error:
        raise ValueError(f"{source}/{CONFIG}: {error}") from error
    if declared != rank or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise ValueError(
            f"{source}/{CONFIG} gives {module} rank {short(declared)} and alpha {short(alpha)}; "
            f"its tensors have rank {rank}"
        )
    return alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)


def pattern_value(values: Mapping[str, Any], field: str, module: str, default: Any) -> Any:
    """The value of the first pattern that matches the module's name or its end, or the default."""
    patterns = values.get(field) or {}
    if not isinstance(patterns, dict):
        raise ValueError(f"{field} is {short(patterns)}; expected an object")
    try:
        fitting = (v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", module))
        return next(fitting, default)
    except re.error as error:
        found = short(error.pattern)
        raise ValueError(f"{field} has {found}, which is not a regular expression") from error
