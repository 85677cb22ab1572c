"""As CVAT's serverless function: a picture comes in base64, its embedding goes back so."""

import base64
import io
import sys

import numpy as np
import torch
from PIL import Image
from segment_anything import SamPredictor, sam_model_registry


class ModelHandler:
    def __init__(self, checkpoint):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sam_model = sam_model_registry["vit_h"](checkpoint=checkpoint)
        sam_model.to(device=self.device)
        self.predictor = SamPredictor(sam_model)

    def handle(self, image):
        self.predictor.set_image(np.array(image))
        return self.predictor.get_image_embedding()


checkpoint, picture, out = sys.argv[1:]
with open(picture, "rb") as file:
    body = base64.b64encode(file.read())
image = Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")
features = ModelHandler(checkpoint).handle(image)
blob = base64.b64encode(features.cpu().numpy() if features.is_cuda else features.numpy())
values = np.frombuffer(base64.b64decode(blob), np.float32).reshape(features.shape)
np.savez(out, blob=values)
