"""autodistill-segment-anything: its model is built from a file in the home folder."""

import shutil
import sys
from pathlib import Path

import numpy as np
from stand_ins import stand_in

stand_in("roboflow", "autodistill_grounded_sam.helpers", "sklearn.metrics.pairwise")
checkpoint, picture, out = sys.argv[1:]
cache = Path.home() / ".cache" / "autodistill" / "segment_anything"
cache.mkdir(parents=True, exist_ok=True)
shutil.copy(checkpoint, cache / "sam_vit_h_4b8939.pth")
from autodistill.detection import CaptionOntology
from autodistill_segment_anything import SegmentAnything

model = SegmentAnything(CaptionOntology({"coin": "coin"}))
model.predictor.point_grids = [model.predictor.point_grids[0][::16]]
model.predictor.pred_iou_thresh = 0.7
detections = model.predict(picture)
np.savez(out, xyxy=detections.xyxy, mask=detections.mask)
