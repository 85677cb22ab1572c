"""The two-way transformer between prompt tokens and image (original: ``transformer.py``).

Shapes: B prompts, N tokens each, P image positions, C channels, h heads. Until prompts have changed
the image, its batch axis is 1 and broadcasts.
"""

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from .layers import MLPBlock
from .ops import add_attended, add_product, product_with_sum, relu, softmax


class Attention(nn.Module):
    """Attention whose inner width is the embedding's divided by ``downsample_rate``."""

    def __init__(self, dim: int, heads: int, downsample_rate: int = 1):
        super().__init__()
        inner = dim // downsample_rate
        self.heads = heads
        self.scale = (inner // heads) ** -0.5
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def split_heads(self, x: mx.array) -> mx.array:
        """(B, N, inner) to (B, h, N, inner/h)."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)  # (B, h, N, inner/h)

    def merge_heads(self, x: mx.array) -> mx.array:
        """(B, h, N, inner/h) to (B, N, inner)."""
        return x.swapaxes(1, 2).flatten(-2)  # (B, N, inner)

    def __call__(
        self, q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None = None
    ) -> mx.array:
        """q: (B, N, C); k, v: (B or 1, M, C); mask: added to the scores (B, h, N, M)."""
        q, k, v = map(self.split_heads, (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        k, v = (mx.broadcast_to(x, (len(q), *x.shape[1:])) for x in (k, v))
        x = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.scale, mask=mask)
        return self.out_proj(self.merge_heads(x))

    def folds(self, tokens: mx.array) -> bool:
        """True if folding the image's projections into the tokens takes less arithmetic."""
        return self.heads * tokens.shape[1] < self.q_proj.weight.shape[0]


class TokenToImage(Attention):
    """Tokens attend to the image, which is not projected where folding takes less arithmetic.

    (q W_q + b_q)(x W_k + b_k)^T = q' x^T + a constant per row, which softmax ignores, with
    q' = (q W_q + b_q) W_k^T; and A (x W_v + b_v) = (A x) W_v + b_v, as the rows of A sum to 1.
    """

    def __call__(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        mask: mx.array | None = None,
        encoding: mx.array | None = None,
    ) -> mx.array:
        """q: (B, N, C) tokens; k, v: (B or 1, P, C) image with and without its encoding, or both
        without it, and the encoding (1, P, C) apart.
        """
        if mask is not None or not self.folds(q):
            return super().__call__(q, k if encoding is None else k + encoding, v, mask)
        B, N, C = q.shape
        W_k = self.k_proj.weight.reshape(self.heads, -1, C)  # (h, inner/h, C)
        W_v = self.v_proj.weight.reshape(self.heads, -1, C)
        q = self.split_heads(self.scale * self.q_proj(q)) @ W_k  # (B, h, N, C)
        q = q.reshape(B, -1, C)
        # (B, h*N, P)
        scores = q @ k.swapaxes(1, 2) if encoding is None else product_with_sum(q, k, encoding)
        x = softmax(scores) @ v
        x = x.reshape(B, self.heads, N, C) @ W_v.swapaxes(1, 2)  # (B, h, N, inner/h)
        return self.out_proj(self.merge_heads(x) + self.v_proj.bias)


class ImageToToken(Attention):
    """The image attends to the tokens; the query and output projections fold the same way."""

    def add_to(
        self, image: mx.array, q: mx.array, k: mx.array, v: mx.array, mask: mx.array
    ) -> mx.array:
        """The image plus what it takes from the tokens, (B, P, C).

        image, q: (B or 1, P, C) without and with its encoding; k, v: (B, N, C) tokens; mask:
        (B, 1, 1, N), added to the scores.
        """
        if not self.folds(k):
            q = mx.broadcast_to(q, (len(k), *q.shape[1:]))
            return image + self(q, k, v, mask)
        B, N, C = k.shape
        W_q = self.q_proj.weight.reshape(self.heads, -1, C)
        W_out = self.out_proj.weight.reshape(C, self.heads, -1).transpose(1, 2, 0)
        k = self.split_heads(self.scale * self.k_proj(k))  # (B, h, N, inner/h)
        offset = k @ self.q_proj.bias.reshape(self.heads, -1, 1)  # (B, h, N, 1)
        offset = offset.swapaxes(2, 3) + mask  # (B, h, 1, N)
        keys = (k @ W_q).reshape(B, -1, C)
        values = (self.split_heads(self.v_proj(v)) @ W_out).reshape(B, -1, C)

        scores = add_product(offset.reshape(B, 1, -1), q, keys.swapaxes(1, 2))  # (B, P, h*N)
        scores = scores.reshape(B, -1, self.heads, N)
        weights = softmax(scores).flatten(-2)
        return add_attended(image, weights, values, self.out_proj.bias, self.heads)


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP on tokens, image to tokens."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, skip_first_layer_pe: bool):
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.cross_attn_token_to_image = TokenToImage(dim, heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = MLPBlock(dim, mlp_dim, relu)
        self.norm3 = nn.LayerNorm(dim, eps=1e-5)
        self.norm4 = nn.LayerNorm(dim, eps=1e-5)
        self.cross_attn_image_to_token = ImageToToken(dim, heads, downsample_rate=2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def __call__(
        self,
        queries: mx.array,
        keys: mx.array,
        query_pe: mx.array,
        key_pe: mx.array,
        mask: mx.array,
    ) -> tuple[mx.array, mx.array]:
        if self.skip_first_layer_pe:
            # The first layer's queries are the encoding itself, and it has no residual.
            queries = self.self_attn(queries, queries, queries, mask)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries, mask)
        queries = self.norm1(queries)

        k = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(queries + query_pe, k, keys)
        queries = self.norm2(queries)

        queries = self.norm3(queries + self.mlp(queries))

        keys = self.cross_attn_image_to_token.add_to(keys, k, queries + query_pe, queries, mask)
        return queries, self.norm4(keys)


class TwoWayTransformer(nn.Module):
    """Tokens and image attend to each other (original: ``transformer.TwoWayTransformer``)."""

    def __init__(self, config: SamConfig):
        super().__init__()
        dim, heads = config.prompt_dim, config.decoder_heads
        self.layers = [
            TwoWayAttentionBlock(dim, heads, config.decoder_mlp_dim, skip_first_layer_pe=i == 0)
            for i in range(config.decoder_depth)
        ]
        self.final_attn_token_to_image = TokenToImage(dim, heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(dim, eps=1e-5)

    def __call__(
        self, image: mx.array, image_pe: mx.array, tokens: mx.array, valid: mx.array
    ) -> tuple[mx.array, mx.array]:
        """image: (B or 1, P, C); image_pe: (1, P, C); tokens: (B, N, C); valid: (B, N) bool.

        Returns tokens (B, N, C) and image (B, P, C). Invalid tokens change nothing.
        """
        mask = mx.where(valid, 0, -float("inf")).astype(tokens.dtype)[:, None, None]
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_pe, mask)
        queries = queries + self.final_attn_token_to_image(
            queries + tokens, keys, keys, encoding=image_pe
        )
        return self.norm_final_attn(queries), keys
