"""Every size of a SAM model, as frozen dataclasses, and their check."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .messages import MAX_NAME, short

# Beyond any model; they bound what a file can request.
MAX_SIZE, MAX_BLOCKS, MAX_MASKS = 1 << 16, 1 << 8, 1 << 5
MAX_PIXEL, MIN_STD = 1 << 16, 1e-4  # of means and deviations: in half precision, too, finite
MODEL_TYPE = "sam_mlx"  # the name of this package's format in config.json
THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh")  # fields, and options of a search

# Ways of preprocessing; SAM's own come first.
CHOICES = {
    "resize": ("longest", "square"),
    "resample": ("bilinear", "bicubic"),
    "pixel_range": ("bytes", "minmax"),
}


@dataclass(frozen=True)
class MaskDecoderConfig:
    """SAM's own mask decoder. It has no sizes beyond those of ``SamConfig``."""

    type: ClassVar[str] = "sam"


@dataclass(frozen=True)
class SamConfig:
    """One SAM model. Defaults are those that all released models share."""

    encoder: Any  # the sizes of a registered encoder
    variant: str = "custom"
    image_size: int = 1024  # pixels; the longer side of every image is resized to it
    patch_size: int = 16  # pixels a side of one embedding cell
    prompt_dim: int = 256  # channels of image embedding, prompt tokens and decoder
    mask_channels: int = 16  # hidden channels in the downscaling of mask prompts
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    multimask_outputs: int = 3  # besides the single mask for unambiguous prompts
    iou_head_depth: int = 3
    iou_head_dim: int = 256
    resize: str = "longest"  # side to image_size, the rest padded; "square": both sides
    resample: str = "bilinear"  # the filter for resizing
    pixel_range: str = "bytes"  # 0..255; "minmax": each picture is stretched to 0..1
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # RGB, in pixel_range
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
    decoders: tuple[Any, ...] = (MaskDecoderConfig(),)  # the sizes of registered decoders
    # What is black and white in pictures of more than 8 bits, where a call does not say; None: by
    # the rule of ``load_image``.
    value_range: tuple[float, float] | None = None
    # Thresholds of automatic masks, where a call does not give them; None: the variant's.
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {short(getattr(self, name))}; expected one of {choices}"
                )

    @property
    def grid(self) -> int:
        """Embedding cells a side."""
        return self.image_size // self.patch_size

    @property
    def mask_size(self) -> int:
        """Pixels a side of low-resolution masks and of mask prompts."""
        return 4 * self.grid

    def to_dict(self) -> dict[str, Any]:
        """The content of ``config.json``; ``registry.config_of`` is the inverse."""
        values = {"model_type": MODEL_TYPE, **dataclasses.asdict(self)}
        values["encoder"] = _with_type(self.encoder)
        values["decoders"] = [_with_type(sizes) for sizes in self.decoders]
        # SAM's own are left out, so files stay as they were before these fields existed.
        usual: dict[str, Any] = {name: choices[0] for name, choices in CHOICES.items()}
        usual |= {"decoders": [_with_type(MaskDecoderConfig())], "value_range": None}
        usual |= dict.fromkeys(THRESHOLDS)
        return {k: v for k, v in values.items() if k not in usual or v != usual[k]}


def _with_type(sizes: Any) -> dict[str, Any]:
    return {"type": sizes.type, **dataclasses.asdict(sizes)}


# Named ways to prepare pictures.
PREPROCESSING: dict[str, dict[str, Any]] = {
    "sam": {n: getattr(SamConfig, n) for n in (*CHOICES, "pixel_mean", "pixel_std")},
    # https://github.com/bowang-lab/MedSAM, MedSAM_Inference.py
    "medsam": {
        "resize": "square",
        "resample": "bicubic",
        "pixel_range": "minmax",
        "pixel_mean": (0.0, 0.0, 0.0),
        "pixel_std": (1.0, 1.0, 1.0),
    },
    # https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM, CVPR24_LiteMedSAM_infer.py; its pictures
    # are averaged over areas, which the bilinear filter is close to.
    "litemedsam": {
        "resize": "longest",
        "resample": "bilinear",
        "pixel_range": "minmax",
        "pixel_mean": (0.0, 0.0, 0.0),
        "pixel_std": (1.0, 1.0, 1.0),
        "image_size": 256,  # unless another is asked for
    },
}


def check(config: SamConfig) -> SamConfig:
    """The config, if all its sizes are valid. Raises ValueError naming all that are not."""
    parts = (config.encoder, *config.decoders)
    problems = [
        problem
        for sizes in (config, *parts)
        for f in dataclasses.fields(sizes)
        if (problem := _problem(f, getattr(sizes, f.name)))
    ]
    if not problems:
        problems = [*_misfits(config)]
        for sizes in parts:
            problems += getattr(sizes, "misfits", list)()
    if problems:
        raise ValueError("; ".join(problems))
    return config


def _problem(f: dataclasses.Field[Any], value: Any) -> str | None:
    """The problem with the value of a field, if any."""
    found = short(value)
    if f.name in ("pixel_mean", "pixel_std"):
        low = -MAX_PIXEL if f.name == "pixel_mean" else MIN_STD
        fits = isinstance(value, tuple) and len(value) == 3
        fits = fits and all(type(x) in (int, float) and low <= x <= MAX_PIXEL for x in value)
        kind = "numbers" if f.name == "pixel_mean" else "positive numbers"
        return None if fits else f"{f.name} is {found}; expected three {kind}, {low} to {MAX_PIXEL}"
    is_name = isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()
    if f.name == "variant" and not is_name:
        return f"variant is {found}; expected a name of at most {MAX_NAME} printable characters"
    if "int" not in str(f.type):
        return None
    several = str(f.type).startswith("tuple")
    low, high = int(f.name != "global_blocks"), MAX_BLOCKS if "depth" in f.name else MAX_SIZE
    high = MAX_MASKS if f.name == "multimask_outputs" else high
    values = value if several and isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) == several and all(
        type(n) is int and low <= n <= high for n in values
    ):
        return None
    kind = "whole numbers" if several else "a whole number"
    return f"{f.name} is {found}; expected {kind} from {low} to {high}"


def _misfits(config: SamConfig) -> Iterator[str]:
    """Sizes that do not fit together."""
    if config.image_size % config.patch_size:
        yield f"image_size {config.image_size} is not a multiple of patch_size {config.patch_size}"
    if not _is_range(config.value_range):
        yield (
            f"value_range is {short(config.value_range)}; expected two finite numbers, the lower "
            "one first"
        )
    for name in THRESHOLDS:
        if not _is_share(value := getattr(config, name)):
            yield f"{name} is {short(value)}; expected a number from 0 to 1"
    inner = config.prompt_dim // 2  # of the attentions between tokens and image
    if config.prompt_dim % 8 or inner % config.decoder_heads:
        yield f"prompt_dim {config.prompt_dim} cannot be divided among {config.decoder_heads} heads"


def _is_range(value: Any) -> bool:
    if value is None:
        return True
    fits = isinstance(value, tuple) and len(value) == 2
    fits = fits and all(type(x) in (int, float) and math.isfinite(x) for x in value)
    return fits and bool(value[0] < value[1])


def _is_share(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)


def build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass from values in a file. Raises ValueError for unknown or missing fields."""
    known = {f.name: f for f in dataclasses.fields(kind)}
    required = {f.name for f in known.values() if f.default is dataclasses.MISSING}
    unknown, missing = sorted(values.keys() - known), sorted(required - values.keys())
    if unknown or missing:
        raise ValueError(
            f"{where} does not fit: unknown fields {short(unknown)}, missing {missing}"
        )
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    return kind(**{**values, **tuples})
