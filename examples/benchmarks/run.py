"""Time and memory of sam_mlx beside PyTorch and mlx-examples, as a Markdown table.

    python -m examples.benchmarks.run --mlx-examples FOLDER

Every figure comes from its own process, one process at a time, on the same random ViT-B.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from examples.benchmarks.loop import MEASUREMENTS

FIRST = "sam_mlx"
SIDES = {  # the module that measures, and the checkpoint that prepare.py makes for it
    "sam_mlx": ("bench_sam_mlx", "sam_mlx"),
    "PyTorch": ("bench_torch", "sam.pth"),
    "mlx-examples": ("bench_mlx_examples", "mlx_examples"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME",
        help=f"measurements to make, of {', '.join(MEASUREMENTS)}",
    )  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--mlx-examples", type=Path, help="the folder segment_anything of a clone")
    parser.add_argument(
        "--mlx-examples-skips", nargs="*", choices=MEASUREMENTS, default=[], metavar="NAME",
        help="measurements to leave out on that side",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--image", type=Path, help="picture file, instead of scikit-image's")
    parser.add_argument("--repeats", type=int, default=7, help="maximum number of measured runs")
    parser.add_argument(
        "--seconds", type=float, default=60, help="no new run begins later than this"
    )
    parser.add_argument("--points-per-side", type=int, default=32, help="of automatic masks")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/sam_mlx_benchmarks",
        help="folder for the random ViT-B, 1.5 GB",
    )  # fmt: skip
    args = parser.parse_args()

    options = ["--mlx-examples", args.mlx_examples] if args.mlx_examples else []
    run("prepare", args.cache, *options, stdout=sys.stderr)
    sides = [side for side in args.sides if side != "mlx-examples" or args.mlx_examples]
    figures = {}
    for name in args.only:
        for side in sides:
            if side == "mlx-examples" and name in args.mlx_examples_skips:
                continue
            figures[name, side] = measure(args, name, side)
            print(name, side, figures[name, side], file=sys.stderr)
    print("\n".join([about(args), "", *table(args.only, sides, figures)]))


def run(module: str, *arguments, stdout) -> str | None:
    command = [sys.executable, "-m", f"examples.benchmarks.{module}", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, check=True, text=True).stdout


def measure(args: argparse.Namespace, name: str, side: str) -> dict | None:
    """The figures, or None if the measurement fails; its error is on stderr."""
    module, model = SIDES[side]
    options = ["--model", args.cache / model]
    options += ["--image", args.image or args.cache / "image.png"]
    for option in ("dtype", "repeats", "seconds", "points-per-side"):
        options += [f"--{option}", getattr(args, option.replace("-", "_"))]
    if side == "mlx-examples":
        options += ["--package", args.mlx_examples]
    try:
        return json.loads(run(module, name, *options, stdout=subprocess.PIPE).splitlines()[-1])
    except subprocess.CalledProcessError:
        return None


def about(args: argparse.Namespace) -> str:
    packages = ["mlx", "mkl", "torch", "segment-anything", "numpy"]
    versions = [f"{name} {version}" for name in packages if (version := version_of(name))]
    where = f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores"
    return (
        f"{datetime.date.today()}; {where}{gpu()}; Python {platform.python_version()}, "
        f"{', '.join(versions)}; ViT-B, {args.dtype}; medians of {args.repeats} runs, or of as "
        f"many as begin within {args.seconds:g} s; automatic masks with {args.points_per_side} "
        "points per side."
    )


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "unknown")


def gpu() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return ""
    names = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f", {names}" if names else ""


def table(names: list[str], sides: list[str], figures: dict) -> list[str]:
    """Time and peak memory of each side, and sam_mlx's divided by those of each peer."""
    peers = [side for side in sides if side != FIRST]
    head = ["work", FIRST, *(text for peer in peers for text in (peer, f"{FIRST} / {peer}"))]
    rows = []
    for name in names:
        ours = figures.get((name, FIRST))
        row = [MEASUREMENTS[name], text(ours)]
        for peer in peers:
            theirs = figures.get((name, peer))
            row += [text(theirs), ratio(ours, theirs)]
        rows.append(row)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def text(figures: dict | None) -> str:
    if not figures:
        return ""
    seconds = figures["seconds"]
    value, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    time = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{time} {unit}, {figures['peak_mb'] / 1000:.2f} GB"


def ratio(ours: dict | None, theirs: dict | None) -> str:
    if not ours or not theirs:
        return ""
    return ", ".join(f"{ours[key] / theirs[key]:.2f}" for key in ("seconds", "peak_mb"))


if __name__ == "__main__":
    main()
