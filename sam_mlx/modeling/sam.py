"""The whole model: image encoder, prompt encoder, mask decoder."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig, TinyViTConfig
from .image_encoder import ImageEncoderViT
from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptEncoder
from .tiny_vit import TinyViT


class Sam(nn.Module):
    """Segment Anything. Pure: ``SamPredictor`` is what remembers an image."""

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, config: SamConfig):
        super().__init__()
        self.config = config
        tiny = isinstance(config.encoder, TinyViTConfig)
        self.image_encoder = TinyViT(config) if tiny else ImageEncoderViT(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    @property
    def dtype(self) -> mx.Dtype:
        """The precision of weights and activations."""
        return self.prompt_encoder.dtype

    def encode_image(self, images: mx.array) -> mx.array:
        """Embed images that ``transforms.preprocess`` has prepared.

        images: (B, S, S, 3), normalised and padded, S = ``config.image_size``.
        Returns (B, G, G, C), G = ``config.grid``, C = ``config.prompt_dim``.
        """
        size = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"images have shape {images.shape}; expected (B, {size}, {size}, 3): "
                "prepare them with transforms.preprocess"
            )
        return self.image_encoder(images.astype(self.dtype))

    def predict_masks(
        self,
        image_embedding: mx.array,
        points: tuple[mx.array, mx.array] | None = None,
        boxes: mx.array | None = None,
        masks: mx.array | None = None,
        multimask_output: bool = True,
        image_pe: mx.array | None = None,
    ) -> tuple[mx.array, mx.array]:
        """Masks for B prompts on one image, given in the model's input frame.

        image_embedding: (1, G, G, C). points: coordinates (B, N, 2) as x, y in pixels of the
        input frame, and labels (B, N): 1 foreground, 0 background, -1 not a point, -2 an empty
        slot, which changes nothing. boxes: (B, 4) as x0, y0, x1, y1. masks: (B, 1, 4G, 4G)
        logits of an earlier prediction. Without any prompt B is 1. Memory grows by 40 MB a prompt
        in ViT-B: see ``predictor.predict_in_parts``. image_pe: ``prompt_encoder.get_dense_pe()``
        where it is at hand.

        Returns logits (B, M, 4G, 4G), M = 3 or 1, and predicted IoU (B, M).
        """
        prompts = [p for p in (points and points[0], boxes, masks) if p is not None]
        sizes = {len(p) for p in prompts} or {1}
        if len(sizes) > 1:
            raise ValueError(f"prompts have different batch sizes {sorted(sizes)}")
        B = sizes.pop()
        sparse, valid, dense = self.prompt_encoder(points, boxes, masks)
        if len(sparse) != B:  # mask prompts alone
            sparse = mx.broadcast_to(sparse, (B, *sparse.shape[1:]))
            valid = mx.broadcast_to(valid, (B, valid.shape[1]))
        return self.mask_decoder(
            image_embedding.astype(self.dtype),
            self.prompt_encoder.get_dense_pe() if image_pe is None else image_pe,
            sparse,
            valid,
            dense,
            multimask_output,
        )

    @classmethod
    def from_pretrained(cls, path_or_repo: str | Path, **options) -> Sam:
        """See ``sam_mlx.loading.from_pretrained``."""
        from ..loading import from_pretrained

        return from_pretrained(path_or_repo, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """See ``sam_mlx.loading.save_pretrained``."""
        from ..loading import save_pretrained

        save_pretrained(self, folder)
