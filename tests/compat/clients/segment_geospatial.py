"""segment-geospatial: automatic masks, prompts, and its subclass of the predictor."""

import sys

import numpy as np
from PIL import Image
from samgeo.samgeo import SamGeo, SamGeoPredictor

checkpoint, picture, out = sys.argv[1:]
image = np.array(Image.open(picture).convert("RGB"))

sam = SamGeo(
    "vit_b",
    checkpoint=checkpoint,
    sam_kwargs=dict(points_per_side=8, pred_iou_thresh=0.7, stability_score_thresh=0.8),
)
sam.generate(image)
found = {"objects": sam.objects, "areas": np.array([m["area"] for m in sam.masks])}

sam = SamGeo("vit_b", checkpoint=checkpoint, automatic=False)
sam.set_image(image)
sam.predict([[60, 70], [120, 90]], point_labels=[1, 0], multimask_output=False)
found |= {"masks": sam.masks, "scores": sam.scores, "logits": sam.logits}
sam.predict(boxes=[[40, 40, 100, 110], [90, 20, 160, 90]])
found |= {"boxes": np.asarray(sam.prediction)}

predictor = SamGeoPredictor(sam.sam)
predictor.set_image(image)
found["sub"], _, _ = predictor.predict(box=np.array([40, 40, 100, 110]), multimask_output=False)
np.savez(out, **found)
