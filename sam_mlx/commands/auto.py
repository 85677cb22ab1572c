"""``sam-mlx auto``: everything in many pictures."""

from __future__ import annotations

import argparse
import difflib
import time
from dataclasses import fields
from typing import Any

from .. import batch
from ..automatic.options import OF_MODEL, GeneratorOptions
from ..checkpoints.options import LoadOptions
from ..formats import FORMATS
from ..formats.large import LARGE_FORMATS
from ..options import Flags, add_flags, from_flags, settings
from ..terminal import say
from .common import add_image_flags, add_model_flags, apply_image_flags, load_model, report
from .large import add_tile_flags, check_tile_flags, run_tiles
from .modes import Generator, add_mode_flags, generator_of, mode_settings

HELP = "segment everything in many images"
DESCRIPTION = (
    "Segment everything in images, folders of images or globs. After a stop, the same command "
    "continues; results of pictures that have changed are made again. Under mlx.launch -n N "
    "python -m sam_mlx auto ..., N processes share the work; on several machines the output "
    "folder must be on a shared disk. Exit code: 0; 1 when some pictures could not be read or "
    "written; 2 when nothing was done."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", nargs="+", help="picture files, folders or globs, such as 'day*/*.jpg'"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--format",
        nargs="+",
        type=format_name,
        metavar="FORMAT",
        help="; ".join(f"{name}: {format.help}" for name, format in FORMATS.items())
        + " (default: masks)",
    )
    parser.add_argument("--convert-to-rle", action="store_true", help="the same as --format rle")
    parser.add_argument("--crop", action="store_true", help="the same as --format crop")
    parser.add_argument("--recursive", action="store_true", help="take pictures in subfolders too")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run with other options has left in OUT",
    )
    parser.add_argument(
        "--keep", action="store_true",
        help="keep the model's answers in OUT too (up to 262 KB each, 3072 a picture): then a run "
        "with other thresholds only filters them",
    )  # fmt: skip
    add_flags(parser.add_argument_group("finding masks by a grid of points"), GeneratorOptions)
    add_mode_flags(parser.add_argument_group("an instance decoder, where the model has one"))
    add_tile_flags(parser)
    pictures = parser.add_argument_group("reading pictures")
    add_stack_flags(pictures)
    add_image_flags(pictures)
    add_model_flags(parser.add_argument_group("the model"))


def add_stack_flags(parser: Flags) -> None:
    parser.add_argument(
        "--pages", nargs="+", type=page_range, metavar="N",
        help="of TIFF files with several: numbers from 0, or ranges such as 0-9 (default: all, "
        "each a picture)",
    )  # fmt: skip
    parser.add_argument(
        "--channels", nargs="+", type=int, metavar="N",
        help="up to three channels, counted from 0, that become red, green and blue, such as 2 0 1",
    )  # fmt: skip


def format_name(text: str) -> str:
    known = dict.fromkeys([*FORMATS, *LARGE_FORMATS])
    if text not in known:
        close = difflib.get_close_matches(text, known, 1)
        hint = f": did you mean {close[0]}?" if close else "; put the input first, or -- before it"
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(known)}{hint}")
    return text


def page_range(text: str) -> range:
    """``7`` or ``0-9`` as a range."""
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a page from 0, nor two as in 0-9")
    return range(int(first), int(last) + 1)


def settings_of(args: argparse.Namespace, options: GeneratorOptions) -> dict[str, Any]:
    """What results depend on, but for thresholds that are not given: the model's own are known once
    it is loaded.
    """
    own = [name for name in OF_MODEL if getattr(args, name) is None]
    return {name: value for name, value in settings(options).items() if name not in own}


def check_shares(args: argparse.Namespace) -> None:
    """Raise ValueError for thresholds above 1, such as percentages."""
    for f in fields(GeneratorOptions):
        value = getattr(args, f.name, None)
        if f.name.endswith("_thresh") and value is not None and not value <= 1:
            hint = f", as in {value / 100:g}" if 1 < value <= 100 else ""
            raise ValueError(
                f"--{f.name.replace('_', '-')} is {value:g}; expected a number up to 1{hint}"
            )


def run(args: argparse.Namespace) -> int:
    check_shares(args)
    apply_image_flags(args)
    check_tile_flags(args, FORMATS)
    also = {"rle": args.convert_to_rle, "crop": args.crop}
    names = sorted({*(args.format or ()), *(n for n in also if also[n])}) or ["masks"]
    options = from_flags(args, GeneratorOptions, output_mode="coco_rle")
    load_options = from_flags(args, LoadOptions)
    depends_on = {
        **settings_of(args, options),
        "model": args.model,
        **settings(load_options),
        "value_range": args.value_range,
        "channels": args.channels,
        **mode_settings(args),
    }

    def generator() -> Generator:
        return generator_of(args, load_model(args), options)

    start = time.perf_counter()
    try:
        if args.tile is not None:
            code = run_tiles(args, options, depends_on)
        else:
            formats = [FORMATS[name] for name in names]
            code = batch.run(
                args.input, args.output, formats, generator, depends_on,
                recursive=args.recursive, verbose=args.verbose, pages=args.pages,
                overwrite=args.overwrite, keep=args.keep,
            )  # fmt: skip
    except KeyboardInterrupt:
        say("stopped; the same command continues", error=True)
        raise
    report(args, "all", start)
    return code
