"""Time and memory of sam_mlx beside PyTorch and mlx-examples, as a Markdown table.

    python examples/benchmarks/run.py --mlx-examples FOLDER

Every figure comes from a process of its own, one after the other, on the same random ViT-B.
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

from loop import MEASUREMENTS, ROOT

HERE, FIRST = Path(__file__).parent, "sam_mlx"
SCRIPTS = {
    "sam_mlx": ("bench_sam_mlx.py", "sam_mlx"),
    "PyTorch": ("bench_torch.py", "sam.pth"),
    "mlx-examples": ("bench_mlx_examples.py", "mlx_examples"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME",
        help=f"of {', '.join(MEASUREMENTS)}",
    )  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--mlx-examples", type=Path, help="folder segment_anything of a clone")
    parser.add_argument(
        "--mlx-examples-skips", nargs="*", choices=MEASUREMENTS, default=[], metavar="NAME",
        help="measurements that take it too long",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--image", type=Path, help="picture file; by default scikit-image's")
    parser.add_argument("--repeats", type=int, default=7, help="measured runs, at most")
    parser.add_argument("--seconds", type=float, default=60, help="no new run begins after these")
    parser.add_argument("--points-per-side", type=int, default=32, help="of automatic masks")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache/sam_mlx_benchmarks",
        help="folder for the random ViT-B, 1.5 GB",
    )  # fmt: skip
    args = parser.parse_args()

    prepare = ["prepare.py", args.cache]
    if args.mlx_examples:
        args.mlx_examples = args.mlx_examples.resolve()
        prepare += ["--mlx-examples", args.mlx_examples]
    run(prepare, sys.stderr)
    sides = [side for side in args.sides if side != "mlx-examples" or args.mlx_examples]
    figures = {}
    for name in args.only:
        for side in sides:
            if side == "mlx-examples" and name in args.mlx_examples_skips:
                continue
            figures[name, side] = measure(args, name, side)
            print(name, side, figures[name, side], file=sys.stderr)
    print("\n".join([about(args), "", *table(args.only, sides, figures)]))


def run(command: list, stdout) -> str | None:
    script, *arguments = map(str, command)
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.run(command, stdout=stdout, env=env, check=True, text=True).stdout


def measure(args: argparse.Namespace, name: str, side: str) -> dict | None:
    """The figures, or None when the script fails, whose message is printed."""
    script, model = SCRIPTS[side]
    command = [script, name, "--model", args.cache / model]
    command += ["--image", args.image or args.cache / "image.png"]
    for option in ("dtype", "repeats", "seconds", "points-per-side"):
        command += [f"--{option}", getattr(args, option.replace("-", "_"))]
    if args.mlx_examples:
        command += ["--package", args.mlx_examples]
    try:
        return json.loads(run(command, subprocess.PIPE).splitlines()[-1])
    except subprocess.CalledProcessError:
        return None


def about(args: argparse.Namespace) -> str:
    packages = ["mlx", "mkl", "torch", "segment-anything", "numpy"]
    versions = [f"{name} {version}" for name in packages if (version := version_of(name))]
    where = f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores"
    return (
        f"{datetime.date.today()}; {where}{gpu()}; Python {platform.python_version()}, "
        f"{', '.join(versions)}; ViT-B, {args.dtype}; medians of {args.repeats} runs, or of as "
        f"many as begin within {args.seconds:g} s; automatic masks of {args.points_per_side} "
        "points a side."
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
    """Time and peak memory of each side; beside a peer's, sam_mlx's as a share of them."""
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
