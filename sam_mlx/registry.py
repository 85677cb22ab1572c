"""The image encoders and decoders that models are made of, and the released models.

The file of each registers itself here; the rest of the package asks here for all that it has to
know of one. Features are what an encoder makes of pictures: arrays (B, H, W, C) by name.
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

IMAGE_EMBEDDING = "image_embedding"  # (B, G, G, prompt_dim), of every encoder
EARLY = "early"  # (B, G, G, width there), of the first global block, or of about that depth
MASK_DECODER = "mask_decoder"


def unchanged(weights: Weights) -> Weights:
    return weights


def at_any_size(weights: Weights, config: SamConfig) -> Weights:
    return weights


@dataclass(frozen=True)
class Encoder:
    """A kind of image encoder. ``modeling/image_encoder.py`` and ``tiny_vit.py`` register theirs.

    The module is called with prepared images (B, S, S, 3) and the names of the features that are
    wanted, and returns these by name.
    """

    sizes: Any  # a frozen dataclass; its ``type`` is the encoder's name in config.json
    module: Callable[[SamConfig], nn.Module]
    recognises: Callable[[Weights], bool]  # whether a foreign checkpoint, by its names, has one
    infer: Callable[[Weights], SamConfig]  # its sizes, from the tensors' shapes; ValueError
    features: tuple[str, ...] = (IMAGE_EMBEDDING,)  # all that it can give
    clean: Callable[[Weights], Weights] = unchanged  # drop and fold; kernels in PyTorch's layout
    fit: Callable[[Weights, SamConfig], Weights] = at_any_size  # tables; kernels in MLX's layout
    # Positions to those of another image_size; kernels in either layout.
    resize: Callable[[Weights, SamConfig], Weights] = at_any_size


def masks_of_sam(config: SamConfig, multimask_output: bool) -> int:
    return config.multimask_outputs if multimask_output else 1


@dataclass(frozen=True)
class Decoder:
    """A kind of decoder. ``modeling/mask_decoder.py`` registers SAM's.

    Every model has one mask decoder, whose module is called as ``MaskDecoder`` is. Others may
    stand beside it, each as another attribute of ``Sam``.
    """

    sizes: Any  # a frozen dataclass of its own sizes; its ``type`` is its name in config.json
    module: Callable[[SamConfig], nn.Module]
    recognises: Callable[[Weights], bool]  # whether a foreign checkpoint, by its names, has one
    infer: Callable[[Weights, SamConfig], SamConfig]  # the config with its sizes; ValueError
    part: str = MASK_DECODER  # the attribute of ``Sam``, with which its tensors' names begin
    needs: tuple[str, ...] = (IMAGE_EMBEDDING,)  # features of the encoder's
    takes: tuple[str, ...] = (IMAGE_EMBEDDING,)  # features that it decodes
    # What it takes beyond the encoder's features: (module, features) to features, once a picture.
    prepare: Callable[[Any, Features], Features] | None = None
    masks: Callable[[SamConfig, bool], int] = masks_of_sam  # a prompt gets: (config, multimask)
    clean: Callable[[Weights], Weights] = unchanged  # drop and fold; kernels in PyTorch's layout


ENCODERS: dict[str, Encoder] = {}
DECODERS: dict[str, Decoder] = {}
VARIANTS: dict[str, SamConfig] = {}  # the released models, and nano


def register(kind: Encoder | Decoder, variants: Mapping[str, SamConfig] | None = None) -> None:
    """Make a kind known to configurations, checkpoints and ``Sam``, with models that have it.

    A later one goes before the earlier when a checkpoint is recognised.
    """
    if isinstance(kind, Encoder):
        ENCODERS[kind.sizes.type] = kind
    else:
        DECODERS[kind.sizes.type] = kind
    for name, config in (variants or {}).items():
        VARIANTS[name] = replace(config, variant=name)


def encoder_in(weights: Weights) -> Encoder | None:
    """The image encoder that a checkpoint has, under Meta's names."""
    return next((e for e in reversed(ENCODERS.values()) if e.recognises(weights)), None)


def decoders_in(weights: Weights) -> list[Decoder]:
    """The decoders that a checkpoint has, under Meta's names: one for each part."""
    return list({d.part: d for d in DECODERS.values() if d.recognises(weights)}.values())


def encoder_of(config: SamConfig) -> Encoder:
    return ENCODERS[config.encoder.type]


def decoders_of(config: SamConfig) -> list[Decoder]:
    return [DECODERS[sizes.type] for sizes in config.decoders]


def mask_decoder_of(config: SamConfig) -> Decoder:
    return next(kind for kind in decoders_of(config) if kind.part == MASK_DECODER)


def with_decoder(config: SamConfig, sizes: Any) -> SamConfig:
    """The config with a decoder of these sizes, in place of the one that is the same part."""
    parts = {DECODERS[own.type].part: own for own in config.decoders}
    return replace(config, decoders=tuple((parts | {DECODERS[sizes.type].part: sizes}).values()))


def named(config: SamConfig) -> SamConfig:
    """The same sizes, with the name of the released variant that has them, if any."""
    for variant in VARIANTS.values():
        if replace(config, variant=variant.variant) == variant:
            return variant
    return config


def check_parts(config: SamConfig) -> None:
    """Raise ValueError for decoders that one model cannot have together, or with its encoder."""
    kinds, encoder = decoders_of(config), encoder_of(config)
    parts = [kind.part for kind in kinds]
    if parts.count(MASK_DECODER) != 1 or len(set(parts)) < len(parts):
        raise ValueError(
            f"decoders are {[sizes.type for sizes in config.decoders]}, of the parts {parts}; "
            f"expected one for {MASK_DECODER}, and at most one for any other part"
        )
    for kind in kinds:
        if missing := sorted(set(kind.needs) - set(encoder.features)):
            raise ValueError(
                f"decoder {kind.sizes.type!r} needs the features {missing}, and encoder "
                f"{config.encoder.type!r} gives {list(encoder.features)} alone"
            )


def config_of(values: Mapping[str, Any]) -> SamConfig:
    """The inverse of ``SamConfig.to_dict``. Raises ValueError that names a field that is wrong."""
    others = ("model_type", "quantization", "sha256")  # of the files, not the sizes
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
    """Sizes of one of the kinds, from an object in a file."""
    if not isinstance(values, dict) or values.get("type", usual) not in list(kinds):
        kind = values.get("type") if isinstance(values, dict) else values
        raise ValueError(f"{what} is {short(kind)}; expected an object with type {list(kinds)}")
    values = dict(values)
    return build(kinds[values.pop("type", usual)].sizes, values, what)
