"""The ViT image encoder of SAM (original: ``segment_anything/modeling/image_encoder.py``)."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..config import SamConfig
from ..registry import EARLY, IMAGE_EMBEDDING, Encoder, Features, Weights, register
from .layers import (
    Linear,
    MLPBlock,
    apply_neck,
    as_float32,
    conv_as_matmul,
    cubic_rows,
    interpolate_rows,
    make_neck,
    window_partition,
    window_unpartition,
)
from .ops import attend, few_at_a_time, gelu, step, tokenwise
from .shapes import count, shape_of


@dataclass(frozen=True)
class ViTConfig:
    """A plain ViT with windowed and global blocks (ViTDet; SAM paper, appendix A)."""

    type: ClassVar[str] = "vit"
    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]  # indices of the blocks that attend to the whole grid
    mlp_dim: int
    window: int = 14  # cells a side; the last windows are padded (64 -> 70)

    @property
    def early_dim(self) -> int:
        """Channels of early features."""
        return self.dim

    def misfits(self) -> list[str]:
        """Messages about sizes that do not fit together, for ``config.check``."""
        found = []
        if self.dim % self.heads:
            found += [f"dim {self.dim} cannot be divided among {self.heads} heads"]
        if any(i >= self.depth for i in self.global_blocks):
            found += [f"global_blocks {self.global_blocks} are not all below depth {self.depth}"]
        return found


class PatchEmbed(nn.Module):
    """Pictures (B, S, S, 3) to cells (B, G, G, dim)."""

    def __init__(self, patch_size: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def __call__(self, x: mx.array) -> mx.array:
        return conv_as_matmul(self.proj, x)


class Attention(nn.Module):
    """Multi-head attention over a grid or its windows, with decomposed relative positions."""

    def __init__(self, dim: int, heads: int, size: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rel_pos_h = mx.zeros((2 * size - 1, dim // heads))
        self.rel_pos_w = mx.zeros((2 * size - 1, dim // heads))

    def __call__(self, x: mx.array, window: int) -> mx.array:
        """x: (B, H, W, C); window: cells a side, or 0 for the whole grid as one window."""
        B, H, W, C = x.shape
        size = (window, window) if window else (H, W)
        # As in the original, padding zeros are cells like any other: their keys and values are the
        # bias.
        x = window_partition(x, window) if window else x.flatten(1, 2)  # (windows, cells, C)
        qkv = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # each (windows, heads, cells, head_dim)

        rel_h, rel_w = decomposed_rel_pos(q, self.rel_pos_h, self.rel_pos_w, size)
        x = attend(q, k, v, rel_h, rel_w, self.scale)
        x = x.swapaxes(1, 2).flatten(-2)  # (windows, cells, C)
        x = window_unpartition(x, window, (H, W)) if window else x.reshape(B, H, W, C)
        return self.proj(x)


def decomposed_rel_pos(
    q: mx.array, rel_pos_h: mx.array, rel_pos_w: mx.array, size: tuple[int, int]
) -> tuple[mx.array, mx.array]:
    """Score offsets by row distance and by column distance (MViTv2, section 4.1).

    q: (N, heads, H*W, d), unscaled; tables: (2*H-1, d) and (2*W-1, d).
    Returns (N, heads, H*W, H) and (N, heads, H*W, W).
    """
    H, W = size
    q = q.reshape(*q.shape[:2], H, W, -1)
    R_h = rel_pos_h[distances(H)]  # (H, H of keys, d)
    R_w = rel_pos_w[distances(W)]
    rel_h = q @ R_h.swapaxes(1, 2)  # (N, heads, H, W, H of keys)
    rel_w = (q.swapaxes(2, 3) @ R_w.swapaxes(1, 2)).swapaxes(2, 3)
    return rel_h.flatten(2, 3), rel_w.flatten(2, 3)


@lru_cache(maxsize=16)
def distances(size: int) -> mx.array:
    """The row of a table of relative positions for two cells of a line: (size, size of keys)."""
    cells = np.arange(size, dtype=np.int32)
    return mx.array(cells[:, None] - cells + size - 1)


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
        return step(self.feed_forward(step(self.attention(x))))

    def attention(self, x: mx.array) -> mx.array:
        """The first half of the block: norm, attention, sum."""
        return x + self.attn(self.norm1(x), self.window)

    @tokenwise
    def feed_forward(self, x: mx.array) -> mx.array:
        """The second half of the block: norm, two layers, sum."""
        return x + self.mlp(self.norm2(x))


class ImageEncoderViT(nn.Module):
    """Prepared images (B, S, S, 3) to features of G x G cells, G = S / patch size."""

    def __init__(self, config: SamConfig):
        super().__init__()
        vit: ViTConfig = config.encoder
        dim, grid = config.prompt_dim, config.grid
        windows = [0 if i in vit.global_blocks else vit.window for i in range(vit.depth)]
        self.patch_embed = PatchEmbed(config.patch_size, vit.dim)
        self.pos_embed = mx.zeros((1, grid, grid, vit.dim))
        self.blocks = [
            Block(vit.dim, vit.heads, vit.mlp_dim, grid, window=window) for window in windows
        ]
        self.neck = make_neck(vit.dim, dim)
        self.mlp_dim = vit.mlp_dim
        self.early = min(vit.global_blocks, default=0)

    def __call__(self, x: mx.array, wanted: Collection[str] = (IMAGE_EMBEDDING,)) -> Features:
        """The image embedding (B, G, G, C), and early features (B, G, G, dim) where wanted."""
        _, G, _, _ = self.pos_embed.shape
        widest = 2 * G * G * self.mlp_dim * x.itemsize  # an MLP, before and after its activation
        return few_at_a_time(partial(self.encode, wanted=wanted), x, widest)

    def encode(self, x: mx.array, wanted: Collection[str]) -> Features:
        """``__call__`` for all images at once."""
        features = {}
        x = self.patch_embed(x) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.early and EARLY in wanted:
                features[EARLY] = x
        return features | {IMAGE_EMBEDDING: apply_neck(self.neck, x)}


def recognises(weights: Weights) -> bool:
    """True if a checkpoint has a plain ViT."""
    return "image_encoder.patch_embed.proj.weight" in weights


def infer(weights: Weights) -> SamConfig:
    """Sizes from the shapes of tensors with Meta's names, in PyTorch's layout."""
    dim, _, patch, _ = shape_of(weights, "image_encoder.patch_embed.proj.weight")
    _, grid, _, _ = shape_of(weights, "image_encoder.pos_embed")
    depth = count(weights, r"image_encoder\.blocks\.(\d+)\.")
    tables = [shape_of(weights, f"image_encoder.blocks.{i}.attn.rel_pos_h") for i in range(depth)]
    global_blocks, window = _windows([length for length, _ in tables], grid)
    mlp_dim, _ = shape_of(weights, "image_encoder.blocks.0.mlp.lin1.weight")
    encoder = ViTConfig(dim, depth, dim // tables[0][1], global_blocks, mlp_dim, window)
    return SamConfig(encoder, image_size=grid * patch, patch_size=patch)


def _windows(lengths: list[int], grid: int) -> tuple[tuple[int, ...], int]:
    """The indices of the global blocks and the window of the others, from the tables' lengths.

    Tables are 2 * size - 1 long. Those of global blocks may come from another image size.
    """
    longest = 2 * grid - 1 if 2 * grid - 1 in lengths else max(lengths)
    windows = {(n + 1) // 2 for n in lengths if n != longest} or {grid}
    if len(windows) > 1:
        raise ValueError(f"not a SAM checkpoint: blocks with windows of {sorted(windows)} cells")
    return tuple(i for i, n in enumerate(lengths) if n == longest), windows.pop()


def fit_relative_positions(weights: Weights, config: SamConfig) -> dict[str, mx.array]:
    """Interpolate relative-position tables to the lengths that the model needs.

    The original does so in every forward pass (``get_rel_pos``); once is enough.
    """
    return {name: _fit_table(name, w, config) for name, w in weights.items()}


def _fit_table(name: str, table: mx.array, config: SamConfig) -> mx.array:
    block = re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_[hw]", name)
    if block is None or table.ndim != 2:
        return table
    is_global = int(block[1]) in config.encoder.global_blocks
    length = 2 * (config.grid if is_global else config.encoder.window) - 1
    if len(table) == length:
        return table
    rows = interpolate_rows(as_float32(table), length).astype(np.float32)
    return mx.array(rows).astype(table.dtype)


def resize_positions(weights: Weights, config: SamConfig) -> dict[str, mx.array]:
    """Interpolate all positions for another ``image_size``.

    Absolute ones bicubically, as in ViTDet's code (detectron2's ``get_abs_pos``); relative ones as
    in the original (``get_rel_pos``).
    """
    name = "image_encoder.pos_embed"
    table = as_float32(weights[name])[0]  # (G, G, C)
    for _ in range(2):  # rows, then columns
        rows = cubic_rows(table.reshape(len(table), -1), config.grid)
        table = rows.reshape(config.grid, *table.shape[1:]).swapaxes(0, 1)
    resized = mx.array(table[None].astype(np.float32)).astype(weights[name].dtype)
    return fit_relative_positions({**weights, name: resized}, config)


def _released(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> SamConfig:
    return SamConfig(ViTConfig(dim, depth, heads, global_blocks, mlp_dim=4 * dim))


VARIANTS: Mapping[str, SamConfig] = {
    "vit_b": _released(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": _released(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": _released(1280, 32, 16, (7, 15, 23, 31)),
    # Ships with the package: trained from scratch on drawn scenes, see examples/nano.
    "nano": SamConfig(
        ViTConfig(dim=128, depth=6, heads=4, global_blocks=(2, 4), mlp_dim=384, window=7),
        image_size=320,
        patch_size=8,
        prompt_dim=128,
        decoder_heads=4,
        decoder_mlp_dim=176,
        iou_head_dim=128,
    ),
}

register(
    Encoder(
        ViTConfig,
        ImageEncoderViT,
        recognises,
        infer,
        (IMAGE_EMBEDDING, EARLY),
        fit=fit_relative_positions,
        resize=resize_positions,
    ),
    VARIANTS,
)
