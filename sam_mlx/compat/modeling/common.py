"""``segment_anything.modeling.common``: its names."""

from ..missing import stand_in, unknown

LayerNorm2d = stand_in("LayerNorm2d", "channels come last in MLX: mlx.nn.LayerNorm is the same")
MLPBlock = stand_in("MLPBlock", "sam_mlx.modeling.layers has the same in MLX")
__getattr__ = unknown(__name__)
