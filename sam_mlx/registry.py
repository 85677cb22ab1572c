"""The image encoders and decoders that models consist of, and the released models.

Each registers itself from its own file; the rest of the package finds everything about it here.
Features are what an encoder computes from pictures: arrays (B, H, W, C) by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .config import SamConfig, build
from .messages import short

Weights = Mapping[str, mx.array]  # tensors by name
Features = Mapping[str, mx.array]

IMAGE_EMBEDDING = "image_embedding"  # (B, G, G, prompt_dim), from every encoder
EARLY = "early"  # (B, G, G, width there), after the first global block or at a similar depth
MASK_DECODER = "mask_decoder"


def unchanged(weights: Weights) -> Weights:
    """For kinds that have nothing to drop or fold."""
    return weights


def at_any_size(weights: Weights, config: SamConfig) -> Weights:
    """For kinds whose tensors do not depend on the picture's size."""
    return weights


@dataclass(frozen=True)
class Encoder:
    """A kind of image encoder. ``modeling/image_encoder.py`` and ``tiny_vit.py`` register theirs.

    The module is called with prepared images (B, S, S, 3) and the names of the wanted features, and
    returns these by name.
    """

    sizes: Any  # a frozen dataclass; its ``type`` is the encoder's name in config.json
    module: Callable[[SamConfig], nn.Module]
    recognises: Callable[[Weights], bool]  # True if a checkpoint with such names has one
    infer: Callable[[Weights], SamConfig]  # sizes from the tensors' shapes; raises ValueError
    features: tuple[str, ...] = (IMAGE_EMBEDDING,)  # all that it can compute
    clean: Callable[[Weights], Weights] = unchanged  # drop and fold; kernels in PyTorch's layout
    fit: Callable[[Weights, SamConfig], Weights] = at_any_size  # tables to the config's lengths
    # Positions for another image_size; kernels may have either layout.
    resize: Callable[[Weights, SamConfig], Weights] = at_any_size


def masks_of_sam(config: SamConfig, multimask_output: bool | None) -> int:
    """multimask_output: as ``MaskDecoder`` takes it; None stands for all masks."""
    several = config.multimask_outputs
    return {True: several, False: 1, None: 1 + several}[multimask_output]


@dataclass(frozen=True)
class Decoder:
    """A kind of decoder. ``modeling/mask_decoder.py`` registers SAM's.

    Every model has one mask decoder, whose module is called like ``MaskDecoder``. It may have other
    decoders too, each as its own attribute of ``Sam``.
    """

    sizes: Any  # a frozen dataclass of its own sizes; its ``type`` is its name in config.json
    module: Callable[[SamConfig], nn.Module]
    recognises: Callable[[Weights], bool]  # True if a checkpoint with such names has one
    infer: Callable[[Weights, SamConfig], SamConfig]  # adds its sizes; raises ValueError
    part: str = MASK_DECODER  # the attribute of ``Sam``, and the first word of its tensors' names
    needs: tuple[str, ...] = (IMAGE_EMBEDDING,)  # features of the encoder
    takes: tuple[str, ...] = (IMAGE_EMBEDDING,)  # features that it decodes
    # Computes what it takes beyond the encoder's, once per picture: (module, features) -> features
    prepare: Callable[[Any, Features], Features] | None = None
    # Per prompt; (config, multimask_output)
    masks: Callable[[SamConfig, bool | None], int] = masks_of_sam
    # Bytes of a prompt's activations for each value of the image embedding: 42 MB in ViT-B.
    bytes_per_value: int = 40
    clean: Callable[[Weights], Weights] = unchanged  # drop and fold; kernels in PyTorch's layout


ENCODERS: dict[str, Encoder] = {}
DECODERS: dict[str, Decoder] = {}
VARIANTS: dict[str, SamConfig] = {}  # the released models, and nano


def register(kind: Encoder | Decoder, variants: Mapping[str, SamConfig] | None = None) -> None:
    """Make a kind known to configurations, checkpoints and ``Sam``, with the models that use it.

    When a checkpoint is recognised, kinds registered later are asked first.
    """
    if isinstance(kind, Encoder):
        ENCODERS[kind.sizes.type] = kind
    else:
        DECODERS[kind.sizes.type] = kind
    for name, config in (variants or {}).items():
        VARIANTS[name] = replace(config, variant=name)


def encoder_in(weights: Weights) -> Encoder | None:
    """The kind of image encoder in a checkpoint with Meta's names, or None."""
    return next((e for e in reversed(ENCODERS.values()) if e.recognises(weights)), None)


def decoders_in(weights: Weights) -> list[Decoder]:
    """The kinds of decoders in a checkpoint with Meta's names, one for each part."""
    return list({d.part: d for d in DECODERS.values() if d.recognises(weights)}.values())


def encoder_of(config: SamConfig) -> Encoder:
    """The kind of encoder that a config names."""
    return ENCODERS[config.encoder.type]


def decoders_of(config: SamConfig) -> list[Decoder]:
    """The kinds of decoders that a config names."""
    return [DECODERS[sizes.type] for sizes in config.decoders]


def mask_decoder_of(config: SamConfig) -> Decoder:
    """The kind of mask decoder that a config names."""
    return next(kind for kind in decoders_of(config) if kind.part == MASK_DECODER)


def with_decoder(config: SamConfig, sizes: Any) -> SamConfig:
    """The config with a decoder of these sizes, which replaces the one for the same part."""
    parts = {DECODERS[own.type].part: own for own in config.decoders}
    return replace(config, decoders=tuple((parts | {DECODERS[sizes.type].part: sizes}).values()))


def named(config: SamConfig) -> SamConfig:
    """The same sizes, with the name of the released variant that has them, if any."""
    alone = without_other_decoders(config)
    for variant in VARIANTS.values():
        if replace(alone, variant=variant.variant) == variant:
            return variant if alone == config else replace(variant, decoders=config.decoders)
    return config


def without_other_decoders(config: SamConfig) -> SamConfig:
    """The config with the mask decoder alone, as released variants have it."""
    return replace(config, decoders=(next(s for s in config.decoders if _is_of_masks(s)),))


def _is_of_masks(sizes: Any) -> bool:
    return DECODERS[sizes.type].part == MASK_DECODER


def check_parts(config: SamConfig) -> None:
    """Raise ValueError for decoders that cannot be combined, or that the encoder cannot serve."""
    _check_registered(config.encoder, "encoder", ENCODERS)
    if not isinstance(config.decoders, tuple):
        raise ValueError(f"decoders is {short(config.decoders)}; expected a tuple of sizes")
    for sizes in config.decoders:
        _check_registered(sizes, "decoder", DECODERS)
    kinds, encoder = decoders_of(config), encoder_of(config)
    parts = [kind.part for kind in kinds]
    if parts.count(MASK_DECODER) != 1 or len(set(parts)) < len(parts):
        raise ValueError(
            f"decoders are {short([sizes.type for sizes in config.decoders])}, for the parts "
            f"{short(parts)}; "
            f"expected one for {MASK_DECODER}, and at most one for any other part"
        )
    for kind in kinds:
        if missing := sorted(set(kind.needs) - set(encoder.features)):
            raise ValueError(
                f"decoder {kind.sizes.type!r} needs the features {missing}, but encoder "
                f"{config.encoder.type!r} only computes {list(encoder.features)}"
            )


def _check_registered(sizes: object, what: str, kinds: Mapping[str, Any]) -> None:
    if not any(isinstance(sizes, kind.sizes) for kind in kinds.values()):
        raise ValueError(f"{what} is {short(sizes)}; expected sizes of the kinds {list(kinds)}")


def config_of(values: Mapping[str, Any]) -> SamConfig:
    """The inverse of ``SamConfig.to_dict``. Raises ValueError naming the wrong field."""
    others = ("model_type", "quantization", "sha256")  # about the files, not sizes
    values = {name: value for name, value in values.items() if name not in others}
    parts = {"encoder": _sizes(values.pop("encoder", None), "encoder", ENCODERS, "vit")}
    if "decoders" in values:
        listed = values.pop("decoders")
        if not isinstance(listed, (list, tuple)):
            raise ValueError(f"decoders is {short(listed)}; expected a list of objects")
        parts["decoders"] = tuple(_sizes(one, "decoder", DECODERS) for one in listed)
    config: SamConfig = build(SamConfig, {**values, **parts}, "config")
    check_parts(config)
    return config


def _sizes(values: object, what: str, kinds: Mapping[str, Any], usual: str | None = None) -> Any:
    """The sizes of a registered kind, from an object in a file."""
    if not isinstance(values, dict) or values.get("type", usual) not in list(kinds):
        kind = values.get("type") if isinstance(values, dict) else values
        raise ValueError(f"{what} is {short(kind)}; expected an object with type {list(kinds)}")
    values = dict(values)
    return build(kinds[values.pop("type", usual)].sizes, values, what)
