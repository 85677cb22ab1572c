"""What float16, bfloat16 and 8-bit weights save and what they cost, as a Markdown table.

python -m examples.benchmarks.precision MODEL IMAGE
"""

import argparse
import tempfile
from pathlib import Path

from sam_mlx import Sam, SamPredictor  # before mlx.core

# isort: split
import mlx.core as mx
import numpy as np

CLICKS_PER_SIDE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="nano, a folder, a .safetensors file or a hub repository")
    parser.add_argument("image", type=Path)
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "float16", "bfloat16"], metavar="DTYPE"
    )
    args = parser.parse_args()
    print("| weights | file | peak memory of `set_image` | mask IoU with float32: mean | worst |")
    print("| --- | --- | --- | --- | --- |")
    _, expected, _ = segment(Sam.from_pretrained(args.model, dtype="float32"), args.image)
    for quantize in (None, 8):
        for dtype in args.dtypes:
            model = Sam.from_pretrained(args.model, dtype=dtype, quantize=quantize)
            size, masks, peak = segment(model, args.image)
            overlap = iou(masks, expected)
            name = f"{dtype}, encoder in 8 bits" if quantize else dtype
            print(
                f"| {name} | {size / 1e6:.1f} MB | {peak / 1e6:.0f} MB "
                f"| {overlap.mean():.4f} | {overlap.min():.4f} |",
                flush=True,
            )


def segment(model: Sam, image: Path) -> tuple[int, np.ndarray, int]:
    """The file's size in bytes, masks (N, H, W) of a grid of clicks, MLX's peak memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder, "model"))
        size = Path(folder, "model", "model.safetensors").stat().st_size
    predictor = SamPredictor(model)
    mx.reset_peak_memory()
    predictor.set_image(image)
    peak = mx.get_peak_memory()
    height, width = predictor.original_size
    steps = (np.arange(CLICKS_PER_SIDE) + 0.5) / CLICKS_PER_SIDE
    clicks = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 1, 2)
    masks, _, _ = predictor.predict_batch(clicks, np.ones(clicks.shape[:2], int))
    return size, masks.reshape(-1, height, width), peak


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The IoU (N,) of each pair of masks (N, H, W); that of two empty masks is 1."""
    union = (a | b).sum(axis=(1, 2))
    return np.where(union, (a & b).sum(axis=(1, 2)) / np.maximum(union, 1), 1)


if __name__ == "__main__":
    main()
