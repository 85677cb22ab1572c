"""Everything in a picture as a COCO file: python examples/everything_to_coco.py"""

import json
from pathlib import Path

from PIL import Image, ImageOps

from sam_mlx import SamAutomaticMaskGenerator, show
from sam_mlx.masks import coco_annotations

picture = Path(__file__).parent / "images" / "coins.png"
# For photographs: "vit_b" without these options, because the defaults suit it.
# nano is less sure of its masks, hence lower thresholds; 16 points per side are enough for coins.
options = {"pred_iou_thresh": 0.85, "stability_score_thresh": 0.9, "points_per_side": 16}
generator = SamAutomaticMaskGenerator.from_pretrained("nano", **options, output_mode="coco_rle")
image = ImageOps.exif_transpose(Image.open(picture))  # upright, as width and height below are
records = generator.generate(image, progress=True)
coco = {
    "info": {},
    "images": [{"id": 1, "file_name": picture.name, "width": image.width, "height": image.height}],
    "categories": [{"id": 1, "name": "object"}],
    "annotations": coco_annotations(records, image_id=1, category_id=1),
}
Path("coins.json").write_text(json.dumps(coco))
show(image, records).save("coins_shown.png")
print(f"coins.json: {len(records)} masks")
