"""supervision: detections of automatic masks, as its documentation has it."""

import sys

import cv2
import numpy as np
import supervision as sv
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

checkpoint, picture, out = sys.argv[1:]
sam = sam_model_registry["vit_h"](checkpoint=checkpoint).to(device="cpu")
generator = SamAutomaticMaskGenerator(
    sam, points_per_side=8, pred_iou_thresh=0.7, stability_score_thresh=0.8
)
image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
detections = sv.Detections.from_sam(generator.generate(image))
annotator = sv.MaskAnnotator(color_lookup=sv.ColorLookup.INDEX)
annotated = annotator.annotate(image.copy(), detections)
np.savez(out, xyxy=detections.xyxy, mask=detections.mask, annotated=annotated)
