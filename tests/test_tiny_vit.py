"""MobileSAM: the TinyViT encoder against timm's, its checkpoints, and the whole model."""

import copy
import json
import re
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx import nn
from mlx.utils import tree_flatten
from PIL import Image
from safetensors.torch import save_file

from convert.__main__ import as_mlx, main
from convert.reference import build_meta, import_segment_anything, to_timm
from sam_mlx import Sam, SamPredictor, sam_model_registry
from sam_mlx.config import VARIANTS, SamConfig
from sam_mlx.loading import build, to_native
from sam_mlx.modeling.layers import depthwise
from sam_mlx.weights import fold_batch_norms

CONFIG = VARIANTS["vit_t"]
SMALL = replace(CONFIG, variant="custom", image_size=256)  # the same weights fit


@torch.no_grad()
def randomise(sam: torch.nn.Module) -> torch.nn.Module:
    """Values that no path leaves unseen: norms, statistics and attention biases far from start."""
    backbone = sam.image_encoder.backbone
    for name, p in [*backbone.named_parameters(), *sam.image_encoder.neck.named_parameters()]:
        if "attention_biases" in name:
            p.normal_()
        elif p.ndim > 1:
            p.normal_(std=p[0].numel() ** -0.5)
        elif name.endswith("weight"):
            p.uniform_(0.5, 1.5)
        else:
            p.normal_(std=0.3)
    for name, buffer in backbone.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return sam


def mobile_sam_state(sam: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What MobileSAM's own code would save: its names, its unused classifier."""
    state = {}
    for name, tensor in sam.state_dict().items():
        name = name.replace(".backbone.", ".").replace(".conv.weight", ".c.weight")
        for i in (1, 2):
            name = name.replace(f".patch_embed.conv{i}.", f".patch_embed.seq.{2 * i - 2}.")
            name = name.replace(f".stages.{i}.downsample.", f".layers.{i - 1}.downsample.")
        name = name.replace(".stages.3.downsample.", ".layers.2.downsample.")
        state[name.replace(".stages.", ".layers.")] = tensor
    dim = CONFIG.encoder.dims[-1]
    return state | {
        "image_encoder.norm_head.weight": torch.ones(dim),
        "image_encoder.norm_head.bias": torch.zeros(dim),
        "image_encoder.head.weight": torch.randn(1000, dim),
        "image_encoder.head.bias": torch.zeros(1000),
    }


@pytest.fixture(scope="module")
def original() -> torch.nn.Module:
    torch.manual_seed(0)
    return randomise(build_meta(CONFIG))


@pytest.fixture(scope="module")
def state(original) -> dict[str, torch.Tensor]:
    return mobile_sam_state(original)


@pytest.fixture(scope="module")
def model(state) -> Sam:
    return build(*to_native(as_mlx(state)), None, "state")


@pytest.fixture(scope="module")
def small(model, original) -> tuple[Sam, torch.nn.Module]:
    """Both with 256x256 inputs, which still pad the windows of every stage."""
    ours = Sam(SMALL)
    ours.update(model.parameters())
    theirs = build_meta(SMALL, mobile_sam_state(original))
    return ours, theirs


def channels_last(x: torch.Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


def relative_error(ours: mx.array, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float(np.abs(np.array(ours, np.float64) - expected).max() / np.abs(expected).max())


def original_taps(encoder: torch.nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    """The output of every step, by our names, channels last."""
    taps, hooks = {}, []

    def tap(name: str, module: torch.nn.Module, last: bool = False) -> None:
        def hook(_module, _inputs, output):
            taps[name] = output.numpy().copy() if last else channels_last(output)

        hooks.append(module.register_forward_hook(hook))

    tap("patch_embed", encoder.backbone.patch_embed)
    for i, stage in enumerate(encoder.backbone.stages):
        for j, block in enumerate(stage.blocks):
            tap(f"layers.{i}.blocks.{j}", block, last=i > 0)
        if i:
            tap(f"layers.{i - 1}.downsample", stage.downsample)
    tap("neck", encoder)
    with torch.no_grad():
        encoder(x)
    for hook in hooks:
        hook.remove()
    return taps


def our_taps(encoder: nn.Module, x: mx.array) -> dict[str, mx.array]:
    taps = {"patch_embed": encoder.patch_embed(x)}
    x = taps["patch_embed"]
    for i, stage in enumerate(encoder.layers):
        for j, block in enumerate(stage.blocks):
            x = taps[f"layers.{i}.blocks.{j}"] = block(x)
        if "downsample" in stage:
            x = taps[f"layers.{i}.downsample"] = stage.downsample(x)
    taps["neck"] = encoder.project(x)
    return taps


def test_every_block_equals_the_original_at_1024(model, original):
    x = torch.randn(1, 3, 1024, 1024)
    expected = original_taps(original.image_encoder, x)
    ours = our_taps(model.image_encoder, mx.array(channels_last(x)))
    assert ours.keys() == expected.keys()
    errors = {name: relative_error(ours[name], expected[name]) for name in expected}
    assert max(errors.values()) < 1e-5, errors
    embedding = np.abs(np.array(ours["neck"]) - expected["neck"]).max()
    assert embedding < 5e-5
    print({k: f"{v:.1e}" for k, v in errors.items()}, embedding, np.abs(expected["neck"]).max(), [np.abs(v).max() for v in expected.values()])
