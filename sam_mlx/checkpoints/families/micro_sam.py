"""micro-sam's checkpoints: the second decoder's names, and LoRA merged into the layers it wraps.

Decoder: a model's file may hold its tensors under ``decoder_state``, or a file beside the model's
holds them alone, ``vit_b_decoder.pt`` beside ``vit_b.pt`` (``micro_sam/util.py``).

LoRA: form and scale are those of ``micro_sam/models/peft_sam.py``. The queries, keys and values of
an attention, and the two layers of an MLP, may each have a product B A added to their weight. Its
factor is 1 in every version: ``alpha`` is always 1 or absent, and the rank plays no part.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import numpy as np

from ...modeling.instance_decoder import PART as INSTANCE_DECODER
from ...modeling.layers import as_float32
from ...registry import Weights
from ..low_rank import product

T = TypeVar("T")

DECODER_STATE = "decoder_state"
ENDING = "_decoder"  # of the name of a decoder's own file
UNETR = r"(?:.*\.)?deconv1\.block\.0\..*"  # a tensor of the decoder
LORA = r"\.(qkv_proj|mlp_layer)\."
PART = r"^(.*)\.w_a_linear_([qkv12])\.weight$"
# The layer in the wrapper that a part is added to, and which third of its rows.
LAYERS = {"q": ("", 0), "k": ("", 1), "v": ("", 2), "1": (".lin1", None), "2": (".lin2", None)}
OTHERS = {
    "FacT": r"\.FacT[uv]\.",
    "AdaptFormer": r"\.mlp\.mlp_proj\.",
    "SSF": r"\.qkv\.layer\.",
}


def decoder_beside(model: Path) -> Path | None:
    """The file beside a model's that would hold its second decoder, if it is there."""
    path = model.with_name(f"{model.stem}{ENDING}{model.suffix}")
    return path if model.is_file() and path.is_file() else None


def is_decoder(names: Iterable[str]) -> bool:
    return any(re.fullmatch(UNETR, name) for name in names)


def decoder_apart(tensors: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """The second decoder's tensors, by the names of ``Sam``'s modules, and the others."""
    decoder, others = dict[str, T](), dict[str, T]()
    if not is_decoder(tensors):
        return decoder, dict(tensors)
    for name, tensor in tensors.items():
        if found := re.match(rf"(?:.*\.)?{DECODER_STATE}\.(.*)", name):
            decoder[f"{INSTANCE_DECODER}.{found[1]}"] = tensor
        else:
            others[name] = tensor
    return decoder, others


def recognises(names: Iterable[str]) -> bool:
    wrapped = "|".join([LORA, *OTHERS.values()])
    return any(re.search(wrapped, name) for name in names)


def to_meta(weights: Weights) -> dict[str, mx.array]:
    """Plain layers under Meta's names. Raises ValueError for adapters that are not LoRA."""
    for kind, pattern in OTHERS.items():
        if any(re.search(pattern, name) for name in weights):
            raise ValueError(f"holds micro-sam's {kind}; of its adapters, only LoRA is supported")
    parts = {name: part for name in weights if (part := re.match(PART, name))}
    plain = {re.sub(LORA, ".", n): w for n, w in weights.items() if n not in parts}
    for a, part in parts.items():
        layer, third = LAYERS[part[2]]
        name, b = f"{part[1]}{layer}.weight", a.replace(".w_a_", ".w_b_")
        if b not in plain or name not in plain:
            raise ValueError(f"holds {a} without {b if name in plain else name}")
        change = product(as_float32(weights[a]), as_float32(plain.pop(b)), a)
        plain[name] = added(plain[name], change, third, a)
    return plain


def added(weight: mx.array, change: np.ndarray, third: int | None, part: str) -> mx.array:
    """Add ``change`` to a weight, or to a third of its rows, keeping its type."""
    total = as_float32(weight).copy()
    n = len(total) // 3
    rows = total if third is None else total[third * n : (third + 1) * n]  # a view
    if rows.shape != change.shape:
        raise ValueError(f"{part} gives a change {change.shape} to a weight {rows.shape}")
    rows += change
    return mx.array(total).astype(mx.array(weight).dtype)
