"""The TinyViT image encoder of MobileSAM (original: ``mobile_sam/modeling/tiny_vit_sam.py``).

Batch norms are folded into the convolutions before them (``clean``), which therefore have biases.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..config import SamConfig
from ..registry import EARLY, IMAGE_EMBEDDING, Encoder, Features, Weights, register
from .layers import (
    apply_neck,
    conv_as_matmul,
    fold_batch_norm,
    make_neck,
    window_partition,
    window_unpartition,
)
from .ops import depthwise, few_at_a_time, gelu, step
from .shapes import count, shape_of


@dataclass(frozen=True)
class TinyViTConfig:
    """TinyViT (arXiv 2207.10666): a convolutional stage, then stages of windowed attention."""

    type: ClassVar[str] = "tiny_vit"
    dims: tuple[int, ...]  # channels of each stage
    depths: tuple[int, ...]  # blocks of each stage
    heads: tuple[int, ...]  # of each stage but the first
    windows: tuple[int, ...]  # cells a side, of each stage but the first
    mlp_ratio: int = 4  # hidden channels of an MLP, in multiples of the stage's
    mbconv_expand: int = 4  # the same for the convolutional blocks

    @property
    def early_dim(self) -> int:
        """Channels of early features, which follow the second stage and the step after it."""
        return self.dims[min(2, len(self.dims) - 1)]

    def misfits(self) -> list[str]:
        """Messages about sizes that do not fit together, for ``config.check``."""
        stages = len(self.dims)
        lengths = len(self.depths), len(self.heads) + 1, len(self.windows) + 1
        if set(lengths) != {stages} or stages < 2:
            counts = ", ".join(map(str, (stages, *lengths)))
            return [f"dims, depths, heads, windows have {counts} stages; expected one number >= 2"]
        pairs = zip(self.dims[1:], self.heads)
        return [f"dim {d} cannot be divided among {h} heads" for d, h in pairs if d % h]


class ConvNorm(nn.Module):
    """A convolution, in the form that suits its shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups
        )

    def __call__(self, x: mx.array) -> mx.array:
        outputs, kernel = self.c.weight.shape[:2]
        if kernel == 1:
            return conv_as_matmul(self.c, x)
        if self.c.groups == outputs:
            return depthwise(x, self.c.weight, self.c.bias, self.c.stride[0])
        return self.c(x)


class PatchEmbed(nn.Module):
    """Images (B, S, S, 3) to (B, S/4, S/4, dim)."""

    def __init__(self, dim: int):
        super().__init__()
        half = dim // 2
        self.seq: list[Any] = [ConvNorm(3, half, 3, stride=2), gelu, ConvNorm(half, dim, 3, 2)]

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.seq:
            x = step(layer(x))
        return x


class MBConv(nn.Module):
    """Widen, filter each channel, narrow, add: the inverted bottleneck of MobileNetV2."""

    def __init__(self, dim: int, expand: int):
        super().__init__()
        self.conv1 = ConvNorm(dim, expand * dim, 1)
        self.conv2 = ConvNorm(expand * dim, expand * dim, 3, groups=expand * dim)
        self.conv3 = ConvNorm(expand * dim, dim, 1)

    def __call__(self, x: mx.array) -> mx.array:
        y = step(gelu(self.conv1(x)))
        y = step(gelu(self.conv2(y)))
        return gelu(x + self.conv3(y))


class PatchMerging(nn.Module):
    """(B, H, W, inputs) to (B, H/stride, W/stride, outputs)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, 1)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs, 1)

    def __call__(self, x: mx.array) -> mx.array:
        x = step(gelu(self.conv1(x)))
        x = step(gelu(self.conv2(x)))
        return self.conv3(x)


class Attention(nn.Module):
    """Norm and multi-head attention within windows, biased by the distance between cells."""

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.window = window
        self.scale = (dim // heads) ** -0.5
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = mx.zeros((heads, window * window))

    def __call__(self, x: mx.array) -> mx.array:
        """x: (B, H, W, C)."""
        _, H, W, _ = x.shape
        # As in the original, padded before the norm and not masked: attention sees the padding as
        # the norm's bias.
        x = self.norm(window_partition(x, self.window))  # (windows, cells, C)
        qkv = self.qkv(x).reshape(*x.shape[:2], self.heads, 3, -1)
        q, k, v = qkv.transpose(3, 0, 2, 1, 4)  # each (windows, heads, cells, head_dim)
        x = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.scale, mask=self.bias())
        x = x.swapaxes(1, 2).flatten(-2)  # (windows, cells, C)
        return self.proj(window_unpartition(x, self.window, (H, W)))

    def bias(self) -> mx.array:
        """Each head's offsets to the scores of two cells: (heads, cells, cells)."""
        return self.attention_biases[:, distances(self.window)]


@lru_cache(maxsize=16)
def distances(window: int) -> mx.array:
    """The entry of a table of biases for two cells of a window: (cells, cells).

    There is one for each absolute distance in rows and columns.
    """
    i = np.arange(window, dtype=np.int32)
    apart = np.abs(i[:, None] - i)
    offsets = apart[:, None, :, None] * window + apart[None, :, None, :]
    return mx.array(offsets.reshape(window**2, -1))


class Mlp(nn.Module):
    """Norm and two linear layers with gelu between them."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def __call__(self, x: mx.array) -> mx.array:
        return self.fc2(gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """attention, add; local convolution; MLP, add."""

    def __init__(self, dim: int, heads: int, window: int, mlp_ratio: int):
        super().__init__()
        self.attn = Attention(dim, heads, window)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def __call__(self, x: mx.array) -> mx.array:
        x = step(x + self.attn(x))
        x = self.local_conv(x)
        return x + self.mlp(x)


class Stage(nn.Module):
    """Blocks of one width and resolution, then the step to the next, if any."""

    def __init__(self, blocks: list[nn.Module], downsample: PatchMerging | None):
        super().__init__()
        self.blocks = blocks
        if downsample is not None:
            self.downsample = downsample

    def __call__(self, x: mx.array) -> mx.array:
        for block in self.blocks:
            x = step(block(x))
        return self.downsample(x) if "downsample" in self else x


class TinyViT(nn.Module):
    """Prepared images (B, S, S, 3) to features of G x G cells, G = S / patch size."""

    def __init__(self, config: SamConfig):
        super().__init__()
        vit: TinyViTConfig = config.encoder
        dim = config.prompt_dim
        self.patch_embed = PatchEmbed(vit.dims[0])
        self.widest = vit.mbconv_expand * vit.dims[0]  # channels, of the first blocks
        self.layers = []
        cell = 4  # pixels a side
        for i, width in enumerate(vit.dims):
            blocks = stage_blocks(vit, i)
            downsample = None
            if i + 1 < len(vit.dims):
                # The last merging keeps the resolution: SAM's cells have 16 pixels, not 32.
                stride = 2 if cell < config.patch_size else 1
                cell *= stride
                downsample = PatchMerging(width, vit.dims[i + 1], stride)
            self.layers.append(Stage(blocks, downsample))
        self.neck = make_neck(vit.dims[-1], dim)

    def __call__(self, x: mx.array, wanted: Collection[str] = (IMAGE_EMBEDDING,)) -> Features:
        """The image embedding (B, G, G, C), and early features (B, G, G, dims[2]) where wanted."""
        _, H, W, _ = x.shape
        widest = 2 * (H // 4) * (W // 4) * self.widest * x.itemsize  # before and after activation
        return few_at_a_time(partial(self.encode, wanted=wanted), x, widest)

    def encode(self, x: mx.array, wanted: Collection[str]) -> Features:
        """``__call__`` for all images at once."""
        features = {}
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers):
            x = stage(x)
            if i == 1 and EARLY in wanted:
                features[EARLY] = x
        return features | {IMAGE_EMBEDDING: apply_neck(self.neck, x)}


def stage_blocks(vit: TinyViTConfig, i: int) -> list[nn.Module]:
    """The blocks of stage i: convolutions in the first, attention in windows after it."""
    if i == 0:
        return [MBConv(vit.dims[0], vit.mbconv_expand) for _ in range(vit.depths[0])]
    size = vit.dims[i], vit.heads[i - 1], vit.windows[i - 1], vit.mlp_ratio
    return [TinyViTBlock(*size) for _ in range(vit.depths[i])]


def recognises(weights: Weights) -> bool:
    """True if a checkpoint has MobileSAM's encoder."""
    return "image_encoder.patch_embed.seq.0.c.weight" in weights


def infer(weights: Weights) -> SamConfig:
    """Sizes from the shapes of tensors with MobileSAM's names, in PyTorch's layout.

    No shape shows the image size; the released model's is assumed.
    """

    def shape(name: str) -> tuple[int, ...]:
        return shape_of(weights, f"image_encoder.{name}")

    stages = range(count(weights, r"image_encoder\.layers\.(\d+)\."))
    blocks = [rf"image_encoder\.layers\.{i}\.blocks\.(\d+)\." for i in stages]
    dims = [shape("patch_embed.seq.2.c.weight")[0]]
    dims += [shape(f"layers.{i}.downsample.conv3.c.weight")[0] for i in stages[:-1]]
    tables = [shape(f"layers.{i}.blocks.0.attn.attention_biases") for i in stages[1:]]
    encoder = TinyViTConfig(
        dims=tuple(dims),
        depths=tuple(count(weights, pattern) for pattern in blocks),
        heads=tuple(heads for heads, _ in tables),
        windows=tuple(math.isqrt(cells) for _, cells in tables),
        mlp_ratio=shape("layers.1.blocks.0.mlp.fc1.weight")[0] // dims[1],
        mbconv_expand=shape("layers.0.blocks.0.conv1.c.weight")[0] // dims[0],
    )
    return SamConfig(encoder)


def clean(weights: Weights) -> dict[str, mx.array]:
    """Drop the classifier, which MobileSAM stores but never runs, and fold batch norms."""
    unused = ("image_encoder.norm_head.", "image_encoder.head.")
    return fold_batch_norms({n: w for n, w in weights.items() if not n.startswith(unused)})


def fold_batch_norms(weights: Weights) -> dict[str, mx.array]:
    """Fold every ``x.bn`` into the convolution ``x.c`` before it, which gets a bias."""
    for stem in [n.removesuffix(".bn.weight") for n in weights if n.endswith(".bn.weight")]:
        weights = fold_batch_norm(weights, f"{stem}.c", f"{stem}.bn")
    return {n: w for n, w in weights.items() if not n.endswith(".bn.num_batches_tracked")}


MOBILE_SAM = SamConfig(
    TinyViTConfig(
        dims=(64, 128, 160, 320), depths=(2, 2, 6, 2), heads=(4, 5, 10), windows=(7, 14, 7)
    )
)

register(
    Encoder(TinyViTConfig, TinyViT, recognises, infer, (IMAGE_EMBEDDING, EARLY), clean),
    {"vit_t": MOBILE_SAM},
)
