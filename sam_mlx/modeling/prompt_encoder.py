"""Points, boxes and masks as tokens and image-sized embeddings (SAM paper, section 3)."""

import math
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..arrays import TRACED
from ..config import SamConfig
from .layers import conv_as_matmul
from .ops import gelu

# Point labels. EMPTY is this package's own: such a slot is masked out of all attention.
EMPTY, NOT_A_POINT, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = range(-2, 4)


class PositionEmbeddingRandom(nn.Module):
    """Sines and cosines of random projections of coordinates (Tancik et al. 2020)."""

    def __init__(self, features: int):
        super().__init__()
        self.positional_encoding_gaussian_matrix = mx.random.normal((2, features))

    def __call__(self, coords: mx.array) -> mx.array:
        """coords: (..., 2) as x, y in [0, 1]; returns (..., 2 * features) in float32."""
        coords = 2 * coords - 1
        # Not a matmul: for two terms it is not faster, and TF32 units would round.
        fx, fy = self.frequencies
        angles = 2 * math.pi * (coords[..., :1] * fx + coords[..., 1:] * fy)
        return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)

    @property
    def frequencies(self) -> mx.array:
        """(2, features) in float32: half precision would err by a hundredth of a radian."""
        return self.positional_encoding_gaussian_matrix.astype(mx.float32)

    def grid(self, size: int) -> mx.array:
        """The encoding of every cell centre of a square grid: (size, size, 2 * features).

        As sin(x + y) = sin x cos y + cos x sin y, and cos likewise, only the sines along two sides
        are computed.
        """
        centres = 2 * (mx.arange(size) + 0.5) / size - 1
        x, y = 2 * math.pi * centres[:, None] * self.frequencies[:, None]  # (size, features) each
        x, y = x[None], y[:, None]
        sin = mx.sin(x) * mx.cos(y) + mx.cos(x) * mx.sin(y)
        cos = mx.cos(x) * mx.cos(y) - mx.sin(x) * mx.sin(y)
        return mx.concatenate([sin, cos], axis=-1)


def check_labels(labels: mx.array) -> None:
    """Raise ValueError for other labels than those of points, unless MLX traces a function, in
    which they are not known.
    """
    try:
        values = np.array(labels.astype(mx.float32))
    except ValueError as error:
        if TRACED in str(error):
            return
        raise
    if not np.isin(values, (EMPTY, NOT_A_POINT, BACKGROUND, FOREGROUND)).all():
        held = ", ".join(f"{label:g}" for label in np.unique(values)[:9])
        raise ValueError(
            f"labels hold {held}; expected 1 (foreground), "
            "0 (background), -1 (not a point) or -2 (an empty slot)"
        )


@dataclass(frozen=True)
class Kept:
    """A dense positional encoding, and the matrix that it was made of."""

    matrix: mx.array
    dense_pe: mx.array


class PromptEncoder(nn.Module):
    """Points, boxes and masks to tokens and to a grid that is added to the embedding
    (original: ``prompt_encoder.PromptEncoder``).
    """

    def __init__(self, config: SamConfig):
        super().__init__()
        dim, hidden = config.prompt_dim, config.mask_channels
        self.image_size = config.image_size
        self.image_embedding_size = config.grid
        self.pe_layer = PositionEmbeddingRandom(dim // 2)
        self.point_embeddings = [nn.Embedding(1, dim) for _ in range(4)]
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling: list[Any] = [
            nn.Conv2d(1, hidden // 4, 2, stride=2),
            nn.LayerNorm(hidden // 4, eps=1e-6),
            gelu,
            nn.Conv2d(hidden // 4, hidden, 2, stride=2),
            nn.LayerNorm(hidden, eps=1e-6),
            gelu,
            nn.Conv2d(hidden, dim, 1),
        ]
        self.no_mask_embed = nn.Embedding(1, dim)
        self._kept: Kept | None = None

    def get_dense_pe(self) -> mx.array:
        """The positional encoding of the image embedding's cells: (1, G, G, C)."""
        return self.pe_layer.grid(self.image_embedding_size)[None].astype(self.dtype)

    def kept_dense_pe(self) -> mx.array:
        """``get_dense_pe``, computed once for these weights: for one click it is a twentieth of all
        that is computed.
        """
        matrix, kept = self.pe_layer.positional_encoding_gaussian_matrix, self._kept
        if kept is None or kept.matrix is not matrix or kept.dense_pe.dtype != self.dtype:
            kept = self._kept = Kept(matrix, self.get_dense_pe())
            mx.eval(kept.dense_pe)  # it must outlive this thread
        return kept.dense_pe

    @property
    def dtype(self) -> mx.Dtype:
        """The type of the weights."""
        return self.no_mask_embed.weight.dtype

    def __call__(
        self,
        points: tuple[mx.array, mx.array] | None = None,
        boxes: mx.array | None = None,
        masks: mx.array | None = None,
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Embed prompts given in the model's input frame.

        points: coordinates (B, N, 2) as x, y pixels, and labels (B, N): 1 foreground,
        0 background, -1 not a point, -2 empty slot; boxes: (B, 4) as x0, y0, x1, y1 pixels;
        masks: logits (B, 1, 4G, 4G).
        Returns tokens (B, N', C), which of them are real (B, N'), and the dense embedding,
        (B, G, G, C), or (1, 1, 1, C) when there are no masks. Raises ValueError for another label.
        """
        if points is not None:
            check_labels(points[1])
        return self.embed(points, boxes, masks)

    def embed(
        self,
        points: tuple[mx.array, mx.array] | None,
        boxes: mx.array | None,
        masks: mx.array | None,
    ) -> tuple[mx.array, mx.array, mx.array]:
        """The same for labels already checked: it copies none to the host."""
        sparse, valid = self.embed_tokens(*self.tokens(points, boxes))
        return sparse, valid, self.embed_masks(masks)

    @staticmethod
    def tokens(
        points: tuple[mx.array, mx.array] | None, boxes: mx.array | None
    ) -> tuple[mx.array, mx.array]:
        """All prompts as labelled points. A box is two corners; points without a box get a padding
        point.

        Returns coordinates (B, N', 2) and labels (B, N').
        """
        coords, labels = [], []
        if points is not None:
            coords.append(points[0].astype(mx.float32))
            labels.append(points[1].astype(mx.int32))
            if boxes is None:
                coords.append(mx.zeros((len(points[0]), 1, 2)))
                labels.append(mx.full((len(points[0]), 1), NOT_A_POINT))
        if boxes is not None:
            coords.append(boxes.astype(mx.float32).reshape(-1, 2, 2))
            labels.append(mx.broadcast_to(mx.array([TOP_LEFT, BOTTOM_RIGHT]), (len(boxes), 2)))
        if not coords:
            return mx.zeros((1, 0, 2)), mx.zeros((1, 0), dtype=mx.int32)
        return mx.concatenate(coords, axis=1), mx.concatenate(labels, axis=1)

    def embed_tokens(self, coords: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
        """Labelled points, as ``tokens`` returns them, to tokens (B, N', C) and which are real.

        Labels beyond the table count as its last entry: MLX does not check indices.
        """
        # Coordinates name pixel corners; the encoding expects centres.
        pe = self.pe_layer((coords + 0.5) / self.image_size)
        sparse = mx.where((labels < BACKGROUND)[..., None], 0, pe)
        table = mx.concatenate(
            [self.not_a_point_embed.weight, *(e.weight for e in self.point_embeddings)]
        )
        index = mx.clip(labels, NOT_A_POINT, BOTTOM_RIGHT) - NOT_A_POINT
        sparse = (sparse + table[index]).astype(self.dtype)
        return sparse, labels != EMPTY

    def embed_masks(self, masks: mx.array | None) -> mx.array:
        """Mask logits (B, 1, 4G, 4G) to (B, G, G, C); None to (1, 1, 1, C)."""
        if masks is None:
            return self.no_mask_embed.weight[None, None]
        x = masks.astype(self.dtype).reshape(len(masks), *masks.shape[2:], 1)
        for layer in self.mask_downscaling:
            x = conv_as_matmul(layer, x) if isinstance(layer, nn.Conv2d) else layer(x)
        return x
