"""What the three bench modules share: arguments, inputs, the measuring loop, the output."""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASUREMENTS = {
    "encoder_1": "image encoder, 1 image",
    "encoder_4": "image encoder, 4 images",
    "set_image": "`set_image` from a file",
    "decoder_1": "mask decoder, 1 one-point prompt",
    "decoder_16": "mask decoder, 16 prompts",
    "decoder_64": "mask decoder, 64 prompts",
    "upscale": "3 masks to 1200x1800",
    "automatic": "automatic masks",
    "load": "load the model from disk",
    "read": "read its file, for comparison",
    "import": "import, without the framework's own",
}
IMAGE_SIZE, GRID, CHANNELS = 1024, 64, 256  # of the released models
ORIGINAL_SIZE, INPUT_SIZE = (1200, 1800), (683, 1024)  # of the masks that are enlarged
# The stability threshold is below the default, so that some of the random model's masks pass.
AUTOMATIC = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.85}
# All masks pass: the generator of mlx-examples fails if no mask of a batch does.
WARM_UP = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--points-per-side", type=int, required=True)
    parser.add_argument("--package", type=Path, help="the folder of the SAM in mlx-examples")
    return parser.parse_args()


def images(measurement: str):
    """As many normalised images as the measurement asks for, (B, S, S, 3), float32."""
    import numpy as np

    shape = count(measurement), IMAGE_SIZE, IMAGE_SIZE, 3
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def embedding():
    """(1, G, G, C), float32."""
    import numpy as np

    return np.random.default_rng(1).standard_normal((1, GRID, GRID, CHANNELS), np.float32)


def points(measurement: str):
    """Coordinates (B, 1, 2) in pixels of the model's input, and labels (B, 1)."""
    import numpy as np

    B = count(measurement)
    coords = np.random.default_rng(2).uniform(0, IMAGE_SIZE, (B, 1, 2)).astype(np.float32)
    return coords, np.ones((B, 1), np.int32)


def low_res_masks():
    """Logits (1, 3, 4G, 4G), float32."""
    import numpy as np

    shape = 1, 3, 4 * GRID, 4 * GRID
    return np.random.default_rng(3).standard_normal(shape, np.float32)


def count(measurement: str) -> int:
    return int(measurement.partition("_")[2])


def read_image(path: Path):
    import numpy as np
    from PIL import Image

    return np.array(Image.open(path).convert("RGB"))


def seconds_of(before: str, code: str) -> float:
    """How long ``code`` takes in a fresh interpreter after ``before`` has run."""
    program = (
        f"{before}\nimport time\ns = time.perf_counter()\n{code}\nprint(time.perf_counter() - s)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


def read_file(path: Path) -> None:
    if path.is_dir():
        path = path / "model.safetensors"
    path.read_bytes()


def report(
    args: argparse.Namespace,
    work: Callable[[], object],
    finish: Callable[[object], object] = lambda _: None,
    gpu_peak: Callable[[], int] | None = None,
) -> None:
    """Run ``work`` as often as the arguments say and print the figures as JSON.

    ``finish`` waits until a result is computed. Work that returns a float was timed in a child
    process. The first run does not count, except for automatic masks, which take long and were
    warmed up before. Peak memory is ``gpu_peak()``, in bytes, on a GPU with memory of its own, and
    otherwise the largest resident size of the process, including libraries and weights.
    """
    warm = args.measurement == "automatic"
    if not warm:
        finish(work())
    times, end = [], time.perf_counter() + args.seconds
    while not times or (len(times) < args.repeats and time.perf_counter() < end):
        start = time.perf_counter()
        result = work()
        finish(result)
        times.append(result if isinstance(result, float) else time.perf_counter() - start)
        masks = len(result) if args.measurement == "automatic" else None
        who = resource.RUSAGE_CHILDREN if isinstance(result, float) else resource.RUSAGE_SELF
        del result
    peak = resource.getrusage(who).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    figures = {
        "seconds": statistics.median(times),
        "repeats": len(times),
        "peak_mb": gpu_peak() / 1e6 if gpu_peak else peak,
        "masks": masks,
    }
    print(json.dumps(figures))
