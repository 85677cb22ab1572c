"""Automatic masks of a picture or a folder, with the flags of Meta's ``scripts/amg.py``."""

import argparse
import json
from pathlib import Path

import cv2
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

parser = argparse.ArgumentParser()
for name in ("input", "output", "model-type", "checkpoint"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--device", default="cuda")
parser.add_argument("--convert-to-rle", action="store_true")
COUNTS = (
    "points-per-side", "points-per-batch", "crop-n-layers", "crop-n-points-downscale-factor",
    "min-mask-region-area", "crop-overlap-ratio",
)  # fmt: skip
SHARES = (
    "pred-iou-thresh", "stability-score-thresh", "stability-score-offset", "box-nms-thresh",
    "crop-nms-thresh",
)  # fmt: skip
for name in COUNTS:
    parser.add_argument(f"--{name}", type=int)
for name in SHARES:
    parser.add_argument(f"--{name}", type=float)


def write_pngs(masks, folder):
    folder.mkdir()
    rows = ["id,area,bbox,point,predicted_iou,stability_score,crop_box"]
    for i, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{i}.png"), mask["segmentation"] * 255)
        values = (mask["area"], *mask["bbox"], *mask["point_coords"][0], *mask["crop_box"])
        rows.append(",".join(map(str, (i, *values))))
    (folder / "metadata.csv").write_text("\n".join(rows))


def main(args):
    sam = sam_model_registry[args.model_type](checkpoint=args.checkpoint)
    sam.to(device=args.device)
    names = [name.replace("-", "_") for name in (*COUNTS, *SHARES)]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    mode = "coco_rle" if args.convert_to_rle else "binary_mask"
    generator = SamAutomaticMaskGenerator(sam, output_mode=mode, **given)
    found = Path(args.input)
    output = Path(args.output)
    output.mkdir(exist_ok=True)
    for path in sorted(found.iterdir()) if found.is_dir() else [found]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        masks = generator.generate(image)
        if args.convert_to_rle:
            (output / f"{path.stem}.json").write_text(json.dumps(masks))
        else:
            write_pngs(masks, output / path.stem)


main(parser.parse_args())
