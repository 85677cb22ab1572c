"""``segment_anything_hq`` itself: what clients of SAM-HQ import."""

from .hq.automatic_mask_generator import SamAutomaticMaskGenerator
from .hq.build_sam import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    sam_model_registry,
    sam_model_registry_baseline,
)
from .hq.predictor import SamPredictor
from .missing import unknown

__all__ = [
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "sam_model_registry",
    "sam_model_registry_baseline",
]
__path__: list[str] = []  # a package; ``install`` puts its modules into sys.modules
__getattr__ = unknown(__name__, "segment_anything_hq 0.3")
