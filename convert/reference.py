"""The original code, importable where torchvision is absent or does not match torch.

``segment_anything`` takes four functions from torchvision. Where the real ones cannot be
imported, the equivalents below take their place for this process. ``timm`` imports more names,
but TinyViT calls none of them.
"""

import sys
import types
import warnings
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import torch
from PIL import Image


def import_segment_anything() -> Any:
    """The original package; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    try:
        import segment_anything
    except ModuleNotFoundError as error:
        raise ImportError(
            "the original code is needed here: pip install segment-anything==1.0"
        ) from error
    return segment_anything


def import_segment_anything_hq() -> Any:
    """SysCV's package; raises ImportError with the install command when it is missing."""
    import_tiny_vit()  # it imports timm, which must find torchvision
    try:
        with warnings.catch_warnings():  # it replaces timm's models by its own
            warnings.simplefilter("ignore")
            import segment_anything_hq
    except ModuleNotFoundError as error:
        raise ImportError(
            "SAM-HQ's original is needed here: pip install --no-deps segment-anything-hq==0.3"
        ) from error
    return segment_anything_hq


def import_transformers() -> Any:
    """``transformers``; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    try:
        import transformers.utils.import_utils
    except ModuleNotFoundError as error:
        raise ImportError("transformers is needed here: pip install transformers") from error
    if not hasattr(sys.modules["torchvision"], "__version__"):
        # transformers trusts the installed package's metadata, not what can be imported.
        for module in (transformers.utils, transformers.utils.import_utils):
            vars(module)["is_torchvision_available"] = lambda: False
    return transformers


def import_peft() -> Any:
    """``peft``; raises ImportError with the install command when it is missing."""
    import_transformers()
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ImportError("peft is needed here: pip install peft") from error
    return peft


def import_tiny_vit() -> Any:
    """``timm.models.tiny_vit``; raises ImportError with the install command when it is missing."""
    ensure_torchvision()
    present = {n: m for n, m in sys.modules.items() if n.split(".")[0] == "torchvision"}
    stand_in = not hasattr(present["torchvision"], "__version__")
    hollow = {name: Hollow(name) for name in _TIMM_WANTS} if stand_in else {}
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


class Hollow(types.ModuleType):
    """A module with every name, each an empty class: enough to import what is never called."""

    __path__ = ()  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
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

    def module(name: str, **members: Any) -> None:
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
