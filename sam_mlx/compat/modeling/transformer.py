"""``segment_anything.modeling.transformer``: its names."""

from ..missing import stand_in, unknown

INSTEAD = "sam_mlx.modeling.transformer has the same in MLX"
Attention = stand_in("Attention", INSTEAD)
TwoWayAttentionBlock = stand_in("TwoWayAttentionBlock", INSTEAD)
TwoWayTransformer = stand_in("TwoWayTransformer", INSTEAD)
__getattr__ = unknown(__name__)
