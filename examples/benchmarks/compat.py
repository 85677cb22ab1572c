"""What ``sam_mlx.compat`` adds to a call of ``sam_mlx``, with nano.

    python -m examples.benchmarks.compat

Both answer the same prompt in turns, so that other load on the machine affects both. Memory is what
numpy allocates in one call, including one copy of the masks. Needs PyTorch, for the tensors.
"""

import argparse
import statistics
import time
import tracemalloc
import warnings

import numpy as np

import sam_mlx
from sam_mlx import compat
from sam_mlx.compat.predictor import SamPredictor

PROMPT = dict(point_coords=np.array([[400, 300]]), point_labels=np.array([1]))


def milliseconds(call) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def in_turns(calls: dict, rounds: int) -> dict:
    times = {name: [] for name in calls}
    for _ in range(rounds + 5):
        for name, call in calls.items():
            times[name].append(milliseconds(call))
    return {name: statistics.median(row[5:]) for name, row in times.items()}


def numpy_bytes(call) -> int:
    """The peak of numpy's memory during a call, including the results."""
    tracemalloc.start()
    result = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    picture = np.random.default_rng(0).integers(0, 256, (1200, 1800, 3), np.uint8)
    own = sam_mlx.SamPredictor.from_pretrained("nano")
    ours = SamPredictor(compat.Sam(own.model))
    for predictor in (own, ours):
        predictor.set_image(picture)
    calls = {
        "sam_mlx": lambda: own.predict(**PROMPT),
        "sam_mlx.compat": lambda: ours.predict(**PROMPT),
    }
    print("3 masks of 1200x1800 =", 3 * picture[..., 0].size / 1e6, "MB")
    memory = {name: numpy_bytes(call) / 1e6 for name, call in calls.items()}
    tensors = SamPredictor(ours.model)
    tensors.set_image(picture)
    _ = tensors.features  # held as a tensor from here on
    calls["features as a tensor"] = lambda: tensors.predict(**PROMPT)
    points = tensors.transform.apply_coords(PROMPT["point_coords"], picture.shape[:2])[None]
    calls["predict_torch"] = lambda: tensors.predict_torch(points, PROMPT["point_labels"][None])
    for name, time_taken in in_turns(calls, rounds).items():
        extra = f"{memory[name]:6.1f} MB of numpy's" if name in memory else ""
        print(f"{name:22}{time_taken:8.2f} ms {extra}")


if __name__ == "__main__":
    main()
