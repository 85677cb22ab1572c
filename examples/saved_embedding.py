"""Encode a picture once, prompt later without the picture: python examples/saved_embedding.py"""

from pathlib import Path

from PIL import Image

from sam_mlx import ImageEmbedding, SamPredictor, show

picture = Path(__file__).parent / "images" / "coins.png"
model = "nano"  # for photographs: "vit_b"
predictor = SamPredictor.from_pretrained(model)
predictor.set_image(picture)  # this takes nearly all of the time
predictor.get_image_embedding().save("embedding.safetensors")

# Later, in another program. An embedding made by another model would be refused.
predictor = SamPredictor.from_pretrained(model)
predictor.set_image_embedding(ImageEmbedding.load("embedding.safetensors"))
for i, click in enumerate([(65, 52), (109, 210)]):
    masks, _, _ = predictor.predict([click], [1], multimask_output=False)
    Image.fromarray(masks[0]).save(f"later_{i}.png")
    # Only to look at it is the picture needed again.
    show(picture, masks, [click], [1]).save(f"later_{i}_shown.png")
print("embedding.safetensors, and two masks made from it: later_0.png, later_1.png")
