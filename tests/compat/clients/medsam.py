"""As MedSAM's inference: the parts called one by one, and fine-tuned weights loaded late."""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

checkpoint, picture, out = sys.argv[1:]
image = np.array(Image.open(picture).convert("RGB"))
H, W, _ = image.shape
model = sam_model_registry["vit_b"](checkpoint=checkpoint)
model.load_state_dict(torch.load(checkpoint, map_location="cpu"))
model = model.to("cpu")
model.eval()
assert isinstance(model, Sam)
assert sum(p.numel() for p in model.parameters()) > 1e6

S = model.image_encoder.img_size
pixels = np.array(Image.fromarray(image).resize((S, S), Image.Resampling.BICUBIC)) / 255
with torch.no_grad():
    x = torch.tensor(pixels).float().permute(2, 0, 1).unsqueeze(0)
    embedding = model.image_encoder(x)


@torch.no_grad()
def infer(box):
    box = torch.as_tensor(box / np.array([W, H, W, H]) * S, dtype=torch.float)
    if len(box.shape) == 2:
        box = box[:, None, :]
    sparse, dense = model.prompt_encoder(points=None, boxes=box, masks=None)
    logits, _ = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    low = torch.sigmoid(logits)
    return F.interpolate(low, size=(H, W), mode="bilinear", align_corners=False).squeeze().numpy()


boxes = np.array([[40, 40, 100, 110], [90, 20, 160, 90]])
np.savez(out, embedding=embedding.numpy(), one=infer(boxes[:1]) > 0.5, two=infer(boxes) > 0.5)
