"""Automatic masks of one picture: time and peak memory of sam_mlx and of the original in PyTorch.

    python -m examples.benchmarks.automatic_masks PICTURE

Each side runs in its own process, one after the other, on the same weights. Peak memory is the
largest resident size of the process, including libraries and weights.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import sam_mlx  # noqa: F401  first: on Linux it must come before mlx.core


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("picture")
    parser.add_argument("--model", default="nano", help="nano, a folder or a hub repository")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--pred-iou-thresh", type=float, default=0.88)
    parser.add_argument("--stability-score-thresh", type=float, default=0.95)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    for side in SIDES:
        command = [sys.executable, "-m", "examples.benchmarks.automatic_masks", *sys.argv[1:]]
        command += ["--side", side]
        # The original does not have these settings of sam_mlx.
        env = {**os.environ, "SAM_MLX_LINUX_TUNING": "1" if side == "sam_mlx" else "0"}
        done = subprocess.run(command, stdout=subprocess.PIPE, env=env, check=True)
        print(f"{side:10}", json.loads(done.stdout.splitlines()[-1]))


def measure(args: argparse.Namespace) -> dict:
    from sam_mlx.transforms import load_image

    image = load_image(Path(args.picture))
    options = {
        "points_per_side": args.points_per_side,
        "pred_iou_thresh": args.pred_iou_thresh,
        "stability_score_thresh": args.stability_score_thresh,
    }
    generator = SIDES[args.side](args.model, options)
    before = peak_mb()
    start = time.perf_counter()
    records = generator.generate(image)
    seconds = time.perf_counter() - start
    figures = {"seconds": round(seconds, 2), "peak_mb": peak_mb(), "before_mb": before}
    if args.side == "sam_mlx":
        import mlx.core as mx

        figures["mlx_peak_mb"] = round(mx.get_peak_memory() / 1e6)
    return {**figures, "masks": len(records), "area": sum(r["area"] for r in records)}


def peak_mb() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (1e6 if sys.platform == "darwin" else 1e3))


def ours(model: str, options: dict):
    from sam_mlx import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator.from_pretrained(model, **options)


def original(model: str, options: dict):
    from sam_mlx import Sam
    from tests.support.automatic import original_of
    from tests.support.originals import segment_anything

    return segment_anything.SamAutomaticMaskGenerator(
        original_of(Sam.from_pretrained(model)), **options
    )


SIDES = {"sam_mlx": ours, "original": original}

if __name__ == "__main__":
    main()
