"""``segment_anything.modeling.mask_decoder``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from ...decoding import in_parts, no_answers
from ...registry import IMAGE_EMBEDDING, Features, mask_decoder_of
from ..missing import stand_in, unknown
from ..tensors import at_work, channels_last, to_mlx, to_tensor
from .part import Part


class MaskDecoder(Part):
    prefix = "mask_decoder."

    @property
    def transformer_dim(self) -> int:
        return self.sam.mlx.config.prompt_dim

    @property
    def num_multimask_outputs(self) -> int:
        return self.sam.mlx.config.multimask_outputs

    @property
    def num_mask_tokens(self) -> int:
        return self.num_multimask_outputs + 1

    def forward(
        self,
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: Any,
        dense_prompt_embeddings: Any,
        multimask_output: bool,
    ) -> tuple[Any, Any]:
        """Mask logits (B, M, 4G, 4G) and predicted IoU (B, M), M = 3 or 1.

        image_embeddings, image_pe: (1, C, G, G); sparse_prompt_embeddings: (B, N, C);
        dense_prompt_embeddings: (B, C, G, G).
        """
        wanted = bool(multimask_output)
        return self._forward(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, wanted
        )

    def predict_masks(
        self,
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: Any,
        dense_prompt_embeddings: Any,
    ) -> tuple[Any, Any]:
        """``forward`` with all four masks, the single one first."""
        return self._forward(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, None
        )

    @at_work
    def _forward(self, image: Any, pe: Any, sparse: Any, dense: Any, wanted: bool | None) -> Any:
        dtype = self.sam.mlx.dtype
        logits, iou = self.decode(
            {IMAGE_EMBEDDING: channels_last(image, dtype)},
            channels_last(pe, dtype)[:1],
            to_mlx(sparse, dtype),
            channels_last(dense, dtype),
            wanted,
        )
        return to_tensor(logits, self.device), to_tensor(iou, self.device)

    def decode(
        self,
        features: Features,
        image_pe: mx.array,
        sparse: mx.array,
        dense: mx.array,
        wanted: bool | None,
        decoder: Callable[..., tuple[mx.array, mx.array]] | None = None,
    ) -> tuple[mx.array, mx.array]:
        """The same on arrays, channels last, evaluated a few prompts at a time.

        What has one entry goes with each prompt. ``dense`` may be (1, 1, 1, C). wanted: the three
        masks, the single one, or with None all. decoder: called instead of the model's.
        """
        decoder = decoder or self.sam.mlx.mask_decoder
        kind = mask_decoder_of(self.sam.mlx.config)
        sizes = {len(x) for x in (*features.values(), sparse, dense)} - {1} or {1}
        if len(sizes) > 1:
            raise ValueError(f"embeddings of images and prompts differ in number: {sorted(sizes)}")
        (B,) = sizes
        if B == 0:
            return no_answers(self.sam.mlx.config, kind.masks(self.sam.mlx.config, wanted))
        sparse = mx.broadcast_to(sparse, (B, *sparse.shape[1:]))
        valid = mx.ones(sparse.shape[:2], dtype=mx.bool_)

        def answer(part: slice) -> tuple[mx.array, mx.array]:
            pictures = {name: x if len(x) == 1 else x[part] for name, x in features.items()}
            masks = dense if len(dense) == 1 else dense[part]
            return decoder(pictures, image_pe, sparse[part], valid[part], masks, wanted)

        return in_parts(answer, B, kind.bytes_per_value * features[IMAGE_EMBEDDING][:1].size)


MLP = stand_in("MLP", "sam_mlx.modeling.mask_decoder has the same in MLX")
__getattr__ = unknown(__name__)
