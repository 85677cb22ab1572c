"""An object without its background, as a PNG with alpha: python examples/cutout.py"""

from pathlib import Path

from PIL import Image, ImageOps

from sam_mlx import SamPredictor

picture = Path(__file__).parent / "images" / "coins.png"
image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")  # upright, as a viewer shows it
predictor = SamPredictor.from_pretrained("nano")  # for photographs: "vit_b"
predictor.set_image(image)
masks, _, _ = predictor.predict(box=[115, 28, 160, 76], multimask_output=False)
alpha = Image.fromarray(masks[0])
image.putalpha(alpha)
cutout = image.crop(alpha.getbbox())
cutout.save("cutout.png")
print(f"cutout.png: {cutout.width} x {cutout.height} pixels")
