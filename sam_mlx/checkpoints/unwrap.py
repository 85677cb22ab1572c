"""Find SAM's tensors among all that trainers store, by the names of its parts.

Wrappers (``{"model": {...}}``) and prefixes (``module.``) are treated alike: both are a path before
the name of a part.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, TypeVar

from ..messages import short, shown
from ..registry import DECODERS
from .families import micro_sam

T = TypeVar("T")

# The three parts, as Meta and as Hugging Face name them.
PARTS = {
    "image encoder": ("image_encoder", "vision_encoder"),
    "prompt encoder": ("prompt_encoder", "shared_image_embedding"),
    "mask decoder": ("mask_decoder",),
}
# Added by torch.compile, DataParallel, FSDP, and pickled modules; anywhere in a name.
NOISE = {
    "_orig_mod", "module", "_modules", "_parameters", "_buffers", "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
}  # fmt: skip
# Copies that trainers keep beside the model.
COPIES = {
    "ema", "averaged", "average", "avg", "teacher", "swa", "shadow", "polyak", "old", "previous",
    "prev", "initial", "init", "backup", "target", "reference", "frozen", "discriminator",
}  # fmt: skip
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # also in camel case
TRAINING = re.compile(
    r"optim|sched|lr_|scaler|amp|rng|callback|loop|exp_|moment|grad|(m|v|mu|nu)$|square_avg",
    re.IGNORECASE,
)
# In the names of models that peft has wrapped.
PEFT = re.compile(
    r"\.(\w*lora|hada|lokr|ia3|oft|boft|vera|loha|fourierft|hra|vblora|bone|miss|shira|c3a|poly|"
    r"ln_tuning|loreft|waveft|road)_|\.base_layer\."
)
# Constants that some versions of the original store; they are part of the configuration.
CONSTANTS = ("pixel_mean", "pixel_std")

# Other models: the names that only they have, and what differs from SAM.
OTHERS = {
    "RobustSAM": (
        r"mask_decoder\.(robust_|fourier_|degradation_)",
        "its decoder filters degraded features",
    ),
    "SAM 2": (
        r"(^|\.)(memory_attention|memory_encoder|sam_mask_decoder|image_encoder\.trunk)(\.|$)",
        "its encoder is Hiera, and a memory follows objects through videos",
    ),
    "EdgeSAM": (
        r"image_encoder\..*fuse_stage",
        "its encoder is RepViT, whose stages a pyramid joins",
    ),
    "RepViT-SAM": (
        r"image_encoder\..*(token_mixer|channel_mixer)",
        "its encoder is RepViT, of convolutions",
    ),
    "EfficientViT-SAM": (
        r"image_encoder\.backbone\.",
        "its encoder is EfficientViT, of linear attention",
    ),
    "EfficientSAM": (
        r"mask_decoder\.final_output_upscaling_layers",
        "its encoder has no windows and no relative positions, its pictures are stretched to a "
        "square, and its decoder's layers are in another order",
    ),
    "SAM-Med2D with adapters": (
        r"image_encoder\.blocks\.\d+\.Adapter\.",
        "each of its blocks has an adapter of convolutions, and its pictures have 256 pixels",
    ),
    "Medical SAM Adapter": (
        r"image_encoder\.blocks\.\d+\.(MLP|Space|Depth)_Adapter\.",
        "its blocks have adapters",
    ),
    "CellSAM": (r"(^|\.)cellfinder\.", "a detector of cells comes before it"),
    "Cellpose-SAM": (
        r"(^|\.)encoder\.patch_embed\.proj\.|^W2$",
        "it has SAM's encoder with cells of 8 pixels, and flows instead of prompts: use cellpose",
    ),
}


def other_model(names: Mapping[str, Any]) -> str | None:
    """The known model other than SAM that has tensors with these names, and what differs, or None:
    "EdgeSAM, not of SAM: its encoder ...".
    """
    for found, (pattern, differs) in OTHERS.items():
        if any(re.search(pattern, name) for name in names):
            return f"{found}, not of SAM: {differs}"
    return None


def unwrap(tensors: Mapping[str, T], source: str) -> dict[str, T]:
    """SAM's tensors under the names of its parts, without wrappers and prefixes.

    If a file holds several models, the first that is neither a copy (``ema``, ``teacher``) nor an
    optimiser's state is used, never parts of two. A warning says so, and another lists tensors that
    are not SAM's. Raises ValueError when a part is missing, or a tensor is there twice.
    """
    second, tensors = micro_sam.decoder_apart(tensors)
    known = roots()
    models, outside = models_in(tensors, known)
    if not any(is_whole(found) for found in models.values()):
        models = joined(models)
    whole = [p for p, found in models.items() if is_whole(found) and not adapted(found)]
    if not whole:
        given = {**tensors, **second}
        raise ValueError(why_adapted(given) if adapted(given) else why_none(given, models))
    chosen = min(whole, key=lambda prefix: rank(prefix, models[prefix]))
    others = [p for p in whole if p != chosen and not any(rank(p, models[p])[:2])]
    tell(chosen, others, outside, source)
    return models[chosen] | second


def models_in(
    tensors: Mapping[str, T], known: set[str]
) -> tuple[dict[str, dict[str, T]], list[str]]:
    """The tensors below each prefix, by their names there; and the names of those below none."""
    models: dict[str, dict[str, T]] = {}
    outside = []
    for name, tensor in tensors.items():
        prefix, rest = split(name, known)
        if rest.split(".")[0] in known:
            model = models.setdefault(prefix, {})
            if rest in model:
                raise ValueError(
                    f"it holds {shown(rest)} twice, once as {shown(name)}: save one model alone"
                )
            model[rest] = tensor
        elif rest not in CONSTANTS:
            outside.append(name)
    return models, outside


def joined(models: Mapping[str, Mapping[str, T]]) -> dict[str, dict[str, T]]:
    """Models put together from those of which one holds the encoder alone, for instance, as where
    only this was wrapped: prefixes that differ in wrappers' words, with no part in common.
    """
    together: dict[str, dict[str, T]] = {}
    for prefix, found in models.items():
        plain = ".".join(word for word in prefix.split(".") if word not in NOISE)
        model = together.setdefault(plain, {})
        if parts_in(model).isdisjoint(parts_in(found)):
            model |= found
        else:
            together[prefix] = dict(found)
    return together


def parts_in(model: Mapping[str, Any]) -> set[str]:
    return {name.split(".")[0] for name in model}


def is_whole(model: Mapping[str, Any]) -> bool:
    return not missing(model)


def rank(prefix: str, model: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    """What a model is, the best being least: without a tensor that every SAM has, as an optimiser's
    state is; state of a training; a copy.
    """
    words = {word.lower() for word in WORD.findall(prefix)}
    is_state = any(TRAINING.match(part) for part in prefix.split("."))
    return "mask_decoder.iou_token.weight" not in model, is_state, bool(words & COPIES)


def roots() -> set[str]:
    """The first words of tensors' names: SAM's parts, and those of other registered decoders."""
    return {*chain.from_iterable(PARTS.values()), *(kind.part for kind in DECODERS.values())}


def split(name: str, known: set[str]) -> tuple[str, str]:
    """Split a name before its first part's name; without one, before the last word."""
    words = name.split(".")
    at = next((i for i, word in enumerate(words) if word in known), len(words) - 1)
    return ".".join(words[:at]), ".".join(word for word in words[at:] if word not in NOISE)


def missing(model: Mapping[str, Any]) -> list[str]:
    """The parts of SAM that a model lacks."""
    there = parts_in(model)
    return [part for part, roots in PARTS.items() if not there.intersection(roots)]


def adapted(names: Iterable[str]) -> list[str]:
    return [name for name in names if PEFT.search(name)]


def why_adapted(names: Iterable[str]) -> str:
    name = adapted(names)[0]
    kind = "a LoRA adapter" if "lora_" in name or ".base_layer." in name else "an adapter"
    return (
        f"it holds {kind} of peft's ({shown(name)}), with or within a model saved whole: save the "
        "model after merge_and_unload(), or the adapter alone by its save_pretrained(folder), and "
        "load this with from_pretrained(base, adapter=folder)"
    )


def why_none(tensors: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> str:
    """The reason why these tensors hold no SAM."""
    if not models and micro_sam.is_decoder(tensors):
        return why_no_model(tensors)
    if found := other_model(tensors):
        return f"it is a checkpoint of {found}"
    if not tensors:
        return "it holds no named tensors"
    if models:
        largest = max(models.values(), key=len)
        return f"it holds no {' and no '.join(missing(largest))}; SAM has {', '.join(PARTS)}"
    return (
        f"not a SAM checkpoint: none of its tensors (for example {shown(next(iter(tensors)))}) "
        f"belongs to an {' or '.join(PARTS)}"
    )


def why_no_model(tensors: Mapping[str, Any]) -> str:
    """The reason for tensors of torch-em's UNETR, of which micro-sam's second decoder is a part."""
    if any(re.match(r"(.*\.)?encoder\.patch_embed\.", name) for name in tensors):
        return (
            "it holds an encoder and an instance decoder, without SAM's prompt encoder and mask "
            "decoder; micro_sam.training.export_instance_segmentation_model adds them"
        )
    return (
        "it holds an instance decoder without its model; give the model's file, and leave this "
        f"one beside it, as vit_b{micro_sam.ENDING}.pt beside vit_b.pt"
    )


def tell(chosen: str, others: list[str], outside: list[str], source: str) -> None:
    """Warn about other models in the file, and about tensors that are not SAM's."""
    if others:
        listed = ", ".join(map(short, others))
        warnings.warn(
            f"{source}: using {short(chosen)}; the file also holds {listed}", stacklevel=2
        )
    before = f"{chosen}." if chosen else ""
    own = Counter(
        before * name.startswith(before) + name.removeprefix(before).split(".")[0]
        for name in outside
        if not TRAINING.match(name)
    )
    if own:
        listed = ", ".join(f"{shown(part)} ({count})" for part, count in own.most_common(5))
        rest = f" and {len(own) - 5} more parts" if len(own) > 5 else ""
        warnings.warn(f"{source}: tensors outside SAM are ignored: {listed}{rest}", stacklevel=2)
