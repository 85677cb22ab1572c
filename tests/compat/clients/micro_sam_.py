"""micro-sam: embeddings, prompts, AMG, AIS and APG, whole and in tiles, its decoder on PyTorch.

nano, at half its size, stands in for ViT-B, whose sizes micro-sam takes for granted in two places.
"""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from stand_ins import stand_in

from convert.reference import ensure_torchvision
from sam_mlx.registry import VARIANTS

ensure_torchvision()
if not hasattr(sys.modules["torchvision"], "__version__"):  # one that does not match torch
    stand_in("torchvision.utils", "torchvision.datasets", "torchvision.transforms.v2")
checkpoint, picture, out = sys.argv[1:]
CONFIG = VARIANTS["nano"] = VARIANTS["vit_b"] = replace(VARIANTS["nano"], image_size=160)
import micro_sam.models.build_sam
from micro_sam import inference, util
from micro_sam.automatic_segmentation import get_predictor_and_segmenter
from micro_sam.instance_segmentation import DecoderAdapter
from micro_sam.prompt_based_segmentation import segment_from_box, segment_from_points
from torch_em.model import UNETR

micro_sam.models.build_sam._validate_model_type = lambda state: "vit_b"
resize = inference.ResizeLongestSide
inference.ResizeLongestSide = lambda side: resize(CONFIG.image_size)


@torch.no_grad()
def decoder_state():
    """A random decoder for nano, whose maps are above a half in about half of a picture."""
    torch.manual_seed(0)
    neck = [None, None, SimpleNamespace(out_channels=CONFIG.prompt_dim)]
    unetr = UNETR(
        encoder=SimpleNamespace(neck=neck, in_chans=3, img_size=CONFIG.image_size),
        out_channels=3, final_activation="Sigmoid", use_skip_connection=False,
    ).eval()  # fmt: skip
    unetr.out_conv.weight *= 20
    noise = torch.randn(1, CONFIG.prompt_dim, CONFIG.grid, CONFIG.grid)
    logits = torch.logit(DecoderAdapter(unetr)._forward_impl(noise))
    unetr.out_conv.bias -= logits.flatten(2).median(2).values[0]
    return unetr.state_dict()


def thinned(state):
    """Positions for half as many cells a side."""
    state["image_encoder.pos_embed"] = state["image_encoder.pos_embed"][:, ::2, ::2]
    length = 2 * CONFIG.grid - 1
    tables = {name: t for name, t in state.items() if "rel_pos" in name and len(t) > length}
    return state | {name: t[::2][:length] for name, t in tables.items()}


weights = thinned(torch.load(checkpoint))
torch.save({"model_state": weights, "decoder_state": decoder_state()}, "vit_b.pt")
image = np.array(Image.open(picture).convert("RGB"))[:128]
TILES = dict(tile_shape=(128, 128), halo=(16, 16))
found = {}
for form, tiling in {"whole": {}, "tiled": TILES}.items():
    for mode, settings in {
        "amg": dict(pred_iou_thresh=0.7, stability_score_thresh=0.8),
        "ais": dict(min_size=20),
        "apg": dict(min_size=20),
    }.items():
        more = dict(points_per_side=6) if mode == "amg" else {}
        predictor, segmenter = get_predictor_and_segmenter(
            "vit_b", "vit_b.pt", device="cpu", segmentation_mode=mode, is_tiled=bool(tiling), **more
        )
        embeddings = util.precompute_image_embeddings(
            predictor, image, ndim=2, verbose=False, **tiling
        )
        segmenter.initialize(image, image_embeddings=embeddings)
        if mode == "ais":
            state = segmenter.get_state()
            for name in ("foreground", "center_distances", "boundary_distances"):
                found[f"{form}_{name}"] = state[name]
        found[f"{mode}_{form}"] = segmenter.generate(
            output_mode="instance_segmentation", **settings
        )
    if form == "whole":
        found["features"] = np.asarray(embeddings["features"])
    given = dict(image_embeddings=embeddings)
    points = np.array([[53, 138], [20, 20]])  # row, column
    found[f"points_{form}"] = segment_from_points(predictor, points, np.array([1, 0]), **given)
    found[f"box_{form}"] = segment_from_box(predictor, np.array([28, 110, 82, 165]), **given)
np.savez(out, **{name: np.asarray(values) for name, values in found.items()})
