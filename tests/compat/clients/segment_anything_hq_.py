"""SAM-HQ's package: prompts, batches, parts, kept features, everything in a picture."""

import sys

import numpy as np
import torch
from PIL import Image
from segment_anything_hq import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything_hq.modeling import MaskDecoderHQ
from segment_anything_hq.utils.transforms import ResizeLongestSide

checkpoint, picture, out = sys.argv[1:]
sam = sam_model_registry["vit_b"](checkpoint=checkpoint).to(device="cpu").eval()
assert isinstance(sam.mask_decoder, MaskDecoderHQ)
image = np.array(Image.open(picture).convert("RGB"))
found = {}


def keep(name, masks, scores, logits):
    found.update({f"{name}_masks": masks, f"{name}_scores": scores, f"{name}_logits": logits})


predictor = SamPredictor(sam)
predictor.set_image(image)
click = dict(point_coords=np.array([[138, 53]]), point_labels=np.array([1]))
box = np.array([110, 28, 165, 82])
first = predictor.predict(**click)
keep("click", *first)
keep("single", *predictor.predict(**click, multimask_output=False))
keep("hq", *predictor.predict(**click, hq_token_only=True))
keep("box", *predictor.predict(box=box, multimask_output=False, return_logits=True))
keep("again", *predictor.predict(**click, mask_input=first[2]))

# Features kept, and set again in another predictor, as label tools do.
other = SamPredictor(sam)
other.features = predictor.features
other.interm_features = [predictor.interm_features[0].clone()]
other.original_size, other.input_size = predictor.original_size, predictor.input_size
other.is_image_set = True
keep("kept", *other.predict(None, None, box, None, False, False, True))

transform = ResizeLongestSide(sam.image_encoder.img_size)
boxes = transform.apply_boxes_torch(
    torch.tensor([[110, 28, 165, 82], [30, 30, 80, 90]]), image.shape[:2]
)
torch_answers = predictor.predict_torch(
    None, None, boxes, multimask_output=False, hq_token_only=False
)
keep("torch", *torch_answers)

pixels = torch.as_tensor(transform.apply_image(image)).permute(2, 0, 1)
record = {"image": pixels, "boxes": boxes, "original_size": image.shape[:2]}
for only in (False, True):
    (answer,) = sam([record], multimask_output=True, hq_token_only=only)
    keep(f"batch_{only}", answer["masks"], answer["iou_predictions"], answer["low_res_logits"])

embeddings, early = sam.image_encoder(sam.preprocess(pixels)[None])
found["embeddings"], found["early"] = embeddings, early[0]
sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
found["parts_logits"], found["parts_iou"] = sam.mask_decoder(
    image_embeddings=embeddings,
    image_pe=sam.prompt_encoder.get_dense_pe(),
    sparse_prompt_embeddings=sparse,
    dense_prompt_embeddings=dense,
    multimask_output=True,
    hq_token_only=False,
    interm_embeddings=early,
)
generator = SamAutomaticMaskGenerator(
    sam, points_per_side=6, pred_iou_thresh=0.8, stability_score_thresh=0.6
)
records = sorted(generator.generate(image), key=lambda r: r["point_coords"])
found["everything"] = np.array([r["segmentation"] for r in records])
found["everything_iou"] = np.array([r["predicted_iou"] for r in records])
values = {n: x.detach().numpy() if torch.is_tensor(x) else x for n, x in found.items()}
np.savez(out, **values)
