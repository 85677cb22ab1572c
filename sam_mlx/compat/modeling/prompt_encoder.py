"""``segment_anything.modeling.prompt_encoder``."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from ...modeling.prompt_encoder import BACKGROUND, FOREGROUND, NOT_A_POINT
from ..missing import stand_in, unknown
from ..tensors import at_work, channels_first, to_mlx, to_numpy, to_tensor
from .part import Part

Points = tuple[Any, Any] | None  # coordinates (B, N, 2) and labels (B, N)


class PromptEncoder(Part):
    prefix = "prompt_encoder."
    num_point_embeddings = 4

    @property
    def embed_dim(self) -> int:
        return self.sam.mlx.config.prompt_dim

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        return (self.sam.mlx.config.grid,) * 2

    @property
    def input_image_size(self) -> tuple[int, int]:
        return (self.sam.mlx.config.image_size,) * 2

    @property
    def mask_input_size(self) -> tuple[int, int]:
        return (self.sam.mlx.config.mask_size,) * 2

    @at_work
    def get_dense_pe(self) -> Any:
        """The positional encoding of the image embedding's cells, (1, C, G, G)."""
        return channels_first(self.sam.mlx.prompt_encoder.get_dense_pe(), self.device)

    def forward(self, points: Points = None, boxes: Any = None, masks: Any = None) -> Any:
        """Prompts in the input frame to tokens (B, N', C) and a dense embedding (B, C, G, G).

        points: (B, N, 2) and (B, N); boxes: (B, 4) or (B, 1, 4); masks: (B, 1, 4G, 4G).
        """
        sparse, dense = self.embed(points, boxes, masks)
        B = self.batch_size(points, boxes, masks) if masks is None else len(dense)
        dense_tensor = channels_first(dense, self.device).expand(B, -1, *self.image_embedding_size)
        return to_tensor(sparse, self.device), dense_tensor

    @staticmethod
    def batch_size(points: Points, boxes: Any, masks: Any) -> int:
        given = [part for part in (points and points[0], boxes, masks) if part is not None]
        return len(given[0]) if given else 1

    def embed(self, points: Points, boxes: Any, masks: Any) -> tuple[mx.array, mx.array]:
        """Tokens (B, N', C), and (B, G, G, C), or (1, 1, 1, C) without masks."""
        B = self.batch_size(points, boxes, masks)
        sparse = self._tokens(points, None if boxes is None else _flat(to_mlx(boxes), B))
        if len(sparse) != B:  # mask prompts alone
            sparse = mx.broadcast_to(sparse, (B, *sparse.shape[1:]))
        return sparse, self.sam.mlx.prompt_encoder.embed_masks(
            None if masks is None else to_mlx(masks)
        )

    def _tokens(self, points: Points, boxes: mx.array | None) -> mx.array:
        """What PyTorch takes of labels is taken: others than -1, 0 and 1 add nothing."""
        encoder = self.sam.mlx.prompt_encoder
        if points is None:
            return encoder.embed_tokens(*encoder.tokens(None, boxes))[0]
        labels = to_numpy(points[1])
        is_known = np.isin(labels, (NOT_A_POINT, BACKGROUND, FOREGROUND))
        known = np.where(is_known, labels, FOREGROUND).astype(np.int32)
        coords, table = encoder.tokens((to_mlx(points[0]), mx.array(known)), boxes)
        sparse, _ = encoder.embed_tokens(coords, table)
        if is_known.all():
            return sparse
        N = labels.shape[1]
        bare = encoder.pe_layer((coords[:, :N] + 0.5) / encoder.image_size)
        named = mx.where(mx.array(is_known)[..., None], sparse[:, :N], bare)
        return mx.concatenate([named.astype(sparse.dtype), sparse[:, N:]], axis=1)


def _flat(boxes: mx.array, B: int) -> mx.array:
    """Boxes (B, 4) or (B, 1, 4) as (B, 4)."""
    if boxes.size != 4 * B:
        raise ValueError(f"boxes have shape {boxes.shape}; expected ({B}, 4), one for each prompt")
    return boxes.reshape(B, 4)


PositionEmbeddingRandom = stand_in(
    "PositionEmbeddingRandom", "sam_mlx.modeling.prompt_encoder has the same in MLX"
)
__getattr__ = unknown(__name__)
