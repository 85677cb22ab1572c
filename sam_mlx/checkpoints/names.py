"""Foreign checkpoints under Meta's names, which are our modules', and sizes off their tensors."""

from dataclasses import replace

from ..config import SamConfig
from ..modeling.shapes import shape_of
from ..registry import DECODERS, ENCODERS, VARIANTS, Decoder, Encoder, Weights, named
from . import hugging_face, micro_sam
from .wrapping import other_model, unwrap

# Each has ``recognises(names)`` and ``to_meta(weights)``. What differs in an image encoder alone is
# in that encoder's file.
FAMILIES = (hugging_face, micro_sam)


def to_meta(weights: Weights, source: str = "the checkpoint") -> Weights:
    """A checkpoint of any known family, with the names that ``Sam``'s modules have."""
    weights = unwrap(weights, source)
    for family in FAMILIES:
        if family.recognises(weights):
            weights = family.to_meta(weights)
    for kind in (recognised(weights), *decoders(weights)):
        weights = weights if kind is None else kind.clean(weights)
    return weights


def recognised(weights: Weights) -> Encoder | None:
    """The image encoder that a checkpoint is of."""
    return next((e for e in reversed(ENCODERS.values()) if e.recognises(weights)), None)


def decoders(weights: Weights) -> list[Decoder]:
    """The decoders that a checkpoint has, one for each part."""
    found = {d.part: d for d in DECODERS.values() if d.recognises(weights)}
    return list(found.values())


def infer_config(weights: Weights) -> SamConfig:
    """Read every size of a SAM model from the shapes of its tensors, under Meta's names.

    What shows nowhere is that of the released models: the decoder's number of heads is that of
    the variant whose other sizes these are, or 8. Raises ValueError when the tensors are not SAM's.
    """
    encoder = recognised(weights)
    if encoder is None:
        kinds = ", ".join(ENCODERS)
        if other := other_model(weights):
            raise ValueError(f"it is of {other}, which is another model than SAM")
        raise ValueError(f"its image encoder is none of {kinds}")
    config = replace(
        encoder.infer(weights),
        prompt_dim=shape_of(weights, "prompt_encoder.no_mask_embed.weight")[1],
        mask_channels=shape_of(weights, "prompt_encoder.mask_downscaling.3.weight")[0],
    )
    for decoder in decoders(weights):
        config = decoder.infer(weights, config)
    for variant in VARIANTS.values():
        config = named(replace(config, decoder_heads=variant.decoder_heads))
        if config is variant:
            return variant
    return replace(config, decoder_heads=8)
