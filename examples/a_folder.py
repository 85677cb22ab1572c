"""What is in the middle of each picture of a folder: python examples/a_folder.py [FOLDER]"""

import sys
from pathlib import Path

from PIL import Image

from sam_mlx import SamPredictor

folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "images"
predictor = SamPredictor.from_pretrained("nano")  # for photographs: "vit_b"
Path("masks").mkdir(exist_ok=True)
made = 0
for path in sorted(folder.iterdir()):
    try:
        predictor.set_image(path)
    except (OSError, ValueError) as error:  # damaged, or not a picture: skip it
        print(f"left out: {error}", file=sys.stderr)
        continue
    height, width = predictor.original_size
    masks, scores, _ = predictor.predict([[width / 2, height / 2]], [1])
    # The whole name of others, because a.jpg would become a.png, too.
    name = path.name if path.suffix == ".png" else f"{path.name}.png"
    Image.fromarray(masks[scores.argmax()]).save(f"masks/{name}")
    made += 1
print(f"masks/: {made} masks")
