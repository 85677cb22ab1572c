"""The calls of Meta's two notebooks on prompts and on automatic masks."""

import sys

import cv2
import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide

checkpoint, picture, out = sys.argv[1:]
image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
sam = sam_model_registry["vit_h"](checkpoint=checkpoint)
sam.to(device="cpu")
found = {}


def keep(name, results):
    for part, value in zip(("masks", "scores", "logits"), results):
        found[f"{name} {part}"] = value.cpu().numpy() if isinstance(value, torch.Tensor) else value


predictor = SamPredictor(sam)
predictor.set_image(image)
point, label = np.array([[60, 70]]), np.array([1])
results = predictor.predict(point_coords=point, point_labels=label, multimask_output=True)
keep("point", results)
points, labels = np.array([[60, 70], [80, 80]]), np.array([1, 0])
best = results[2][np.argmax(results[1]), :, :]
prompt = dict(point_coords=points, point_labels=labels, multimask_output=False)
keep("refined", predictor.predict(mask_input=best[None, :, :], **prompt))
box = np.array([40, 40, 100, 110])
keep("box", predictor.predict(None, None, box=box[None, :], multimask_output=False))
prompt = dict(point_coords=point, point_labels=np.array([0]), box=box, multimask_output=False)
keep("box and point", predictor.predict(**prompt))

boxes = torch.tensor([[40, 40, 100, 110], [90, 20, 160, 90], [0, 0, 256, 256]])
in_frame = predictor.transform.apply_boxes_torch(boxes.to(predictor.device), image.shape[:2])
prompt = dict(point_coords=None, point_labels=None, boxes=in_frame, multimask_output=False)
keep("boxes", predictor.predict_torch(**prompt))

resize = ResizeLongestSide(sam.image_encoder.img_size)


def prepared(image):
    pixels = torch.as_tensor(resize.apply_image(image), device=sam.device)
    return pixels.permute(2, 0, 1).contiguous()


batch = [
    {
        "image": prepared(picture),
        "boxes": resize.apply_boxes_torch(boxes, picture.shape[:2]),
        "original_size": picture.shape[:2],
    }
    for picture in (image, image[:100])
]
for i, record in enumerate(sam(batch, multimask_output=False)):
    for name, tensor in record.items():
        found[f"batch {i} {name}"] = tensor.numpy()

generator = SamAutomaticMaskGenerator(
    model=sam,
    points_per_side=8,
    pred_iou_thresh=0.86,
    stability_score_thresh=0.92,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
    min_mask_region_area=100,  # with OpenCV in the original
)
records = generator.generate(image)
for name in ("segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score"):
    found[f"automatic {name}"] = np.array([record[name] for record in records])
np.savez(out, **found)
