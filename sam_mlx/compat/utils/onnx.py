"""``segment_anything.utils.onnx``: its name."""

from ..missing import stand_in, unknown

SamOnnxModel = stand_in(
    "SamOnnxModel",
    "sam_mlx writes MLX's own graphs: sam-mlx export MODEL FOLDER. For ONNX use Meta's package",
)
__getattr__ = unknown(__name__)
