"""segment-geospatial: automatic masks, prompts, and its subclass of the predictor."""

import sys

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin
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

# A picture in its place on Earth, a degree wide, and boxes in degrees.
place = dict(crs="EPSG:4326", transform=from_origin(0, 1, 1 / 256, 1 / 256))
size = dict(width=256, height=256, count=3, dtype="uint8")
with rasterio.open("picture.tif", "w", driver="GTiff", **size, **place) as file:
    file.write(image.transpose(2, 0, 1))
sam.set_image("picture.tif")
boxes = [[0.16, 0.57, 0.39, 0.84], [0.35, 0.65, 0.62, 0.92]]
sam.predict(boxes=boxes, point_crs="EPSG:4326", output="boxes.tif", dtype="uint8")
found |= {"boxes": sam.masks.numpy(), "written": rasterio.open("boxes.tif").read()}

predictor = SamGeoPredictor(sam.sam)
predictor.set_image(image)
found["sub"], _, _ = predictor.predict(box=np.array([40, 40, 100, 110]), multimask_output=False)
np.savez(out, **found)
