"""``sam-mlx evaluate``: how good models are on labelled pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial

from tqdm import tqdm

from ..checkpoints.options import LoadOptions
from ..files import user_path, write_json, write_whole
from ..options import add_flags, from_flags
from ..sam import Sam
from ..terminal import say
from ..tuner.data import open_data
from ..tuner.evaluation import evaluate
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
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file too")
    add_flags(parser, TrainingOptions, ("crop", "min_area"))
    add_flags(parser, LoadOptions)
    add_image_flags(parser)


def run(args: argparse.Namespace) -> int:
    apply_image_flags(args)
    pictures = open_data(args.data, value_range=args.value_range)
    examples = examples_of(pictures, args.min_area, args.crop)
    if not examples:
        raise ValueError(f"{args.data} holds no object of {args.min_area} pixels or more")
    columns = {}
    for name in args.model:
        model = Sam.load(name, from_flags(args, LoadOptions))

        def progress(parts: Iterable[Example], name: str = name) -> Iterable[Example]:
            return tqdm(parts, desc=name, total=len(examples), leave=False)

        columns[name] = evaluate(model, examples, not args.prompts_only, progress)
    for line in table(columns).split("\n"):
        say(line)
    if args.json:
        write_whole(user_path(args.json), partial(write_json, values=columns, indent=2))
    return 0
