"""``sam-mlx finetune``: a model of one's own objects."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import yaml
from tqdm import tqdm

from ..checkpoints.options import LoadOptions
from ..embedding import fingerprint
from ..files import read_file, user_path, write_whole
from ..messages import short
from ..modeling.layers import weights_of
from ..options import Flags, add_flags, from_flags
from ..samples import Range
from ..terminal import say
from ..tuner.data import LabelledPicture, open_data
from ..tuner.options import TrainingOptions
from ..tuner.report import table, thresholds_said
from ..tuner.run import Job, check_output, finetune, with_range
from ..tuner.split import WAYS
from ..tuner.survey import contact_sheet, survey
from .common import add_image_flags, add_model_flags, apply_image_flags, load_model

HELP = "train a model further on labelled pictures"
DESCRIPTION = (
    "Train a model further on labelled pictures, and report how much better it is on parts of them "
    "that it was not trained on. DATA: a folder with images and labels (or masks), x.tif beside "
    "x_masks.tif, a COCO file, labelme's JSON, YOLO's folders, or a session of the page. The "
    "result is a model folder, which every command takes with --model. After a stop, --resume "
    "continues."
)
MAX_CONFIG = 1 << 20  # bytes


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="?", metavar="DATA", help="labelled pictures")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--check", action="store_true", help="only look at the data")
    parser.add_argument("--resume", action="store_true", help="continue a training")
    parser.add_argument("--config", metavar="FILE", help="flags from a YAML file; others override")
    parser.add_argument("--export-pth", action="store_true", help="write model.pth for others too")
    add_data_flags(parser.add_argument_group("the data"))
    add_flags(parser.add_argument_group("the training"), TrainingOptions)
    add_model_flags(parser.add_argument_group("the model"))


def add_data_flags(parser: Flags) -> None:
    parser.add_argument("--images", metavar="DIR", help="folder of pictures, with --labels")
    parser.add_argument("--labels", metavar="DIR", help="folder of label images of the same names")
    parser.add_argument("--validation", metavar="DATA", help="labelled pictures to judge it by")
    parser.add_argument(
        "--split", choices=WAYS, help="what is kept for validation: whole files, or the right of "
        "each picture; by default by place where pictures may be frames of a series",
    )  # fmt: skip
    parser.add_argument(
        "--keep", metavar="DATA", help="labelled pictures of what the model is not to forget"
    )
    add_image_flags(parser)


def run(args: argparse.Namespace) -> int:
    if args.config:
        apply_config(args, user_path(args.config))
    apply_image_flags(args)
    job = job_of(args)
    if args.check:
        return check(args, job)
    with tqdm(total=job.options.iters, unit="it", disable=None) as bar:

        def report(line: dict[str, Any]) -> None:
            bar.update(line["iteration"] - bar.n)
            values = (f"{name} {value:.4g}" for name, value in line.items() if name != "iteration")
            bar.write(f"step {line['iteration']}: {', '.join(values)}")
            bar.set_postfix_str(f"peak memory {mx.get_peak_memory() / 1e9:.2f} GB")

        results = finetune(
            job, resume=args.resume, export_pth=args.export_pth, say=bar.write, report=report
        )
    for line in table({"before": results["before"], "after": results["after"]}).split("\n"):
        say(line)
    say(thresholds_said(results))
    say(f"{args.output}: the model, report.md, examples.png")
    return 0


# What finetune.yaml holds beside the training's options, and what the model is.
SAVED = ("data", "images", "labels", "validation", "keep", "split", "value_range")
DIGEST = "model_digest"


def job_of(args: argparse.Namespace) -> Job:
    """The job of the flags, with its data opened and its model loaded, in this order."""
    output, options = user_path(args.output), from_flags(args, TrainingOptions)
    check_output(output, args.resume or args.check)
    opened = partial(open_data, value_range=args.value_range)
    pictures = opened(args.data, images=args.images, labels=args.labels)
    more = [(data and opened(data)) or None for data in (args.validation, args.keep)]
    model = load_model(args)
    digest = fingerprint(model.config, weights_of(model))
    if getattr(args, DIGEST, None) not in (None, digest):
        raise ValueError(
            f"{args.config} was written for another model than {args.model} is now: give --model, "
            "or a config of this one"
        )
    if args.value_range is not None:
        model.config = replace(model.config, value_range=tuple(args.value_range))
    elif usual := model.config.value_range:
        pictures = in_range(pictures, usual)
        more = [data and in_range(data, usual) for data in more]
    validation, keep = more
    saved = {name: getattr(args, name) for name in SAVED} | {DIGEST: digest}
    return Job(
        model, args.model, pictures, output, options, validation, args.split, saved, keep or (),
    )  # fmt: skip


def in_range(pictures: list[LabelledPicture], usual: Range) -> list[LabelledPicture]:
    """The pictures, their samples read by a model's range."""
    return [one.with_range(usual) for one in pictures]


def check(args: argparse.Namespace, job: Job) -> int:
    job = with_range(job, say)
    pictures, found = job.pictures, survey(job.pictures, job.model.config, args.crop)
    for line in found.lines():
        say(line)
    output = user_path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "contact_sheet.png", contact_sheet(pictures).save)
    say(output / "contact_sheet.png")
    return 1 if found.odd else 0


def apply_config(args: argparse.Namespace, path: Path) -> None:
    """Take flags that were left at their defaults from a YAML file."""
    values = yaml.safe_load(read_file(path, MAX_CONFIG))
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {short(values)}; expected names and values")
    is_given = args.model != "nano"
    options = {f.name: f.default for f in (*fields(TrainingOptions), *fields(LoadOptions))}
    defaults = {**options, **dict.fromkeys(SAVED), "model": "nano"}
    args.model_digest = None if is_given else values.pop(DIGEST, None)
    values.pop(DIGEST, None)
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f"{path} has {short(name)}; expected some of {', '.join(defaults)}")
        if getattr(args, name) == defaults[name]:
            setattr(args, name, value)
