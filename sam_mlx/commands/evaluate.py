"""``sam-mlx evaluate``: how good models are on labelled pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from functools import partial

import mlx.core as mx
from tqdm import tqdm

from ..automatic.options import GeneratorOptions
from ..checkpoints.options import LoadOptions
from ..files import user_path, write_json, write_whole
from ..options import add_flags, from_flags
from ..sam import Sam
from ..terminal import say
from ..tuner.data import open_data
from ..tuner.evaluation import POINTS_PER_SIDE, evaluate
from ..tuner.examples import Example, examples_of
from ..tuner.options import TrainingOptions
from ..tuner.report import table
from .common import MODEL, add_image_flags, apply_image_flags

HELP = "measure models on labelled pictures"
DESCRIPTION = (
    "Measure models on labelled pictures: IoU of a click, a box and corrective clicks, clicks to "
    "an IoU, automatic masks. Several models are put side by side."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="+", metavar="MODEL", help=MODEL)
    parser.add_argument("data", metavar="DATA", help="labelled pictures, as finetune takes them")
    parser.add_argument("--prompts-only", action="store_true", help="leave out automatic masks")
    parser.add_argument(
        "--points-per-side", type=int, default=POINTS_PER_SIDE, metavar="N",
        help="of automatic masks",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file too")
    add_flags(parser, TrainingOptions, ("crop", "min_area"))
    add_image_flags(parser.add_argument_group("reading pictures"))
    add_flags(parser.add_argument_group("the models"), LoadOptions)


def run(args: argparse.Namespace) -> int:
    apply_image_flags(args)
    # What is wrong with these is told before any work.
    TrainingOptions(crop=args.crop, min_area=args.min_area)
    GeneratorOptions(points_per_side=args.points_per_side)
    pictures = open_data(args.data, value_range=args.value_range)
    models = {name: Sam.load(name, from_flags(args, LoadOptions)) for name in args.model}
    # All models are shown the same pixels: by the range that one of them was trained with.
    known = [m.config.value_range for m in models.values() if m.config.value_range]
    if known and args.value_range is None:
        pictures = [one.with_range(known[0]) for one in pictures]
    examples = examples_of(pictures, args.min_area, args.crop)
    if not examples:
        raise ValueError(f"{args.data} holds no object of {args.min_area} pixels or more")
    columns = {}
    for name, model in models.items():

        def progress(parts: Iterable[Example], name: str = name) -> Iterable[Example]:
            return tqdm(parts, desc=name, total=len(examples), leave=False)

        mx.reset_peak_memory()
        start = time.perf_counter()
        columns[name] = evaluate(
            model, examples, not args.prompts_only, args.points_per_side, progress
        )
        columns[name] |= {
            "seconds": round(time.perf_counter() - start, 1),
            "peak_memory_gb": round(mx.get_peak_memory() / 1e9, 3),
        }
    for line in table(columns).split("\n"):
        say(line)
    if args.json:
        write_whole(user_path(args.json), partial(write_json, values=columns, indent=2))
    return 0
