"""A mask for each box of a detector: python examples/boxes_from_a_detector.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from sam_mlx import SamPredictor, show

# As detectors return them: x0, y0, x1, y1 in pixels, confidence, class. SAM takes only the boxes:
# remove unlikely ones first, and keep the classes for the masks, which are in the same order.
detections = np.array(
    [[115, 28, 160, 76, 0.98, 0], [41, 30, 87, 76, 0.95, 0], [213, 26, 254, 65, 0.71, 1]]
)
picture = Path(__file__).parent / "images" / "coins.png"
predictor = SamPredictor.from_pretrained("nano")  # for photographs: "vit_b"
predictor.set_image(picture)
# A box makes clear which object is meant, so one mask is enough: (3, 1, height, width).
masks, scores, _ = predictor.predict_batch(boxes=detections[:, :4], multimask_output=False)
for i, mask in enumerate(masks[:, 0]):
    Image.fromarray(mask).save(f"box_{i}.png")
show(picture, masks[:, 0]).save("boxes_shown.png")
print(f"box_0.png to box_{i}.png: predicted IoU {', '.join(f'{s:.2f}' for s in scores[:, 0])}")
