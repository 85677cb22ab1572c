"""The sizes of a model from the shapes of its tensors."""

from dataclasses import replace

from ..config import SamConfig
from ..modeling.shapes import shape_of
from ..registry import ENCODERS, VARIANTS, Weights, decoders_in, encoder_in, named
from .unwrap import other_model


def infer(weights: Weights) -> SamConfig:
    """Every size of a SAM model, from the shapes of its tensors under Meta's names.

    No shape shows the decoder's number of heads; the released variant with the same other sizes,
    whatever its decoders, gives it, or else it is 8. Raises ValueError if the tensors are not
    SAM's.
    """
    encoder = encoder_in(weights)
    if encoder is None:
        kinds = ", ".join(ENCODERS)
        if other := other_model(weights):
            raise ValueError(f"it is a checkpoint of {other}")
        raise ValueError(f"its image encoder is not one of {kinds}")
    config = replace(
        encoder.infer(weights),
        prompt_dim=shape_of(weights, "prompt_encoder.no_mask_embed.weight")[1],
        mask_channels=shape_of(weights, "prompt_encoder.mask_downscaling.3.weight")[0],
    )
    for decoder in decoders_in(weights):
        config = decoder.infer(weights, config)
    for variant in VARIANTS.values():
        heads, alike = variant.decoder_heads, replace(variant, decoders=config.decoders)
        if replace(config, decoder_heads=heads, variant=variant.variant) == alike:
            return named(replace(config, decoder_heads=heads))
    return replace(config, decoder_heads=8)
