"""Hugging Face's layout: transformers' ``SamModel``, ``SamHQModel`` and their ``config.json``."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mlx.core as mx

from ...config import MAX_SIZE, MaskDecoderConfig, SamConfig
from ...messages import short
from ...modeling.hq_decoder import HQDecoderConfig
from ...modeling.image_encoder import ViTConfig
from ...registry import Weights, named

# Its classes, and their names in config.json.
MODELS = ("SamModel", "SamHQModel")
SAM, SAM_HQ = MODEL_TYPES = ("sam", "sam_hq")

# The library's defaults, for fields that a config.json may leave out.
VISION = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4.0,
    "global_attn_indexes": (2, 5, 8, 11), "window_size": 14, "image_size": 1024,
    "patch_size": 16, "output_channels": 256,
}  # fmt: skip
PROMPT = {"mask_input_channels": 16}
DECODER = {
    "num_hidden_layers": 2, "num_attention_heads": 8, "mlp_dim": 2048,
    "num_multimask_outputs": 3, "iou_head_depth": 3, "iou_head_hidden_dim": 256,
}  # fmt: skip
# Fields that would change the numbers, with the values that SAM has.
EXPECTED: dict[str, dict[str, Any]] = {
    "vision_config": {
        "hidden_act": "gelu", "use_rel_pos": True, "use_abs_pos": True, "qkv_bias": True,
        "layer_norm_eps": 1e-6, "num_channels": 3,
    },
    "prompt_encoder_config": {
        "hidden_act": "gelu", "num_point_embeddings": 4, "layer_norm_eps": 1e-6,
    },
    "mask_decoder_config": {
        "hidden_act": "relu", "layer_norm_eps": 1e-6, "attention_downsample_rate": 2,
    },
}  # fmt: skip

# Hugging Face's names to Meta's. Every rule is applied, in this order: later rules match names that
# earlier ones have produced.
RENAMES: list[tuple[str, str]] = [
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
    (r"\.hq_token\.", ".hf_token."),
    (r"\.hq_mask_mlp\.", ".hf_mlp."),
    (r"\.compress_vit_(conv|norm)", r".compress_vit_feat_\1"),
    (r"^mask_decoder\.encoder_(conv|norm)", r"mask_decoder.embedding_encoder_\1"),
    (r"^mask_decoder\.mask_(conv|norm)", r"mask_decoder.embedding_maskfeature_\1"),
    (r"(_feat|embedding_\w+)_conv1\.", r"\1.0."),
    (r"(_feat|embedding_\w+)_norm\.", r"\1.1."),
    (r"(_feat|embedding_\w+)_conv2\.", r"\1.3."),
]
# Only in its names; its other decoder names are the same as Meta's.
OWN = r"vision_encoder\.|shared_|\.proj_(in|out)\.|layer_norm|upscale_conv|_embed\.conv|\.hq_"
MLP_HEAD = r"mask_decoder\.(iou_prediction_head|output_hypernetworks_mlps\.\d+|hf_mlp)\."


def recognises(names: Iterable[str]) -> bool:
    return any(name.startswith(("vision_encoder.", "shared_image_embedding.")) for name in names)


def has_own_names(names: Iterable[str]) -> bool:
    """True if any name is transformers' own; there may be few names, as in an adapter."""
    return any(re.search(OWN, name) for name in names)


def to_meta(weights: Weights) -> dict[str, mx.array]:
    """Give the tensors of a transformers model Meta's names, or SAM-HQ's."""
    inner = [
        name for name in map(rename, weights) if re.match(MLP_HEAD + r"layers\..*weight", name)
    ]

    def last(head: str) -> int:
        return 1 + sum(name.startswith(head) for name in inner)

    return {to_meta_name(name, last): tensor for name, tensor in weights.items()}


def rename(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def to_meta_name(name: str, last: Callable[[str], int]) -> str:
    """Meta's name of a tensor. last: from an MLP's name to the index of its last layer."""
    name = rename(name)
    if head := re.match(MLP_HEAD, name):
        # proj_in, layers.0, ..., proj_out become layers 0, 1, ..., last.
        name = re.sub(r"\.layers\.(\d+)\.", lambda m: f".layers.{int(m[1]) + 1}.", name)
        name = name.replace(".proj_in.", ".layers.0.")
        name = name.replace(".proj_out.", f".layers.{last(head[0])}.")
    return name


def config_of(values: Mapping[str, Any]) -> SamConfig:
    """The sizes in a transformers ``SamConfig`` or ``SamHQConfig``.

    Raises ValueError if they are not SAM's.
    """
    vision = {**VISION, **section(values, "vision_config")}
    prompt = {**PROMPT, **section(values, "prompt_encoder_config")}
    decoder = {**DECODER, **section(values, "mask_decoder_config")}
    given = {
        "vision_config": vision,
        "prompt_encoder_config": prompt,
        "mask_decoder_config": decoder,
    }
    same = {
        "prompt_encoder_config": {n: vision[n] for n in ("image_size", "patch_size")}
        | {"hidden_size": vision["output_channels"]},
        "mask_decoder_config": {"hidden_size": vision["output_channels"]},
    }
    is_hq = values.get("model_type") == SAM_HQ
    if is_hq:
        decoder = {"vit_dim": 768, **decoder}
        same["mask_decoder_config"]["vit_dim"] = vision["hidden_size"]
    check_same(given, same)
    encoder = ViTConfig(
        dim=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        global_blocks=as_tuple(vision["global_attn_indexes"]),
        mlp_dim=vision.get("mlp_dim") or mlp_dim(vision["hidden_size"], vision["mlp_ratio"]),
        window=vision["window_size"],
    )
    config = SamConfig(
        encoder,
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        prompt_dim=vision["output_channels"],
        mask_channels=prompt["mask_input_channels"],
        decoder_depth=decoder["num_hidden_layers"],
        decoder_heads=decoder["num_attention_heads"],
        decoder_mlp_dim=decoder["mlp_dim"],
        multimask_outputs=decoder["num_multimask_outputs"],
        iou_head_depth=decoder["iou_head_depth"],
        iou_head_dim=decoder["iou_head_hidden_dim"],
        decoders=(HQDecoderConfig() if is_hq else MaskDecoderConfig(),),
    )
    return named(config)


def check_same(given: Mapping[str, Mapping[str, Any]], same: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that would change the numbers, or contradicts another."""
    for part, fields in given.items():
        for key, value in {**EXPECTED[part], **same.get(part, {})}.items():
            if fields.get(key, value) != value:
                raise ValueError(
                    f"{part}.{key} is {short(fields[key])}; this SAM has {short(value)}"
                )


def section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of the config, which may be left out or null."""
    found = values.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise ValueError(f"{name} is {short(found)}; expected an object")
    return found or {}


def as_tuple(values: Any) -> Any:
    """A list as a tuple; whether it should be one is checked with the other sizes."""
    return tuple(values) if isinstance(values, list) else values


def mlp_dim(width: Any, ratio: Any) -> int:
    wide = type(width) is int and 1 <= width <= MAX_SIZE
    if not wide or type(ratio) not in (int, float) or not 0 < ratio <= MAX_SIZE:
        raise ValueError(
            f"hidden_size is {short(width)}, mlp_ratio {short(ratio)}; expected a whole number and "
            f"a number above 0, to {MAX_SIZE}"
        )
    return int(width * ratio)
