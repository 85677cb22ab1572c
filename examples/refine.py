"""A click that finds too little, and a second click that corrects it: python examples/refine.py"""

from pathlib import Path

from PIL import Image

from sam_mlx import SamPredictor, show

picture = Path(__file__).parent / "images" / "shapes.png"
predictor = SamPredictor.from_pretrained("nano")  # for photographs: "vit_b"
predictor.set_image(picture)
# The best mask is only the violet spot, but the whole pill was meant.
masks, scores, logits = predictor.predict([[180, 188]], [1])
best = scores.argmax()
# Both clicks, the second on what is missing (on what is too much it would have label 0), and the
# logits of the first mask. Two clicks are less ambiguous, so one mask is enough.
refined, _, _ = predictor.predict(
    [[180, 188], [196, 224]], [1, 1], mask_input=logits[best, None], multimask_output=False
)
Image.fromarray(refined[0]).save("refined.png")
show(picture, refined, [[180, 188], [196, 224]], [1, 1]).save("refined_shown.png")
print(f"refined.png: {refined[0].sum()} pixels, {masks[best].sum()} before")
