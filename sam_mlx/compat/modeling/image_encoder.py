"""``segment_anything.modeling.image_encoder``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx

from ...machine.streams import clear_cache, stepwise
from ...machine.worker import long_work
from ...modeling.layers import weights_of
from ..missing import stand_in, unknown
from ..tensors import channels_first, channels_last
from .part import Part


class Layer:
    """A layer of the encoder's, of which clients learn the numbers of channels, and no more."""

    def __init__(self, name: str, in_channels: int | None, out_channels: int | None):
        self.name, self.in_channels, self.out_channels = name, in_channels, out_channels

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{self.name} has no {name}: the layers are MLX's. A program that rebuilds the encoder "
            "from its layers, as Cellpose does, needs Meta's package: run it without sam_mlx.compat"
        )


class ImageEncoderViT(Part):
    prefix = "image_encoder."

    @property
    def img_size(self) -> int:
        """Pixels a side of the model's input."""
        return self.sam.mlx.config.image_size

    @property
    def patch_embed(self) -> Any:
        """The first layer, whose channels clients ask for: ``proj``, or ``seq[0].c`` of TinyViT."""
        weights = {n: w for n, w in weights_of(self.sam.mlx.image_encoder).items() if w.ndim == 4}
        for name in ("proj", "seq.0.c"):
            if (kernel := weights.get(f"patch_embed.{name}.weight")) is not None:
                layer = Layer(f"patch_embed.{name}", kernel.shape[-1], kernel.shape[0])
                return (
                    SimpleNamespace(proj=layer)
                    if name == "proj"
                    else SimpleNamespace(seq=[SimpleNamespace(c=layer)])
                )
        raise AttributeError("the image encoder has no patch_embed")

    @property
    def neck(self) -> list[Layer]:
        """The last four layers; only the convolutions have channels."""
        conv1, _, conv2, _ = self.sam.mlx.image_encoder.neck
        shapes = conv1.weight.shape, None, conv2.weight.shape, None
        return [
            Layer(f"neck[{i}]", *((shape[-1], shape[0]) if shape else (None, None)))
            for i, shape in enumerate(shapes)
        ]

    def forward(self, x: Any) -> Any:
        """Prepared images (B, 3, S, S) to embeddings (B, C, G, G)."""
        return channels_first(self.encode(channels_last(x)), self.device)

    @long_work
    def encode(self, images: mx.array) -> mx.array:
        """(B, S, S, 3) to (B, G, G, C), evaluated."""
        with stepwise():
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
