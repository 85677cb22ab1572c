"""Run the model once, then try thresholds without it: python examples/thresholds.py"""

from pathlib import Path

from sam_mlx import MaskPredictions, SamAutomaticMaskGenerator, show

picture = Path(__file__).parent / "images" / "coins.png"
# For photographs: "vit_b" without points_per_side; coins need fewer than most.
generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=16)
# Only this needs the model. keep_iou is the lowest pred_iou_thresh to try; a lower one makes a
# larger file.
generator.predict(picture, keep_iou=0.8).save("predictions.safetensors")

predictions = MaskPredictions.load("predictions.safetensors")  # another day
table = ["pred_iou_thresh,stability_score_thresh,masks"]
for iou, stability in [(0.88, 0.95), (0.92, 0.9), (0.88, 0.9), (0.88, 0.8), (0.8, 0.8)]:
    records = generator.select(predictions, pred_iou_thresh=iou, stability_score_thresh=stability)
    table.append(f"{iou},{stability},{len(records)}")
show(picture, records).save("thresholds_shown.png")  # those of the last pair
Path("thresholds.csv").write_text("\n".join(table) + "\n")
print(f"thresholds.csv: masks kept by {len(table) - 1} pairs of thresholds")
