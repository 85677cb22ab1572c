"""Segment Anything, natively in MLX."""

from . import _linux  # noqa: F401  before anything imports mlx.core
from .automatic_mask_generator import MaskPredictions, SamAutomaticMaskGenerator
from .loading import sam_model_registry
from .modeling.sam import Sam
from .predictor import ImageEmbedding, SamPredictor

__all__ = [
    "ImageEmbedding",
    "MaskPredictions",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "sam_model_registry",
]
