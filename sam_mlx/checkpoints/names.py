"""Foreign checkpoints under Meta's names, which are our modules', and sizes off their tensors."""

from dataclasses import replace

from ..config import ENCODERS, VARIANTS, Encoder, SamConfig, Weights, named
from ..modeling.shapes import count, shape_of
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
    encoder = recognised(weights)
    return weights if encoder is None else encoder.clean(weights)


def recognised(weights: Weights) -> Encoder | None:
    """The image encoder that a checkpoint is of."""
    return next((e for e in reversed(ENCODERS.values()) if e.recognises(weights)), None)


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
    decoder = "mask_decoder"
    config = replace(
        encoder.infer(weights),
        prompt_dim=shape_of(weights, "prompt_encoder.no_mask_embed.weight")[1],
        mask_channels=shape_of(weights, "prompt_encoder.mask_downscaling.3.weight")[0],
        decoder_depth=count(weights, rf"{decoder}\.transformer\.layers\.(\d+)\."),
        decoder_mlp_dim=shape_of(weights, f"{decoder}.transformer.layers.0.mlp.lin1.weight")[0],
        multimask_outputs=shape_of(weights, f"{decoder}.mask_tokens.weight")[0] - 1,
        iou_head_depth=count(weights, rf"{decoder}\.iou_prediction_head\.layers\.(\d+)\."),
        iou_head_dim=shape_of(weights, f"{decoder}.iou_prediction_head.layers.0.weight")[0],
    )
    for variant in VARIANTS.values():
        config = named(replace(config, decoder_heads=variant.decoder_heads))
        if config is variant:
            return variant
    return replace(config, decoder_heads=8)
