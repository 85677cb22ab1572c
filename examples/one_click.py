"""One click on an object, the best of three masks as a PNG: python examples/one_click.py"""

from pathlib import Path

from PIL import Image

from sam_mlx import SamPredictor, show
from sam_mlx.masks import best_mask

picture = Path(__file__).parent / "images" / "coins.png"
predictor = SamPredictor.from_pretrained("nano")  # for photographs: "vit_b"
predictor.set_image(picture)
# Three masks, because a click can mean a part, an object or a group of objects.
masks, scores, _ = predictor.predict(point_coords=[[138, 53]], point_labels=[1])
mask = best_mask(masks, scores)
Image.fromarray(mask).save("one_click.png")
show(picture, mask, [[138, 53]], [1]).save("one_click_shown.png")
print(f"one_click.png: {mask.sum()} pixels, predicted IoU {scores.max():.2f}")
