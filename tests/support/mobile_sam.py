"""MobileSAM's checkpoint, from the model that convert builds."""

import torch

from sam_mlx.registry import VARIANTS


def mobile_sam_state(sam: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state that MobileSAM's own code would save: its names and its unused classifier."""
    state = {}
    for name, tensor in sam.state_dict().items():
        name = name.replace(".backbone.", ".").replace(".conv.weight", ".c.weight")
        for i in (1, 2):
            name = name.replace(f".patch_embed.conv{i}.", f".patch_embed.seq.{2 * i - 2}.")
            name = name.replace(f".stages.{i}.downsample.", f".layers.{i - 1}.downsample.")
        name = name.replace(".stages.3.downsample.", ".layers.2.downsample.")
        state[name.replace(".stages.", ".layers.")] = tensor
    dim = VARIANTS["vit_t"].encoder.dims[-1]
    return state | {
        "image_encoder.norm_head.weight": torch.ones(dim),
        "image_encoder.norm_head.bias": torch.zeros(dim),
        "image_encoder.head.weight": torch.randn(1000, dim),
        "image_encoder.head.bias": torch.zeros(1000),
    }
