"""As label-studio's two back ends: embeddings kept and set again; boxes of a detector."""

import sys

import numpy as np
import torch
from PIL import Image
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide

checkpoint, picture, out = sys.argv[1:]
image = np.array(Image.open(picture).convert("RGB"))
sam = sam_model_registry["vit_b"](checkpoint=checkpoint).to("cpu")
predictor = SamPredictor(sam)
cache = {}
for name, pixels in {"whole": image, "upper": image[:100]}.items():
    predictor.set_image(pixels)
    kept = ("features", "original_size", "input_size", "orig_h", "orig_w", "input_h", "input_w")
    cache[name] = {key: getattr(predictor, key) for key in kept}
    predictor.reset_image()

found = {}
for name in ("whole", "upper", "whole"):
    for key, value in cache[name].items():
        setattr(predictor, key, value)
    predictor.is_image_set = True
    masks, probs, _ = predictor.predict(
        point_coords=np.array([[60, 70]]), point_labels=np.array([1]), box=None, mask_input=None
    )
    found |= {f"{name} mask": masks[0].astype(np.uint8), f"{name} score": np.array(float(probs[0]))}
features = predictor.get_image_embedding().cpu().numpy()
found["features"] = features

boxes = torch.tensor([[40.0, 40, 100, 110], [90, 20, 160, 90]])
predictor.set_image(image)
in_frame = predictor.transform.apply_boxes_torch(boxes, image.shape[:2]).to(predictor.device)
found["boxes"] = (
    predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=in_frame, multimask_output=False
    )[0]
    .cpu()
    .numpy()
)
assert ResizeLongestSide(sam.image_encoder.img_size).apply_image(image).dtype == np.uint8
np.savez(out, **found)
