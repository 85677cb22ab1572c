"""The original code, importable where torchvision is absent or does not match torch.

``segment_anything`` takes four functions from torchvision. Where the real ones cannot be
imported, the equivalents below take their place for this process. ``timm`` takes more names,
and TinyViT calls none of them.
"""

import re
import sys
import types
from collections.abc import Mapping
from functools import partial
from importlib.machinery import ModuleSpec

import numpy as np
import torch
from PIL import Image

from sam_mlx.config import SamConfig, TinyViTConfig


def import_segment_anything() -> types.ModuleType:
    """The original package; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    try:
        import segment_anything
    except ModuleNotFoundError as error:
        raise ImportError(
            "the original code is needed here: pip install segment-anything==1.0"
        ) from error
    return segment_anything


def import_transformers() -> types.ModuleType:
    """``transformers``; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    try:
        import transformers.utils.import_utils
    except ModuleNotFoundError as error:
        raise ImportError("transformers is needed here: pip install transformers") from error
    if not hasattr(sys.modules["torchvision"], "__version__"):
        # transformers believes the installed package's metadata, not what can be imported.
        for module in (transformers.utils, transformers.utils.import_utils):
            module.is_torchvision_available = lambda: False
    return transformers


def import_tiny_vit() -> types.ModuleType:
    """``timm.models.tiny_vit``; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    present = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "torchvision"}
    stand_in = not hasattr(present["torchvision"], "__version__")
    hollow = {name: _Hollow(name) for name in _TIMM_WANTS} if stand_in else {}
    sys.modules.update(hollow)
    try:
        import timm.models.tiny_vit
    except ModuleNotFoundError as error:
        raise ImportError("timm's TinyViT is needed here: pip install timm==1.0.31") from error
    finally:
        for name in hollow:
            del sys.modules[name]
        sys.modules.update(present)
    return timm.models.tiny_vit


_TIMM_WANTS = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


class _Hollow(types.ModuleType):
    """Has every name, each an empty class: enough to import what is never called."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or _HollowClass(name, (), {})


class _HollowClass(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def ensure_torchvision() -> None:
    """Leave a usable ``torchvision`` in ``sys.modules``: the real one, or a small equivalent."""
    try:
        import torchvision.ops
        import torchvision.transforms.functional  # noqa: F401

        return
    except (ImportError, RuntimeError):  # RuntimeError: built for another torch
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]

    def module(name, **members):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(members, __spec__=ModuleSpec(name, None))
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])

    module("torchvision", __path__=[])
    module("torchvision.ops", __path__=[], batched_nms=batched_nms)
    module("torchvision.ops.boxes", batched_nms=batched_nms, box_area=box_area)
    module("torchvision.transforms", __path__=[])
    module("torchvision.transforms.functional", resize=resize, to_pil_image=to_pil_image)


def to_pil_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Antialiased bilinear resize to ``size`` = (height, width)."""
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Greedy suppression within each category; kept indices by descending score."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes, categories = boxes[order].float(), categories[order]
    area = box_area(boxes)
    keep = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if not keep[i]:
            continue
        low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        inter = (high - low).clamp(min=0).prod(dim=1)
        # Empty boxes give 0/0: NaN compares false, so they stay, as in torchvision.
        overlap = inter / (area[i] + area[i + 1 :] - inter) > iou_threshold
        keep[i + 1 :] &= ~(overlap & (categories[i + 1 :] == categories[i]))
    return order[keep]


def build_meta(config: SamConfig, state: Mapping[str, torch.Tensor] | None = None):
    """Meta's ``Sam`` of these sizes, in eval mode; with random weights unless given some.

    With MobileSAM's encoder where the sizes are TinyViT's; ``state`` then has MobileSAM's names.
    """
    modeling = import_segment_anything().modeling
    tiny = isinstance(config.encoder, TinyViTConfig)
    sam = modeling.Sam(
        TinyViTEncoder(config) if tiny else _build_vit(config),
        modeling.PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(config.grid, config.grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_channels,
        ),
        modeling.MaskDecoder(
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
        ),
        pixel_mean=list(config.pixel_mean),
        pixel_std=list(config.pixel_std),
    ).eval()
    if state is None:
        return fill_zeros(sam)
    if tiny:
        state = to_timm(state)
    for name, tensor in state.items():
        if ".rel_pos_" in name:  # may have another length, which the original interpolates
            owner, _, table = name.rpartition(".")
            setattr(sam.get_submodule(owner), table, torch.nn.Parameter(tensor.float()))
    sam.load_state_dict(state)
    return sam


def _build_vit(config: SamConfig) -> torch.nn.Module:
    vit = config.encoder
    return import_segment_anything().modeling.ImageEncoderViT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=vit.dim,
        depth=vit.depth,
        num_heads=vit.heads,
        mlp_ratio=vit.mlp_dim / vit.dim,
        out_chans=config.prompt_dim,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=vit.window,
        global_attn_indexes=vit.global_blocks,
    )


class TinyViTEncoder(torch.nn.Module):
    """MobileSAM's image encoder: timm's TinyViT without its last downsampling, and SAM's neck."""

    def __init__(self, config: SamConfig):
        super().__init__()
        import_segment_anything()
        from segment_anything.modeling.common import LayerNorm2d

        vit, dim = config.encoder, config.prompt_dim
        self.img_size = config.image_size
        self.backbone = import_tiny_vit().TinyVit(
            num_classes=0,
            embed_dims=vit.dims,
            depths=vit.depths,
            num_heads=(1, *vit.heads),
            window_sizes=(1, *vit.windows),
            mlp_ratio=vit.mlp_ratio,
            mbconv_expand_ratio=vit.mbconv_expand,
        )
        self.backbone.stages[-1].downsample.conv2.conv.stride = (1, 1)
        self.backbone.head = torch.nn.Identity()
        self.neck = torch.nn.Sequential(
            torch.nn.Conv2d(vit.dims[-1], dim, 1, bias=False),
            LayerNorm2d(dim),
            torch.nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            LayerNorm2d(dim),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neck(self.backbone.forward_features(x))


# MobileSAM -> TinyViTEncoder. What ends a stage there begins the next one in timm.
_TO_TIMM = [
    (r"^image_encoder\.(patch_embed|layers)\.", r"image_encoder.backbone.\1."),
    (r"\.patch_embed\.seq\.0\.", ".patch_embed.conv1."),
    (r"\.patch_embed\.seq\.2\.", ".patch_embed.conv2."),
    (r"\.layers\.(\d+)\.downsample\.", lambda m: f".stages.{int(m[1]) + 1}.downsample."),
    (r"\.layers\.(\d+)\.blocks\.", r".stages.\1.blocks."),
    (r"\.c\.weight$", ".conv.weight"),
]


def to_timm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """MobileSAM's tensors as ``TinyViTEncoder`` names them; the unused classifier is dropped."""
    renamed = {}
    for name, tensor in state.items():
        if not name.startswith(("image_encoder.head.", "image_encoder.norm_head.")):
            for pattern, replacement in _TO_TIMM if name.startswith("image_encoder.") else ():
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
    return renamed


@torch.no_grad()
def fill_zeros(model: torch.nn.Module) -> torch.nn.Module:
    """Random values for what PyTorch starts at zero, lest a broken path go unseen."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    return model
