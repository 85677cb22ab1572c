"""Meta's model with random weights whose automatic masks vary as a trained model's do."""

import dataclasses
from functools import partial

import mlx.core as mx
import numpy as np
import torch

from sam_mlx import Sam, loading
from tests.references import segment_anything

modeling = segment_anything.modeling


def build_reference(seed: int, image_size: int, patch: int, prompt_dim: int, width: int = 48):
    """A ``segment_anything`` Sam with a small encoder and a full decoder, calibrated.

    Predicted IoU spreads around 0.88; masks are a few blobs each, different from point to point.
    """
    torch.manual_seed(seed)
    grid = image_size // patch
    sam = modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=image_size, patch_size=patch, embed_dim=width, depth=2, num_heads=4,
            mlp_ratio=2, out_chans=prompt_dim, qkv_bias=True, use_rel_pos=True, window_size=7,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), global_attn_indexes=(1,),
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=prompt_dim, image_embedding_size=(grid, grid),
            input_image_size=(image_size, image_size), mask_in_chans=16,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3, transformer_dim=prompt_dim, iou_head_depth=3,
            iou_head_hidden_dim=256,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=prompt_dim, mlp_dim=512, num_heads=8
            ),
        ),
    )  # fmt: skip
    sam.eval()
    with torch.no_grad():
        for name, w in sam.named_parameters():
            if "pos_embed" in name or "rel_pos" in name:
                w.normal_(std=0.1)
        calibrate(sam)
    return sam


def calibrate(sam) -> None:
    decoder, size = sam.mask_decoder, sam.image_encoder.img_size
    # A channel that is the same everywhere lets each filter shift its whole mask.
    first, last = decoder.output_upscaling[0], decoder.output_upscaling[3]
    last.weight[:, 0] = 0
    last.bias[0] = 1
    # Smooth masks: the four pixels that a cell becomes hardly differ.
    for conv in (first, last):
        conv.weight[:] = conv.weight.mean((2, 3), keepdim=True) + 0.1 * conv.weight
    # Tokens that depend on where their point is.
    for layer in decoder.transformer.layers:
        for attention in (layer.self_attn, layer.cross_attn_token_to_image):
            attention.q_proj.weight *= 3
            attention.out_proj.weight *= 3
    for mlp in decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight *= 20
        mlp.layers[-1].weight[0] = 0
        mlp.layers[-1].bias[0] = 0
    decoder.iou_prediction_head.layers[-1].weight *= 20
    image = np.random.default_rng(0).integers(0, 256, (size // 8, size // 8, 3), np.uint8)
    predictor = segment_anything.SamPredictor(sam)
    predictor.set_image(np.kron(image, np.ones((8, 8, 1), np.uint8)))
    points = (torch.rand(64, 1, 2)) * size
    _, iou, logits = predictor.predict_torch(points, torch.ones(64, 1))
    for i in range(3):
        mlp = decoder.output_hypernetworks_mlps[i + 1].layers[-1]
        values = logits[:, i].flatten()[::97]
        mlp.weight *= 60 / values.std()
        mlp.bias *= 60 / values.std()
        mlp.bias[0] = -60 / values.std() * values.quantile(0.995) / 0.8413  # GELU(1)
    head = decoder.iou_prediction_head.layers[-1]
    head.weight *= 0.06 / iou.std()
    head.bias[:] = 0.88 - (iou.mean(0).mean() - head.bias.mean()) * 0.06 / iou.std()


def to_mlx(reference) -> Sam:
    """The same weights as a model of this package."""
    weights = {k: mx.array(w.numpy()) for k, w in reference.state_dict().items()}
    config, weights = loading.to_native(weights)
    # The number of heads shows in no tensor's shape.
    heads = reference.mask_decoder.transformer.layers[0].self_attn.num_heads
    config = dataclasses.replace(config, decoder_heads=heads)
    return loading.build(config, weights, None, "random reference")
