"""Draw the learning curve from log.jsonl to curve.png: ``python -m examples.nano.plot``."""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
CURVES = {
    "best": "one click, best of three",
    "chosen": "one click, chosen mask",
    "box": "box",
    "three_clicks": "three clicks",
    "coins_best": "coins, best of three",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--log", type=Path, default=HERE / "log.jsonl")
    parser.add_argument("--out", type=Path, default=HERE / "curve.png")
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.log.read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    tests = [line for line in lines if "best" in line]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    left.plot([s["hours"] for s in steps], [s["loss"] for s in steps], lw=1)
    left.set(xlabel="hours", ylabel="training loss", yscale="log")
    for key, label in CURVES.items():
        style = "--" if key.startswith("coins") else "-"
        right.plot([t["hours"] for t in tests], [t[key] for t in tests], style, label=label)
    right.set(xlabel="hours", ylabel="mean IoU, held-out", ylim=(0, 1))
    right.grid(alpha=0.3)
    right.legend(fontsize=8, loc="lower right")
    figure.savefig(args.out, dpi=110)


if __name__ == "__main__":
    main()
