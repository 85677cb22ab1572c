"""Every size of a SAM model, as frozen dataclasses, and the released variants."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class ViTConfig:
    """A plain ViT with windowed and global blocks (ViTDet; SAM paper, appendix A)."""

    type: ClassVar[str] = "vit"
    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]  # indices of the blocks that attend to the whole grid
    mlp_dim: int
    window: int = 14  # cells a side; the last windows are padded (64 -> 70)


@dataclass(frozen=True)
class TinyViTConfig:
    """TinyViT (arXiv 2207.10666): a convolutional stage, then stages of windowed attention."""

    type: ClassVar[str] = "tiny_vit"
    dims: tuple[int, ...]  # channels of each stage
    depths: tuple[int, ...]  # blocks of each stage
    heads: tuple[int, ...]  # of each stage but the first
    windows: tuple[int, ...]  # cells a side, of each stage but the first
    mlp_ratio: int = 4  # hidden channels of an MLP, in multiples of the stage's
    mbconv_expand: int = 4  # the same for the convolutional blocks


@dataclass(frozen=True)
class SamConfig:
    """One SAM model. Defaults are those that all released models share."""

    encoder: ViTConfig | TinyViTConfig
    variant: str = "custom"
    image_size: int = 1024  # pixels; the longest side of every image is resized to it
    patch_size: int = 16  # pixels a side of one embedding cell
    prompt_dim: int = 256  # channels of image embedding, prompt tokens and decoder
    mask_channels: int = 16  # hidden channels of the mask prompt's downscaling
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    multimask_outputs: int = 3  # besides the single mask of unambiguous prompts
    iou_head_depth: int = 3
    iou_head_dim: int = 256
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # RGB, 0..255
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)

    @property
    def grid(self) -> int:
        """Embedding cells a side."""
        return self.image_size // self.patch_size

    @property
    def mask_size(self) -> int:
        """Pixels a side of low-resolution masks and of mask prompts."""
        return 4 * self.grid

    def to_dict(self) -> dict:
        values = {"model_type": MODEL_TYPE, **dataclasses.asdict(self)}
        return {**values, "encoder": {"type": self.encoder.type, **values["encoder"]}}

    @classmethod
    def from_dict(cls, values: dict) -> "SamConfig":
        """Accepts this package's ``config.json`` and Hugging Face's (``model_type: sam``).

        Raises ValueError, naming the field, when the values do not describe a SAM model.
        """
        if not isinstance(values, dict):
            raise ValueError(f"config is {values!r}; expected an object")
        model_type = values.get("model_type")
        if model_type == "sam":
            return _from_hugging_face(values)
        if model_type != MODEL_TYPE:
            raise ValueError(
                f"config has model_type {model_type!r}; expected {MODEL_TYPE!r} (this package) "
                "or 'sam' (Hugging Face). SAM 2, SAM 3 and SAM-HQ are other models"
            )
        values = {k: v for k, v in values.items() if k not in ("model_type", "quantization")}
        encoder = _build_encoder(values.pop("encoder", None))
        return _build(cls, {**values, "encoder": encoder}, "config")


MODEL_TYPE = "sam_mlx"

_SIZES = {  # dim, depth, heads, global blocks
    "vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}
VARIANTS: dict[str, SamConfig] = {
    name: SamConfig(ViTConfig(*size, mlp_dim=4 * size[0]), variant=name)
    for name, size in _SIZES.items()
}
VARIANTS["vit_t"] = SamConfig(
    TinyViTConfig(
        dims=(64, 128, 160, 320), depths=(2, 2, 6, 2), heads=(4, 5, 10), windows=(7, 14, 7)
    ),
    variant="vit_t",
)

# Ships with the package: trained from scratch on drawn scenes, see examples/nano.
VARIANTS["nano"] = SamConfig(
    ViTConfig(dim=128, depth=6, heads=4, global_blocks=(2, 4), mlp_dim=384, window=7),
    variant="nano",
    image_size=320,
    patch_size=8,
    prompt_dim=128,
    decoder_heads=4,
    decoder_mlp_dim=176,
    iou_head_dim=128,
)


def _build_encoder(values: object) -> ViTConfig | TinyViTConfig:
    kinds = {kind.type: kind for kind in (ViTConfig, TinyViTConfig)}
    if not isinstance(values, dict) or values.get("type", "vit") not in kinds:
        raise ValueError(f"encoder is {values!r}; expected an object with type {list(kinds)}")
    values = dict(values)
    return _build(kinds[values.pop("type", "vit")], values, "encoder")


def _build(kind: type, values: object, where: str):
    if not isinstance(values, dict):
        raise ValueError(f"{where} is {values!r}; expected an object with the model's sizes")
    known = {f.name: f for f in dataclasses.fields(kind)}
    required = {f.name for f in known.values() if f.default is dataclasses.MISSING}
    unknown, missing = sorted(values.keys() - known), sorted(required - values.keys())
    if unknown or missing:
        raise ValueError(f"{where} does not fit: unknown fields {unknown}, missing {missing}")
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return kind(**{**values, **tuples})


def _from_hugging_face(values: dict) -> SamConfig:
    """Sizes of a transformers ``SamConfig``; absent fields have the library's defaults."""
    vision = {**_HF_VISION, **(values.get("vision_config") or {})}
    prompt = {**_HF_PROMPT, **(values.get("prompt_encoder_config") or {})}
    decoder = {**_HF_DECODER, **(values.get("mask_decoder_config") or {})}
    expected = {"hidden_act": "gelu", "use_rel_pos": True, "use_abs_pos": True, "qkv_bias": True}
    for key, value in expected.items():
        if vision.get(key, value) != value:
            raise ValueError(f"vision_config.{key} is {vision[key]!r}; SAM has {value!r}")
    encoder = ViTConfig(
        dim=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        global_blocks=tuple(vision["global_attn_indexes"]),
        mlp_dim=vision.get("mlp_dim") or int(vision["hidden_size"] * vision["mlp_ratio"]),
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
    )
    return named(config)


_HF_VISION = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "mlp_ratio": 4.0,
    "global_attn_indexes": (2, 5, 8, 11), "window_size": 14, "image_size": 1024,
    "patch_size": 16, "output_channels": 256,
}  # fmt: skip
_HF_PROMPT = {"mask_input_channels": 16}
_HF_DECODER = {
    "num_hidden_layers": 2, "num_attention_heads": 8, "mlp_dim": 2048,
    "num_multimask_outputs": 3, "iou_head_depth": 3, "iou_head_hidden_dim": 256,
}  # fmt: skip


def named(config: SamConfig) -> SamConfig:
    """The same sizes, with the name of the released variant that has them, if any."""
    for variant in VARIANTS.values():
        if dataclasses.replace(config, variant=variant.variant) == variant:
            return variant
    return config


def load_config(path: Path) -> SamConfig:
    """Read ``config.json``. Raises ValueError with the file's name when it is not SAM's."""
    try:
        return SamConfig.from_dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error
