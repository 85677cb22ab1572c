"""``sam-mlx export``: encoder and decoder as files for apps."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints.options import LoadOptions
from ..export import export
from ..export.check import TF32_TOLERANCE
from ..export.readers import READERS
from ..machine.precision import VARIABLE
from ..options import add_flags, from_flags
from ..terminal import say
from .common import MODEL

HELP = "write encoder and decoder as files for apps"
DESCRIPTION = (
    "Write encoder.mlxfn, decoder.mlxfn and export.json for apps in C++ and Swift, and check "
    "them against the model. They run on the kind of device that this command runs on."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=MODEL)
    parser.add_argument("output", metavar="out", help="folder to create")
    parser.add_argument(
        "--points", nargs="+", type=int, default=[4], metavar="N",
        help="prompt slots of the decoder; several numbers share one file",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", nargs="+", type=image_size, default=[], metavar="HEIGHTxWIDTH",
        help="sizes of original images to write masks_HEIGHTxWIDTH.mlxfn for",
    )  # fmt: skip
    parser.add_argument(
        "--for", dest="reader", choices=list(READERS),
        help="what will load the files; stops before any work if it has another version of MLX",
    )  # fmt: skip
    add_flags(parser.add_argument_group("the model"), LoadOptions)


def image_size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected HEIGHTxWIDTH in pixels, such as 480x640"
        )
    return int(parts[0]), int(parts[1])


def run(args: argparse.Namespace) -> int:
    options = vars(from_flags(args, LoadOptions))
    written = export(
        args.model, args.output, points=args.points, sizes=args.sizes, reader=args.reader, **options
    )
    for name, file in written["files"].items():
        say(f"{Path(args.output) / name}  {file['bytes'] / 1e6:.1f} MB")
    say(Path(args.output) / "export.json")
    differences = written["differences_from_predictor"].items()
    say(
        "largest differences from SamPredictor: "
        + ", ".join(f"{k} {v:.2g}" for k, v in differences)
    )
    if written["left_out"]:
        say(f"Left out: the decoder for {', '.join(written['left_out'])}; it runs in Python only.")
    if written["device"]["tf32"]:
        say(
            f"Float32 products are TF32 on this device: compared with a bound of "
            f"{TF32_TOLERANCE:g}. With {VARIABLE}=0 the bound is that of float32."
        )
    say(f"Device: {written['device']['note']}.")
    say(f"MLX {written['mlx']['version']}: {written['mlx']['note']}.")
    return 0
