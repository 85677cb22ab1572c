"""Meta's ``Sam`` of any sizes, and SAM-HQ's, built from the original code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from sam_mlx.checkpoints.families import micro_sam
from sam_mlx.config import SamConfig
from sam_mlx.modeling.hq_decoder import HQDecoderConfig

from . import tiny_vit, vit
from .adapters import wrap_as_micro_sam
from .reference import import_segment_anything, import_segment_anything_hq

# The original of every image encoder, by the encoder's name in config.json.
ORIGINALS = {"vit": vit, "tiny_vit": tiny_vit}


def is_hq(config: SamConfig) -> bool:
    return HQDecoderConfig() in config.decoders


def package_of(config: SamConfig) -> Any:
    """The package with the original: Meta's, or SAM-HQ's, which has copies of Meta's files."""
    return import_segment_anything_hq() if is_hq(config) else import_segment_anything()


def build_meta(config: SamConfig, state: Mapping[str, torch.Tensor] | None = None) -> Any:
    """Meta's ``Sam`` of these sizes, in eval mode; with random weights unless given some.

    ``state`` has Meta's names, MobileSAM's if the encoder is MobileSAM's, SAM-HQ's, or micro-sam's.
    """
    modeling = package_of(config).modeling
    decoder, more = modeling.MaskDecoder, {}
    if is_hq(config):
        decoder, more = modeling.MaskDecoderHQ, {"vit_dim": config.encoder.early_dim}
    original = ORIGINALS[config.encoder.type]
    sam = modeling.Sam(
        original.build(config, modeling),
        modeling.PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(config.grid, config.grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_channels,
        ),
        decoder(
            transformer_dim=config.prompt_dim,
            transformer=modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=config.prompt_dim,
                num_heads=config.decoder_heads,
                mlp_dim=config.decoder_mlp_dim,
            ),
            num_multimask_outputs=config.multimask_outputs,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_dim,
            **more,
        ),
        pixel_mean=list(config.pixel_mean),
        pixel_std=list(config.pixel_std),
    ).eval()
    if state is None:
        return fill_zeros(sam)
    state = original.renamed(state, sam.image_encoder)
    if micro_sam.recognises(state):
        wrap_as_micro_sam(sam.image_encoder, state)
    for name, tensor in state.items():
        if ".rel_pos_" in name:  # may have another length, which the original interpolates
            owner, _, table = name.rpartition(".")
            setattr(sam.get_submodule(owner), table, torch.nn.Parameter(tensor.float()))
    sam.load_state_dict(state)
    return sam.eval()  # MobileSAM's encoder attends with the biases that it has at this call


@torch.no_grad()
def fill_zeros(model: torch.nn.Module) -> torch.nn.Module:
    """Give parameters that start at zero random values, so that a broken path shows."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    return model
