"""Time, memory and fidelity on this Mac, in one Markdown table to paste into an issue.

    python -m examples.benchmarks.mac

Needs the package alone; where torch and Meta's segment_anything are installed, they are measured
beside it. Takes less than ten minutes, and downloads nothing: ViT-B and TinyViT get random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor  # before mlx.core

# isort: split
import mlx.core as mx
import numpy as np

from sam_mlx.decoding import decode_in_parts
from sam_mlx.machine.precision import VARIABLE, device_kind, uses_tf32
from sam_mlx.modeling.layers import as_float32
from sam_mlx.registry import VARIANTS

MODELS = ("nano", "vit_t", "vit_b")
SIZE = 1200, 1800  # of the picture: height, width
HEAD = [
    "model", "precision", "encoder", "one click", "{} prompts", "automatic masks", "memory",
    "embedding off by", "logits off by", "masks' IoU, worst",
]  # fmt: skip
WAIT_SECONDS = 600  # for one row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=3, help="no new run begins later")
    parser.add_argument("--prompts", type=int, default=64, help="at once")
    parser.add_argument("--points-per-side", type=int, default=32, help="of automatic masks")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # what a process of its own measures
    args = parser.parse_args()
    if args.row:
        print(json.dumps(ROWS[args.row](args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        head = [name.format(args.prompts) for name in HEAD]
        rows = [row for model in args.models for row in rows_of(model, Path(folder), args)]
    print("\n".join([about(), "", *table([head, ["---"] * len(HEAD), *rows])]))


def rows_of(model: str, folder: Path, args: argparse.Namespace) -> list[list[str]]:
    """The rows of one model, each from a process of its own."""
    save(model, folder)
    measured(args, "reference", model, folder)
    kinds = [("float32", {})]
    kinds += [(f"float32, {VARIABLE}=0", {VARIABLE: "0"})] if uses_tf32() else []
    kinds += [("float16", {})]
    rows = []
    for kind, environment in kinds:
        figures = measured(args, kind.partition(",")[0], model, folder, environment)
        rows.append([model, kind, *cells(figures)])
    if model == "vit_b" and find_spec("torch") and find_spec("segment_anything"):
        rows.append(["vit_b in PyTorch", "float32", *cells(measured(args, "torch", model, folder))])
    return rows


def save(model: str, folder: Path) -> None:
    mx.random.seed(0)
    sam = Sam.from_pretrained("nano") if model == "nano" else Sam(VARIANTS[model])
    sam.save_pretrained(folder / model)


def measured(
    args: argparse.Namespace,
    row: str,
    model: str,
    folder: Path,
    environment: dict[str, str] | None = None,
) -> dict[str, Any] | None:
    """The figures of a row, or None if its process fails; its error is on stderr."""
    print(f"{model}, {row} ...", file=sys.stderr, flush=True)
    options = ("seconds", "prompts", "points_per_side")
    given = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in options]
    command = [sys.executable, __file__, "--row", row, "--models", model, *given]
    variables = {**os.environ, **(environment or {}), "SAM_MLX_MAC_FOLDER": str(folder)}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, env=variables, timeout=WAIT_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return json.loads(done.stdout.splitlines()[-1])


def cells(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return ["failed"] + [""] * (len(HEAD) - 3)
    times = ("encoder", "one", "many", "automatic")
    row = [duration(figures[name]) if name in figures else "" for name in times]
    row.append(f"{figures['memory'] / 1e9:.2f} GB" if "memory" in figures else "")
    row += [f"{figures[name]:.1e}" if name in figures else "" for name in ("embedding", "logits")]
    return [*row, f"{figures['iou']:.4f}" if "iou" in figures else ""]


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


# In the process of a row.


def folder_of(args: argparse.Namespace) -> Path:
    return Path(os.environ["SAM_MLX_MAC_FOLDER"], args.models[0])


def picture() -> np.ndarray:
    """Discs on a gradient."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / SIZE[0]
    image = np.stack([160 * x, 220 * y, 90 + 0 * x], axis=-1)
    for i in range(24):
        centre = 0.15 + 0.24 * (i % 6), 0.15 + 0.23 * (i // 6)
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < (0.04 + 0.003 * i) ** 2
        image[inside] = (37 * i % 255, 91 * i % 255, 255 - 10 * i)
    return image.astype(np.uint8)


def prompts(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (B, 1, 2) as x, y in pixels of the picture, and labels (B, 1)."""
    points = np.random.default_rng(0).uniform((0, 0), SIZE[::-1], (number, 1, 2))
    return points.astype(np.float32), np.ones((number, 1), np.int32)


def answers(predictor: SamPredictor) -> dict[str, np.ndarray]:
    """The embedding, and logits and masks of eight prompts."""
    masks, _, logits = predictor.predict_batch(*prompts(8))
    return {"embedding": as_float32(predictor.features), "logits": logits, "masks": masks}


def reference(args: argparse.Namespace) -> dict[str, float]:
    """What the CPU answers in float32: kept in a file."""
    mx.set_default_device(mx.cpu)
    predictor = SamPredictor.from_pretrained(folder_of(args), dtype="float32")
    predictor.set_image(picture())
    np.savez(folder_of(args) / "reference.npz", **answers(predictor))
    return {}


def ours(dtype: str) -> Callable[[argparse.Namespace], dict[str, float]]:
    def measure(args: argparse.Namespace) -> dict[str, float]:
        model = Sam.from_pretrained(folder_of(args), dtype=dtype)
        predictor, image = SamPredictor(model), picture()
        click, many = prompts(1), tuple(map(mx.array, prompts(args.prompts)))
        size = model.config.image_size
        pixels = mx.random.normal((1, size, size, 3))
        generator = SamAutomaticMaskGenerator(model, points_per_side=args.points_per_side)
        mx.eval(pixels)
        mx.reset_peak_memory()
        figures = {"encoder": median(args, lambda: mx.eval(model.encode_image(pixels)))}
        predictor.set_image(image)
        features = predictor.get_image_embedding().named_features
        figures["one"] = median(args, lambda: predictor.predict_batch(*click))
        figures["many"] = median(args, lambda: mx.eval(decode_in_parts(model, features, many)))
        figures["automatic"] = median(args, lambda: generator.generate(image), most=1)
        figures["memory"] = mx.get_peak_memory()
        return figures | differences(answers(predictor), folder_of(args) / "reference.npz")

    return measure


def differences(found: dict[str, np.ndarray], file: Path) -> dict[str, float]:
    """From the reference; none where it failed."""
    if not file.exists():
        return {}
    exact = np.load(file)
    apart = {
        name: float(np.abs(found[name] - exact[name]).max()) for name in ("embedding", "logits")
    }
    a, b = found["masks"], exact["masks"]
    union = (a | b).sum((-2, -1))
    iou = np.where(union, (a & b).sum((-2, -1)) / np.maximum(union, 1), 1)
    return {**apart, "iou": float(iou.min())}


def pytorch(args: argparse.Namespace) -> dict[str, float]:
    """Meta's package on the same kind of device, with random weights of its own."""
    import torch
    from segment_anything import SamPredictor, sam_model_registry

    device = "mps" if torch.backends.mps.is_available() else "cpu"
    model = sam_model_registry["vit_b"]().to(device).eval()
    predictor, (point, label) = SamPredictor(model), prompts(1)

    def finish() -> None:
        if device == "mps":
            torch.mps.synchronize()

    def encode() -> None:
        model.image_encoder(pixels)
        finish()

    def decode() -> None:
        sparse, dense = model.prompt_encoder(many, None, None)
        pe = model.prompt_encoder.get_dense_pe()
        model.mask_decoder(predictor.features, pe, sparse, dense, multimask_output=True)
        finish()

    with torch.no_grad():
        pixels = torch.randn(1, 3, 1024, 1024, device=device)
        many = [torch.tensor(x, device=device) for x in prompts(args.prompts)]
        predictor.set_image(picture())
        return {
            "encoder": median(args, encode),
            "one": median(args, lambda: predictor.predict(point[0], label[0])),
            "many": median(args, decode),
        }


ROWS = {"reference": reference, "torch": pytorch} | {d: ours(d) for d in ("float32", "float16")}


def median(args: argparse.Namespace, work: Callable[[], object], most: int = 9) -> float:
    """Seconds; the first run does not count."""
    work()
    times, end = [], time.perf_counter() + args.seconds
    while not times or (len(times) < most and time.perf_counter() < end):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def about() -> str:
    """The machine, in a line."""
    system = f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.platform()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("sam-mlx", "mlx", "numpy", "torch")
    parts = [
        f"{chip()}, {memory:.0f} GB, {system}, {device_kind()}",
        f"Python {platform.python_version()}",
        *(f"{name} {found}" for name in packages if (found := version_of(name))),
        f"TF32 {'on' if uses_tf32() else 'off'}",
        f"picture {SIZE[0]}x{SIZE[1]}; differences from float32 on this machine's CPU",
    ]
    return "; ".join(parts) + "."


def chip() -> str:
    if sys.platform != "darwin":
        return platform.machine()
    name = ["sysctl", "-n", "machdep.cpu.brand_string"]
    text = subprocess.run(name, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{text} ({mx.device_info(mx.default_device()).get('architecture', '')})"


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    main()
