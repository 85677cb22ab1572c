"""The nano model, and a forward pass for training that computes what Meta's classes compute.

``build_nano()`` is an ordinary ``segment_anything.modeling.Sam``. ``encode`` and ``decode`` run
its weights on whole batches, on crops too, with attention one head at a time and the transposed
convolutions as matrix products. ``check()`` compares the two.
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from convert.reference import import_segment_anything

SamPredictor = import_segment_anything().SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

SIZE, PATCH, WIDTH, HEADS, WINDOW = 320, 8, 128, 4, 7
DEPTH, GLOBAL_BLOCKS = 6, (2, 4)
EMBED = 128
GRID = SIZE // PATCH  # 40 tokens a side


def build_nano() -> Sam:
    encoder = ImageEncoderViT(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=3,
        out_chans=EMBED,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=WINDOW,
        global_attn_indexes=GLOBAL_BLOCKS,
    )
    prompts = PromptEncoder(
        embed_dim=EMBED,
        image_embedding_size=(GRID, GRID),
        input_image_size=(SIZE, SIZE),
        mask_in_chans=16,
    )
    decoder = MaskDecoder(
        transformer_dim=EMBED,
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=128,
        transformer=TwoWayTransformer(depth=2, embedding_dim=EMBED, mlp_dim=176, num_heads=4),
    )
    return Sam(encoder, prompts, decoder)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """State dict of a ``.pt``, or the one that a converted folder was made from."""
    if path.suffix == ".pt":
        return torch.load(path, weights_only=True)
    weights = load_file(path / "model.safetensors")
    axes = {nn.Conv2d: (0, 3, 1, 2), nn.ConvTranspose2d: (3, 0, 1, 2)}
    for name, module in build_nano().named_modules():
        if type(module) in axes:
            kernel = f"{name}.weight"
            weights[kernel] = weights[kernel].permute(axes[type(module)])
    return weights


class HeadwiseAttention(torch.autograd.Function):
    """softmax(q k^T + bias) v one head at a time, in place: the scores stay in the cache.

    q, k, v (N, H * W, c), bias_h (N, H * W, H), bias_w (N, H * W, W) -> (N, H * W, c).
    """

    @staticmethod
    def forward(ctx, q, k, v, bias_h, bias_w):
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
    def backward(ctx, grad):
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


def attend(layer, x: torch.Tensor) -> torch.Tensor:
    """Self-attention of an encoder block over x (B, H, W, C)."""
    B, H, W, C = x.shape
    q, k, v = layer.qkv(x).view(B, H * W, 3, HEADS, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
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
    out = out.view(B, HEADS, H, W, -1).permute(0, 2, 3, 1, 4).reshape(B, H, W, C)
    return layer.proj(out)


def relative(table: torch.Tensor, n: int) -> torch.Tensor:
    """(n, n, C) offsets query - key; crops use the middle of the full image's table."""
    away = torch.arange(n)[:, None] - torch.arange(n)[None]
    return table[away + len(table) // 2]


def encode(encoder: ImageEncoderViT, images: torch.Tensor, corner=(0, 0)):
    """Normalised images (B, 3, S, S) whose top left token is ``corner`` (row, column) of the
    320 px frame -> image embeddings (B, 128, S / 8, S / 8)."""
    x = encoder.patch_embed(images)
    B, H, W, C = x.shape
    x = x + encoder.pos_embed[:, corner[0] : corner[0] + H, corner[1] : corner[1] + W]
    for block in encoder.blocks:
        y = block.norm1(x)
        if block.window_size:
            pad_h, pad_w = -H % WINDOW, -W % WINDOW
            y = F.pad(y, (0, 0, 0, pad_w, 0, pad_h))
            rows, columns = (H + pad_h) // WINDOW, (W + pad_w) // WINDOW
            y = y.view(B, rows, WINDOW, columns, WINDOW, C).transpose(2, 3)
            y = attend(block.attn, y.reshape(-1, WINDOW, WINDOW, C))
            y = y.view(B, rows, columns, WINDOW, WINDOW, C).transpose(2, 3)
            y = y.reshape(B, H + pad_h, W + pad_w, C)[:, :H, :W]
        else:
            y = attend(block.attn, y)
        x = x + y
        x = x + block.mlp(block.norm2(x))
    return encoder.neck(x.permute(0, 3, 1, 2))


def encode_points(prompts: PromptEncoder, points: torch.Tensor, labels: torch.Tensor):
    """points (N, T, 2) in pixels of the 320 px frame, labels (N, T): 1 or 0 for clicks, 2 and 3
    for box corners, -1 for the filler Meta adds to clicks without a box -> (N, T, 128)."""
    place = prompts.pe_layer._pe_encoding((points + 0.5) / SIZE)
    kinds = [prompts.not_a_point_embed.weight, *(e.weight for e in prompts.point_embeddings)]
    return place * (labels >= 0)[..., None] + torch.cat(kinds)[labels + 1]


def decode(sam: Sam, embeddings, sparse, mask_input=None, corner=(0, 0)):
    """embeddings (B, 128, h, w), sparse (B * P, T, 128) with the P prompts of an image together,
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
    up = upscale(decoder.output_upscaling, source)  # (N, hw * 16, 16)
    mlps = decoder.output_hypernetworks_mlps
    hyper = torch.stack([mlp(tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], 1)
    # up first: its gradient is then contiguous, which GELU's backward wants.
    masks = (up @ hyper.transpose(1, 2)).view(N, h, w, 2, 2, 2, 2, 4)
    masks = masks.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(N, 4, 4 * h, 4 * w)
    return masks, decoder.iou_prediction_head(tokens[:, 0])


def two_way(transformer: TwoWayTransformer, image, position, tokens):
    """image (B, L, C), or (N, L, C) where masks are given; position (L, C); tokens (N, T, C)
    -> tokens (N, T, C), image (N, L, C).

    There are few tokens and many pixels, so the tokens go through the pixels' projections, the
    other way round: q (W x) = (W^T q) x, and sum_i a_i (W x_i) = W (sum_i a_i x_i). Nothing but the
    scores and the image itself is made for each pixel, and the first layer has one image for all
    prompts.
    """
    prompts = tokens
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = layer.self_attn(q=tokens, k=tokens, v=tokens)
        else:
            q = tokens + prompts
            tokens = tokens + layer.self_attn(q=q, k=q, v=tokens)
        tokens = layer.norm1(tokens)
        update = tokens_from_image(
            layer.cross_attn_token_to_image, tokens + prompts, image, position
        )
        tokens = layer.norm2(tokens + update)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        update = image_from_tokens(
            layer.cross_attn_image_to_token, tokens + prompts, tokens, image, position
        )
        update = update.view(len(image), -1, *image.shape[1:]) + image[:, None]
        image = layer.norm4(update.flatten(0, 1))
    last = transformer.final_attn_token_to_image
    update = tokens_from_image(last, tokens + prompts, image, position)
    return transformer.norm_final_attn(tokens + update), image


def tokens_from_image(layer, queries, image, position) -> torch.Tensor:
    N, T, _ = queries.shape
    q = layer.q_proj(queries).view(N, T, layer.num_heads, -1)
    # The bias of the keys adds the same to all scores of a query: softmax takes it out.
    weights = scores(layer, q, layer.k_proj, image, position).softmax(-1)
    mean = weights.view(len(image), -1, image.shape[1]) @ image
    mean = mean.view(N, layer.num_heads, T, -1)
    value = layer.v_proj.weight.view(layer.num_heads, -1, mean.shape[-1])
    out = torch.einsum("nhtc,hdc->nthd", mean, value).flatten(2) + layer.v_proj.bias
    return layer.out_proj(out)


def image_from_tokens(layer, keys, values, image, position) -> torch.Tensor:
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


def scores(layer, x, projection, image, position) -> torch.Tensor:
    """x (N, T, heads, d) against the projected pixels of image + position, without the bias:
    (N, heads * T, L)."""
    N, T, heads, d = x.shape
    weight = projection.weight.view(heads, d, -1) * d**-0.5
    x = torch.einsum("nthd,hdc->nhtc", x, weight).flatten(1, 2)  # (N, heads * T, C)
    B, L, C = image.shape
    from_image = (x.view(B, -1, C) @ image.transpose(1, 2)).view(N, heads * T, L)
    return from_image + (x.view(-1, C) @ position.T).view(N, heads * T, L)


def upscale(layers: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """x (N, hw, 128) -> (N, hw * 4 * 4, 16): a 2x2 transposed convolution of stride 2 is one matrix
    product for each position, with its 2x2 outputs beside each other."""
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
        if "pos" in name:  # Meta starts them at zero, which would hide a mistake
            nn.init.normal_(p, std=0.3)
    images = torch.randn(1, 3, SIZE, SIZE)
    embeddings = sam.image_encoder(images)
    worst = (encode(sam.image_encoder, images) - embeddings).abs().max()
    points, labels = torch.rand(2, 2, 2) * SIZE, torch.tensor([[1, 0], [1, 1]])
    boxes = torch.tensor([[10.0, 20, 90, 100], [50, 60, 200, 210]])
    filler = torch.cat([points, torch.full((2, 1, 2), -0.5)], 1), F.pad(labels, (0, 1), value=-1)
    corners = torch.cat([points, boxes.view(2, 2, 2)], 1)
    with_box = corners, torch.cat([labels, torch.tensor([[2, 3], [2, 3]])], 1)
    prior = torch.randn(2, 1, SIZE // 2, SIZE // 2)
    for box, mask, mine in [(None, None, filler), (boxes, prior, with_box)]:
        sparse, dense = sam.prompt_encoder((points, labels), box, mask)
        position = sam.prompt_encoder.get_dense_pe()
        theirs = sam.mask_decoder.predict_masks(embeddings, position, sparse, dense)
        ours = decode(sam, embeddings, encode_points(sam.prompt_encoder, *mine), mask)
        worst = max(worst, *((a - b).abs().max() for a, b in zip(theirs, ours)))
    return float(worst)
