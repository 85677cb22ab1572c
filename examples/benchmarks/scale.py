"""Time and peak memory as image size, prompts and batch grow, as a plot.

    python -m examples.benchmarks.scale scale.png

Every point is one run in its own process, after a small one that does not count. Memory is the
largest resident size of the process, including libraries and weights.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

AXES = {
    "size": ("pixels per side: set_image and one click", [256, 512, 1024, 2048, 4096, 8192]),
    "prompts": ("prompts: automatic masks of 1024x1024 pixels", [1, 16, 64, 256, 1024, 4096]),
    "batch": ("images: image encoder", [1, 2, 4, 8, 16]),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("plot", help="file to write")
    parser.add_argument("--model", default="nano", help="nano, a folder or a hub repository")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--largest", type=int, default=8192, help="largest value on any axis")
    parser.add_argument("--one", nargs=2, metavar=("AXIS", "VALUE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, args.one[0], int(args.one[1]))))
        return
    measured = {}
    for axis in args.axes:
        for value in AXES[axis][1]:
            if value <= args.largest:
                command = [sys.executable, "-m", "examples.benchmarks.scale", *sys.argv[1:]]
                command += ["--one", axis, str(value)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                seconds, megabytes = json.loads(done.stdout)
                measured.setdefault(axis, []).append((value, seconds, megabytes))
                print(f"{axis} {value}: {seconds:.3g} s, {megabytes:.0f} MB", flush=True)
    draw(measured, args.model, args.plot)


def measure(name: str, axis: str, value: int) -> tuple[float, float]:
    """Seconds and peak megabytes of one run."""
    from sam_mlx import Sam

    model = Sam.from_pretrained(name)
    work = {"size": segment, "prompts": automatic, "batch": encode}[axis]
    work(model, 1 if axis != "size" else 64)
    start = time.perf_counter()
    work(model, value)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, peak / (1e6 if sys.platform == "darwin" else 1e3)


def segment(model, side: int) -> None:
    from sam_mlx import SamPredictor

    predictor = SamPredictor(model)
    predictor.set_image(picture(side))
    predictor.predict([[side / 2, side / 2]], [1])


def automatic(model, prompts: int) -> None:
    from sam_mlx import SamAutomaticMaskGenerator

    points = round(prompts**0.5)
    generator = SamAutomaticMaskGenerator(model, points, output_mode="uncompressed_rle")
    generator.generate(picture(1024))


def encode(model, batch: int) -> None:
    import mlx.core as mx

    size = model.config.image_size
    mx.eval(model.encode_image(mx.zeros((batch, size, size, 3))))


def picture(side: int):
    """Discs on a gradient, (side, side, 3) uint8."""
    import numpy as np
    from PIL import Image, ImageDraw

    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(0)
    for _ in range(12):
        x, y, radius = random.uniform((0.1, 0.1, 0.02), (0.9, 0.9, 0.15)) * side
        colour = tuple(int(c) for c in random.integers(0, 256, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(image)


def draw(measured: dict[str, list[tuple]], model: str, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        2, len(measured), figsize=(4 * len(measured), 6), squeeze=False, sharex="col"
    )
    for column, (axis, points) in enumerate(measured.items()):
        values, *columns = zip(*points)
        for row, (unit, numbers) in enumerate(zip(("seconds", "peak memory, MB"), columns)):
            panel = panels[row][column]
            panel.plot(values, numbers, "o-")
            panel.set_xscale("log", base=2)
            panel.set_yscale("log" if row == 0 else "linear")
            panel.set_ylim(bottom=None if row == 0 else 0)
            panel.set_ylabel(unit)
            panel.grid(alpha=0.3)
        panels[1][column].set_xlabel(AXES[axis][0], fontsize=8)
    figure.suptitle(model)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
