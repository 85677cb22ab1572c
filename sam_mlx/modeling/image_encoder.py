"""The ViT image encoder of SAM (original: ``segment_anything/modeling/image_encoder.py``)."""

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from .elementwise import attend, gelu, in_halves
from .layers import MLPBlock, conv_as_matmul, window_partition, window_unpartition


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def __call__(self, x: mx.array) -> mx.array:
        return conv_as_matmul(self.proj, x)


class Attention(nn.Module):
    """Multi-head attention over a grid or its windows, with decomposed relative position."""

    def __init__(self, dim: int, heads: int, size: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = mx.zeros((2 * size - 1, dim // heads))
        self.rel_pos_w = mx.zeros((2 * size - 1, dim // heads))

    def __call__(self, x: mx.array, window: int) -> mx.array:
        """x: (B, H, W, C); window: cells a side, or 0 for the whole grid as one window."""
        B, H, W, C = x.shape
        # As in the original the zeros beside the grid are cells like others: their keys and
        # values are the bias.
        x, size = (window_partition(x, window), (window, window)) if window else (x, (H, W))
        qkv = in_halves(self.qkv, x.reshape(-1, size[0] * size[1], C), axis=1)
        qkv = qkv.reshape(*qkv.shape[:2], 3, self.heads, -1)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each (windows, heads, cells, head_dim)

        rel_h, rel_w = decomposed_rel_pos(q, self.rel_pos_h, self.rel_pos_w, size)
        x = attend(q, k, v, rel_h, rel_w, self.scale)
        x = x.swapaxes(1, 2).flatten(-2)  # (windows, cells, C)
        x = window_unpartition(x, window, (H, W)) if window else x.reshape(B, H, W, C)
        return in_halves(self.proj, x, axis=1)


def decomposed_rel_pos(
    q: mx.array, rel_pos_h: mx.array, rel_pos_w: mx.array, size: tuple[int, int]
) -> tuple[mx.array, mx.array]:
    """Score offsets by row distance and by column distance (MViTv2, section 4.1).

    q: (N, heads, H*W, d), unscaled; tables: (2*H-1, d) and (2*W-1, d).
    Returns (N, heads, H*W, H) and (N, heads, H*W, W).
    """
    H, W = size
    q = q.reshape(*q.shape[:2], H, W, -1)
    R_h = rel_pos_h[mx.arange(H)[:, None] - mx.arange(H) + H - 1]  # (H, H of keys, d)
    R_w = rel_pos_w[mx.arange(W)[:, None] - mx.arange(W) + W - 1]
    rel_h = q @ R_h.swapaxes(1, 2)  # (N, heads, H, W, H of keys)
    rel_w = (q.swapaxes(2, 3) @ R_w.swapaxes(1, 2)).swapaxes(2, 3)
    return rel_h.flatten(2, 3), rel_w.flatten(2, 3)


class Block(nn.Module):
    """norm, attention, add; norm, MLP, add. ``window`` 0 attends to the whole grid."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, grid: int, window: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, mlp_dim, gelu)
        self.window = window

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.attn(self.norm1(x), self.window)
        return in_halves(lambda x: x + self.mlp(self.norm2(x)), x, axis=1)


class ImageEncoderViT(nn.Module):
    """Prepared images (B, S, S, 3) to image embeddings (B, G, G, C), G = S / patch size."""

    def __init__(self, config: SamConfig):
        super().__init__()
        vit, dim = config.encoder, config.prompt_dim
        self.patch_embed = PatchEmbed(config.patch_size, vit.dim)
        self.pos_embed = mx.zeros((1, config.grid, config.grid, vit.dim))
        self.blocks = [
            Block(
                vit.dim,
                vit.heads,
                vit.mlp_dim,
                config.grid,
                window=0 if i in vit.global_blocks else vit.window,
            )
            for i in range(vit.depth)
        ]
        self.neck = [
            nn.Conv2d(vit.dim, dim, 1, bias=False),
            nn.LayerNorm(dim, eps=1e-6),
            nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            nn.LayerNorm(dim, eps=1e-6),
        ]

    def __call__(self, x: mx.array) -> mx.array:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        conv1, norm1, conv2, norm2 = self.neck
        return norm2(conv2(norm1(conv_as_matmul(conv1, x))))
