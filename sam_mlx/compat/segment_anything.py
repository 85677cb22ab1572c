"""``segment_anything`` itself, and ``mobile_sam``: what clients import."""

from .automatic_mask_generator import SamAutomaticMaskGenerator
from .build_sam import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from .missing import unknown
from .predictor import SamPredictor

__all__ = [
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]
__path__: list[str] = []  # a package; ``install`` puts its modules into sys.modules
__getattr__ = unknown(__name__)
