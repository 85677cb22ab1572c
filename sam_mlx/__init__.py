"""Segment Anything, natively in MLX."""

from .machine import mac, linux  # noqa: F401, I001  before anything imports mlx.core

from .automatic.generator import SamAutomaticMaskGenerator
from .automatic.predictions import MaskPredictions
from .embedding import ImageEmbedding
from .instances.segmenter import InstanceSegmenter
from .machine.budget import set_memory_limit
from .overlay import show
from .predictor import SamPredictor
from .sam import Sam, sam_model_registry

__version__ = "0.2.0"

__all__ = [
    "ImageEmbedding",
    "InstanceSegmenter",
    "MaskPredictions",
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "sam_model_registry",
    "set_memory_limit",
    "show",
]
