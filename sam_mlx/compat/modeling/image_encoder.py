"""``segment_anything.modeling.image_encoder``."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from ...machine.streams import clear_cache
from ...machine.worker import long_work
from ..missing import stand_in, unknown
from ..tensors import channels_first, channels_last
from .part import Part


class ImageEncoderViT(Part):
    prefix = "image_encoder."

    @property
    def img_size(self) -> int:
        """Pixels a side of the model's input."""
        return self.sam.mlx.config.image_size

    def forward(self, x: Any) -> Any:
        """Prepared images (B, 3, S, S) to embeddings (B, C, G, G)."""
        return channels_first(self.encode(channels_last(x)), self.device)

    @long_work
    def encode(self, images: mx.array) -> mx.array:
        """(B, S, S, 3) to (B, G, G, C), evaluated."""
        features = self.sam.mlx.encode_image(images)
        mx.eval(features)
        clear_cache()  # the encoder's temporaries
        return features


INSTEAD = "sam_mlx.modeling.image_encoder has the same in MLX"
Attention = stand_in("Attention", INSTEAD)
Block = stand_in("Block", INSTEAD)
PatchEmbed = stand_in("PatchEmbed", INSTEAD)
add_decomposed_rel_pos = stand_in("add_decomposed_rel_pos", INSTEAD)
get_rel_pos = stand_in("get_rel_pos", INSTEAD)
window_partition = stand_in("window_partition", INSTEAD)
window_unpartition = stand_in("window_unpartition", INSTEAD)
__getattr__ = unknown(__name__)
