"""Meta's own code, importable where torchvision is absent or does not match torch.

``segment_anything`` takes four functions from torchvision. Where the real ones cannot be
imported, the equivalents below take their place for this process.
"""

import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import torch
from PIL import Image


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
