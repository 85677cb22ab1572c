"""The nano model, and a forward pass for training that computes what Meta's classes compute.

``build_nano()`` returns an ordinary ``segment_anything.modeling.Sam``. ``encode`` and ``decode``
run its weights on whole batches, also of crops, with attention one head at a time and the
transposed convolutions as matrix products. ``check()`` compares the two.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

# torch comes before sam_mlx, which would otherwise halve torch's threads on Linux: see
# sam_mlx/machine/linux.py. The trainer's processes set their own number of threads, and are equally
# fast in either order.
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from convert.reference import import_segment_anything
from sam_mlx.registry import VARIANTS

SamPredictor = import_segment_anything().SamPredictor

# isort: split
from segment_anything.modeling import (  # noqa: E402
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

NANO = VARIANTS["nano"]  # every size
LOW = NANO.image_size // NANO.mask_size  # pixels per pixel of the low-resolution masks


def build_nano() -> Sam:
    vit = NANO.encoder
    encoder = ImageEncoderViT(
        img_size=NANO.image_size,
        patch_size=NANO.patch_size,
        embed_dim=vit.dim,
        depth=vit.depth,
        num_heads=vit.heads,
        mlp_ratio=vit.mlp_dim / vit.dim,
        out_chans=NANO.prompt_dim,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=vit.window,
        global_attn_indexes=vit.global_blocks,
    )
    prompts = PromptEncoder(
        embed_dim=NANO.prompt_dim,
        image_embedding_size=(NANO.grid, NANO.grid),
        input_image_size=(NANO.image_size, NANO.image_size),
        mask_in_chans=NANO.mask_channels,
    )
    transformer = TwoWayTransformer(
        depth=NANO.decoder_depth,
        embedding_dim=NANO.prompt_dim,
        mlp_dim=NANO.decoder_mlp_dim,
        num_heads=NANO.decoder_heads,
    )
    decoder = MaskDecoder(
        transformer_dim=NANO.prompt_dim,
        num_multimask_outputs=NANO.multimask_outputs,
        iou_head_depth=NANO.iou_head_depth,
        iou_head_hidden_dim=NANO.iou_head_dim,
        transformer=transformer,
    )
    return Sam(encoder, prompts, decoder)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.pt``, or the one that a converted folder was made from."""
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    weights = load_file(path / "model.safetensors")
    axes = {nn.Conv2d: (0, 3, 1, 2), nn.ConvTranspose2d: (3, 0, 1, 2)}
    for name, module in build_nano().named_modules():
        if type(module) in axes:
            kernel = f"{name}.weight"
            weights[kernel] = weights[kernel].permute(axes[type(module)])
    return weights


def replace(value: dict, path: Path) -> None:
    """Write to a temporary file, then rename it: a reader never sees half a file."""
    part = path.with_suffix(".part")
    torch.save(value, part)
    os.replace(part, path)


class HeadwiseAttention(torch.autograd.Function):
    """softmax(q k^T + bias) v, one head at a time, in place: the scores stay in the cache.

    q, k, v (N, H * W, c), bias_h (N, H * W, H), bias_w (N, H * W, W) -> (N, H * W, c).
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias_h: Tensor, bias_w: Tensor
    ) -> Tensor:
        weights = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
        out = torch.empty_like(v)
        for i, w in enumerate(weights):
            torch.mm(q[i], k[i].T, out=w)
            grid = w.view(-1, bias_h.shape[2], bias_w.shape[2])
            grid.add_(bias_h[i, :, :, None]).add_(bias_w[i, :, None])
            torch.softmax(w, -1, out=w)
            torch.mm(w, v[i], out=out[i])
        ctx.save_for_backward(q, k, v, bias_h, bias_w, weights, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, bias_h, bias_w, weights, out = ctx.saved_tensors
        dq, dk, dv, dh, dw = map(torch.empty_like, (q, k, v, bias_h, bias_w))
        scores = torch.empty_like(weights[0])
        offset = (grad.float() * out).sum(-1, keepdim=True).to(grad.dtype)
        for i, w in enumerate(weights):
            torch.mm(w.T, grad[i], out=dv[i])
            torch.mm(grad[i], v[i].T, out=scores)
            scores.sub_(offset[i]).mul_(w)
            torch.mm(scores, k[i], out=dq[i])
            torch.mm(scores.T, q[i], out=dk[i])
            grid = scores.view(-1, bias_h.shape[2], bias_w.shape[2])
            torch.sum(grid, 2, out=dh[i])
            torch.sum(grid, 1, out=dw[i])
        return dq, dk, dv, dh, dw


def attend(layer: nn.Module, x: Tensor) -> Tensor:
    """Self-attention of an encoder block over x (B, H, W, C)."""
    B, H, W, C = x.shape
    heads = layer.num_heads
    q, k, v = layer.qkv(x).view(B, H * W, 3, heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
    rel_h, rel_w = relative(layer.rel_pos_h, H), relative(layer.rel_pos_w, W)
    grid = q.view(-1, H, W, q.shape[-1])
    bias_h = torch.einsum("bhwc,hkc->bhwk", grid, rel_h).flatten(1, 2)
    bias_w = torch.einsum("bhwc,wkc->bhwk", grid, rel_w).flatten(1, 2)
    q = q * layer.scale
    if H * W < 400:
        scores = (q @ k.transpose(1, 2)).view(-1, H * W, H, W)
        scores = scores + bias_h[..., None] + bias_w[..., None, :]
        out = scores.flatten(2).softmax(-1) @ v
    else:
        parts = [part.contiguous() for part in (q, k, v, bias_h, bias_w)]
        out = HeadwiseAttention.apply(*parts)
    out = out.view(B, heads, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, C)
    return layer.proj(out)


def attend_in_windows(block: nn.Module, x: Tensor) -> Tensor:
    B, H, W, C = x.shape
    side = block.window_size
    pad_h, pad_w = -H % side, -W % side
    x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (H + pad_h) // side, (W + pad_w) // side
    x = x.view(B, rows, side, columns, side, C).transpose(2, 3)
    x = attend(block.attn, x.reshape(-1, side, side, C))
    x = x.view(B, rows, columns, side, side, C).transpose(2, 3)
    return x.reshape(B, H + pad_h, W + pad_w, C)[:, :H, :W]


def relative(table: Tensor, n: int) -> Tensor:
    """(n, n, C) for the offsets query - key; crops use the middle of the whole image's table."""
    away = torch.arange(n)[:, None] - torch.arange(n)[None]
    return table[away + len(table) // 2]


def encode(encoder: ImageEncoderViT, images: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Normalised images (B, 3, S, S) whose top left token is at ``corner`` (row, column) of the
    whole image's frame -> image embeddings (B, C, h, w), h = w = S / patch size."""
    x = encoder.patch_embed(images)
    _, h, w, _ = x.shape
    x = x + encoder.pos_embed[:, corner[0] : corner[0] + h, corner[1] : corner[1] + w]
    for block in encoder.blocks:
        y = block.norm1(x)
        x = x + (attend_in_windows(block, y) if block.window_size else attend(block.attn, y))
        x = x + block.mlp(block.norm2(x))
    return encoder.neck(x.permute(0, 3, 1, 2))


def encode_points(prompts: PromptEncoder, points: Tensor, labels: Tensor) -> Tensor:
    """points (N, T, 2) in pixels of the whole image's frame, labels (N, T): 1 or 0 for clicks, 2
    and 3 for box corners, -1 for the filler that Meta adds to clicks without a box -> (N, T, C)."""
    place = prompts.pe_layer._pe_encoding((points + 0.5) / NANO.image_size)
    kinds = [prompts.not_a_point_embed.weight, *(e.weight for e in prompts.point_embeddings)]
    return place * (labels >= 0)[..., None] + torch.cat(kinds)[labels + 1]


def decode(
    sam: Sam,
    embeddings: Tensor,
    sparse: Tensor,
    mask_input: Tensor | None = None,
    corner: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """embeddings (B, C, h, w), sparse (B * P, T, C) with the P prompts of an image in a row,
    mask_input (B * P, 1, 4h, 4w) -> logits (B * P, 4, 4h, 4w), predicted IoU (B * P, 4)."""
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    N, (B, _, h, w) = len(sparse), embeddings.shape
    source = embeddings.flatten(2).transpose(1, 2)
    if mask_input is None:
        source = source + prompts.no_mask_embed.weight
    else:
        dense = prompts.mask_downscaling(mask_input).flatten(2).transpose(1, 2)
        source = source.repeat_interleave(N // B, 0) + dense
    position = prompts.get_dense_pe()[0, :, corner[0] : corner[0] + h, corner[1] : corner[1] + w]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(N, -1, -1), sparse], 1)
    tokens, source = two_way(decoder.transformer, source, position.flatten(1).T, tokens)
    up = upscale(decoder.output_upscaling, source)  # (N, hw * 16, C / 8)
    mlps = decoder.output_hypernetworks_mlps
    hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], 1)
    # With up first its gradient is contiguous, as GELU's backward pass needs it.
    masks = (up @ hyper.transpose(1, 2)).view(N, h, w, 2, 2, 2, 2, 4)
    masks = masks.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(N, 4, 4 * h, 4 * w)
    return masks, decoder.iou_prediction_head(tokens[:, 0])


def two_way(
    transformer: TwoWayTransformer, image: Tensor, position: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """image (B, L, C), or (N, L, C) if masks are given; position (L, C); tokens (N, T, C)
    -> tokens (N, T, C), image (N, L, C).

    There are few tokens and many pixels, so the projections of the pixels are applied to the tokens
    instead: q (W x) = (W^T q) x, and sum_i a_i (W x_i) = W (sum_i a_i x_i). Only the scores and the
    image itself are computed for each pixel, and in the first layer all prompts share one image.
    """
    prompts = tokens
    for layer in transformer.layers:
        tokens = attend_to_each_other(layer, tokens, prompts)
        to_image, from_image = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        update = tokens_from_image(to_image, tokens + prompts, image, position)
        tokens = layer.norm2(tokens + update)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        update = image_from_tokens(from_image, tokens + prompts, tokens, image, position)
        update = update.view(len(image), -1, *image.shape[1:]) + image[:, None]
        image = layer.norm4(update.flatten(0, 1))
    last = transformer.final_attn_token_to_image
    update = tokens_from_image(last, tokens + prompts, image, position)
    return transformer.norm_final_attn(tokens + update), image


def attend_to_each_other(layer: nn.Module, tokens: Tensor, prompts: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
    q = tokens + prompts
    return layer.norm1(tokens + layer.self_attn(q=q, k=q, v=tokens))


def tokens_from_image(layer: nn.Module, queries: Tensor, image: Tensor, position: Tensor) -> Tensor:
    N, T, _ = queries.shape
    q = layer.q_proj(queries).view(N, T, layer.num_heads, -1)
    # The bias of the keys adds the same to all scores of a query, which softmax ignores.
    weights = scores(layer, q, layer.k_proj, image, position).softmax(-1)
    mean = weights.view(len(image), -1, image.shape[1]) @ image
    mean = mean.view(N, layer.num_heads, T, -1)
    value = layer.v_proj.weight.view(layer.num_heads, -1, mean.shape[-1])
    out = torch.einsum("nhtc,hdc->nthd", mean, value).flatten(2) + layer.v_proj.bias
    return layer.out_proj(out)


def image_from_tokens(
    layer: nn.Module, keys: Tensor, values: Tensor, image: Tensor, position: Tensor
) -> Tensor:
    N, T, C = keys.shape
    k = layer.k_proj(keys).view(N, T, layer.num_heads, -1)
    bias = layer.q_proj.bias.view(layer.num_heads, -1)
    bias = torch.einsum("nthd,hd->nht", k, bias) * k.shape[-1] ** -0.5
    weights = scores(layer, k, layer.q_proj, image, position).view(N, layer.num_heads, T, -1)
    weights = (weights + bias[..., None]).softmax(2).flatten(1, 2)  # (N, heads * T, L)
    v = layer.v_proj(values).view(N, T, layer.num_heads, -1)
    out = layer.out_proj.weight.view(C, layer.num_heads, -1)
    v = torch.einsum("nthd,chd->nhtc", v, out).flatten(1, 2)
    return torch.baddbmm(layer.out_proj.bias, weights.transpose(1, 2), v)


def scores(
    layer: nn.Module, x: Tensor, projection: nn.Linear, image: Tensor, position: Tensor
) -> Tensor:
    """x (N, T, heads, d) against the projected pixels of image + position, without the bias:
    (N, heads * T, L)."""
    N, T, heads, d = x.shape
    weight = projection.weight.view(heads, d, -1) * d**-0.5
    x = torch.einsum("nthd,hdc->nhtc", x, weight).flatten(1, 2)  # (N, heads * T, C)
    B, L, C = image.shape
    from_image = (x.view(B, -1, C) @ image.transpose(1, 2)).view(N, heads * T, L)
    return from_image + (x.view(-1, C) @ position.T).view(N, heads * T, L)


def upscale(layers: nn.Sequential, x: Tensor) -> Tensor:
    """x (N, hw, C) -> (N, hw * 4 * 4, C / 8): a 2x2 transposed convolution of stride 2 is one
    matrix product per position, whose 2x2 outputs are adjacent."""
    first, norm, gelu, second, _ = layers
    for conv in (first, second):
        weight = conv.weight.permute(0, 2, 3, 1)  # (in, 2, 2, out)
        x = x @ weight.flatten(1) + conv.bias.repeat(4)
        x = x.view(x.shape[0], -1, weight.shape[-1])
        if conv is first:
            x = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
        x = gelu(x)
    return x


@torch.no_grad()
def check() -> float:
    """Largest difference between ``encode`` / ``decode`` and Meta's own forward pass."""
    sam = build_nano()
    for name, p in sam.named_parameters():
        if "pos" in name:  # Meta initialises them to zero, which would hide a mistake
            nn.init.normal_(p, std=0.3)
    images = torch.randn(1, 3, NANO.image_size, NANO.image_size)
    embeddings = sam.image_encoder(images)
    worst = (encode(sam.image_encoder, images) - embeddings).abs().max()
    clicks = torch.rand(2, 2, 2) * NANO.image_size, torch.tensor([[1, 0], [1, 1]])
    boxes = torch.tensor([[10.0, 20, 90, 100], [50, 60, 200, 210]])
    prior = torch.randn(2, 1, NANO.mask_size, NANO.mask_size)
    for box, mask in [(None, None), (boxes, prior)]:
        sparse, dense = sam.prompt_encoder(clicks, box, mask)
        position = sam.prompt_encoder.get_dense_pe()
        theirs = sam.mask_decoder.predict_masks(embeddings, position, sparse, dense)
        sparse = encode_points(sam.prompt_encoder, *with_box(*clicks, box))
        ours = decode(sam, embeddings, sparse, mask)
        worst = max(worst, *((a - b).abs().max() for a, b in zip(theirs, ours)))
    return float(worst)


def with_box(points: Tensor, labels: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points and labels for ``encode_points``, from clicks and boxes as Meta takes them."""
    if boxes is None:
        filler = torch.full_like(points[:, :1], -0.5)
        return torch.cat([points, filler], 1), F.pad(labels, (0, 1), value=-1)
    corners = torch.tensor([[2, 3]]).expand(len(labels), 2)
    return torch.cat([points, boxes.view(-1, 2, 2)], 1), torch.cat([labels, corners], 1)
