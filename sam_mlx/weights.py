"""Names and layouts of foreign checkpoints: dictionaries in, dictionaries out.

Our modules carry Meta's names, so Meta's checkpoints need no renaming; Hugging Face's names
come back through one table; MobileSAM's checkpoints lose their batch normalisation. Layouts
follow from the modules: what a convolution owns is transposed, nothing else is.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .config import VARIANTS, SamConfig, TinyViTConfig, ViTConfig, named
from .modeling.layers import interpolate_rows

# Hugging Face -> Meta. The first rule whose pattern begins the name, or follows a dot, wins.
_MLP_HEAD = r"mask_decoder\.(iou_prediction_head|output_hypernetworks_mlps\.\d+)\."
_RENAMES = [
    (r"^shared_image_embedding\.", "prompt_encoder.pe_layer."),
    (r"^prompt_encoder\.shared_embedding\.", "prompt_encoder.pe_layer."),
    (r"\.positional_embedding$", ".positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
    (r"^image_encoder\.layers\.", "image_encoder.blocks."),
    (r"\.neck\.conv1\.", ".neck.0."),
    (r"\.neck\.layer_norm1\.", ".neck.1."),
    (r"\.neck\.conv2\.", ".neck.2."),
    (r"\.neck\.layer_norm2\.", ".neck.3."),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
    (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
    (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
    (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
    (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
    (r"\.upscale_conv1\.", ".output_upscaling.0."),
    (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
    (r"\.upscale_conv2\.", ".output_upscaling.3."),
    (r"\.layer_norm(\d|_final_attn)\.", r".norm\1."),
]


def from_hugging_face(weights: Mapping) -> dict:
    """Give the tensors of a transformers ``SamModel`` Meta's names."""
    inner = [name for name in weights if re.match(_MLP_HEAD + r"layers\..*weight", name)]
    renamed = {}
    for name, tensor in weights.items():
        new = name
        for pattern, replacement in _RENAMES:
            new = re.sub(pattern, replacement, new)
        if head := re.match(_MLP_HEAD, new):
            # proj_in, layers.0 ..., proj_out count through from one end to the other.
            last = 1 + sum(n.startswith(head[0]) for n in inner)
            new = re.sub(r"\.layers\.(\d+)\.", lambda m: f".layers.{int(m[1]) + 1}.", new)
            new = new.replace(".proj_in.", ".layers.0.").replace(".proj_out.", f".layers.{last}.")
        renamed[new] = tensor
    return renamed


def is_hugging_face(names) -> bool:
    return any(name.startswith(("vision_encoder.", "shared_image_embedding.")) for name in names)


# The image encoder's first convolution, in MobileSAM's checkpoints.
_TINY_STEM = "image_encoder.patch_embed.seq.0.c.weight"
BATCH_NORM_EPS = 1e-5


def is_mobile_sam(names) -> bool:
    return _TINY_STEM in names


def from_mobile_sam(weights: Mapping) -> dict:
    """Drop the classifier, which MobileSAM stores and never runs, and fold batch norms."""
    unused = ("image_encoder.norm_head.", "image_encoder.head.")
    return fold_batch_norms({n: w for n, w in weights.items() if not n.startswith(unused)})


def fold_batch_norms(weights: Mapping) -> dict:
    """Fold every ``x.bn`` into the convolution ``x.c`` before it, which so gets a bias.

    Computed in float64; each kernel keeps its type.
    """
    folded = {n: w for n, w in weights.items() if not n.endswith(".bn.num_batches_tracked")}
    for stem in [n.removesuffix(".bn.weight") for n in weights if n.endswith(".bn.weight")]:
        norm = [f"{stem}.bn.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        names = [f"{stem}.c.weight", *norm]
        if not all(name in weights for name in names):
            continue  # loading names what is missing
        dtype = mx.array(weights[names[0]]).dtype
        kernel, scale, shift, mean, variance = (
            np.array(mx.array(folded.pop(name)).astype(mx.float32), np.float64) for name in names
        )
        scale /= np.sqrt(variance + BATCH_NORM_EPS)
        kernel *= scale[:, None, None, None]
        bias = shift - mean * scale
        folded[f"{stem}.c.weight"] = mx.array(kernel.astype(np.float32)).astype(dtype)
        folded[f"{stem}.c.bias"] = mx.array(bias.astype(np.float32)).astype(dtype)
    return folded


def strip_wrapping(weights: Mapping) -> dict:
    """Drop ``module.`` and ``sam.`` prefixes that training wrappers put before every name."""
    weights = dict(weights)
    for prefix in ("module.", "sam.", "module."):
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): w for name, w in weights.items()}
    # Constants that some versions of the original store; they are part of the configuration.
    return {name: w for name, w in weights.items() if name not in ("pixel_mean", "pixel_std")}


def infer_config(weights: Mapping) -> SamConfig:
    """Read every size of a SAM model from the shapes of its tensors, under Meta's names.

    What shows nowhere is that of the released models: the decoder's number of heads (of the
    variant whose other sizes these are, or 8), and TinyViT's image size. Raises ValueError when
    the tensors are not SAM's.
    """
    config = _infer_tiny_vit(weights) if is_mobile_sam(weights) else _infer_vit(weights)
    config = replace(
        config,
        prompt_dim=_shape(weights, "prompt_encoder.no_mask_embed.weight")[1],
        mask_channels=_shape(weights, "prompt_encoder.mask_downscaling.3.weight")[0],
        decoder_depth=_count(weights, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        decoder_mlp_dim=_shape(weights, "mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
        multimask_outputs=_shape(weights, "mask_decoder.mask_tokens.weight")[0] - 1,
        iou_head_depth=_count(weights, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
        iou_head_dim=_shape(weights, "mask_decoder.iou_prediction_head.layers.0.weight")[0],
    )
    for variant in VARIANTS.values():
        config = named(replace(config, decoder_heads=variant.decoder_heads))
        if config is variant:
            return variant
    return replace(config, decoder_heads=8)


def _infer_vit(weights: Mapping) -> SamConfig:
    dim, _, patch, _ = _shape(weights, "image_encoder.patch_embed.proj.weight")
    _, grid, _, _ = _shape(weights, "image_encoder.pos_embed")
    depth = _count(weights, r"image_encoder\.blocks\.(\d+)\.")
    tables = [_shape(weights, f"image_encoder.blocks.{i}.attn.rel_pos_h") for i in range(depth)]
    # Tables are 2 * size - 1 long. A global block's may be left over from another image size.
    lengths = [table[0] for table in tables]
    longest = 2 * grid - 1 if 2 * grid - 1 in lengths else max(lengths)
    global_blocks = tuple(i for i in range(depth) if lengths[i] == longest)
    windows = {(n + 1) // 2 for n in lengths if n != longest} or {grid}
    if len(windows) > 1:
        raise ValueError(f"not a SAM checkpoint: blocks with windows of {sorted(windows)} cells")
    mlp_dim, _ = _shape(weights, "image_encoder.blocks.0.mlp.lin1.weight")
    encoder = ViTConfig(dim, depth, dim // tables[0][1], global_blocks, mlp_dim, windows.pop())
    return SamConfig(encoder, image_size=grid * patch, patch_size=patch)


def _infer_tiny_vit(weights: Mapping) -> SamConfig:
    def shape(name: str) -> tuple[int, ...]:
        return _shape(weights, f"image_encoder.{name}")

    stages = range(_count(weights, r"image_encoder\.layers\.(\d+)\."))
    dims = [shape("patch_embed.seq.2.c.weight")[0]]
    dims += [shape(f"layers.{i}.downsample.conv3.c.weight")[0] for i in stages[:-1]]
    tables = [shape(f"layers.{i}.blocks.0.attn.attention_biases") for i in stages[1:]]
    encoder = TinyViTConfig(
        dims=tuple(dims),
        depths=tuple(
            _count(weights, rf"image_encoder\.layers\.{i}\.blocks\.(\d+)\.") for i in stages
        ),
        heads=tuple(heads for heads, _ in tables),
        windows=tuple(math.isqrt(cells) for _, cells in tables),
        mlp_ratio=shape("layers.1.blocks.0.mlp.fc1.weight")[0] // dims[1],
        mbconv_expand=shape("layers.0.blocks.0.conv1.c.weight")[0] // dims[0],
    )
    return SamConfig(encoder)


def _shape(weights: Mapping, name: str) -> tuple[int, ...]:
    if name not in weights:
        raise ValueError(f"not a SAM checkpoint: it has no tensor {name!r}")
    return tuple(weights[name].shape)


def _count(weights: Mapping, pattern: str) -> int:
    return len({m[1] for name in weights if (m := re.match(pattern, name))})


def from_torch_layout(weights: Mapping, model: nn.Module) -> dict[str, mx.array]:
    """Turn PyTorch's channels-first kernels into MLX's; arrays may be numpy's or MLX's."""
    axes = {nn.Conv2d: (0, 2, 3, 1), nn.ConvTranspose2d: (1, 2, 3, 0)}
    kernels = {
        f"{name}.weight": axes[type(module)]
        for name, module in model.named_modules()
        if type(module) in axes
    }
    return {
        name: w.transpose(kernels[name]) if name in kernels and w.ndim == 4 else w
        for name, w in weights.items()
    }


def fit_relative_positions(weights: Mapping, config: SamConfig) -> dict:
    """Interpolate relative-position tables of another length to the one the model needs.

    The original does so in every forward pass (``get_rel_pos``); once is enough.
    """
    fitted = dict(weights)
    if not isinstance(config.encoder, ViTConfig):
        return fitted
    for i in range(config.encoder.depth):
        window = config.encoder.window
        length = 2 * (config.grid if i in config.encoder.global_blocks else window) - 1
        for name in (f"image_encoder.blocks.{i}.attn.rel_pos_{axis}" for axis in "hw"):
            table = fitted.get(name)
            if table is not None and table.ndim == 2 and len(table) != length:
                table = np.array(mx.array(table).astype(mx.float32))
                fitted[name] = mx.array(interpolate_rows(table, length).astype(np.float32))
    return fitted
