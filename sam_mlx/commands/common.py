"""Shared by several commands: flags of the model and of pictures, loading, timing."""

from __future__ import annotations

import argparse
import time

import mlx.core as mx

from ..checkpoints.locate import KNOWN
from ..checkpoints.options import LoadOptions
from ..images import allow_pixels
from ..options import Flags, add_flags, from_flags
from ..sam import Sam
from ..samples import check_range
from ..terminal import say

MODEL = f"{', '.join(KNOWN)}; or a folder, a .safetensors or .pth file, or a hub repository"


def add_model_flags(parser: Flags) -> None:
    parser.add_argument("--model", default="nano", help=MODEL)
    add_flags(parser, LoadOptions)
    parser.add_argument("--verbose", action="store_true", help="print times and peak memory")


def add_image_flags(parser: Flags) -> None:
    parser.add_argument(
        "--max-pixels", type=int, metavar="N",
        help="read pictures of up to N pixels (default: 178956970)",
    )  # fmt: skip
    parser.add_argument(
        "--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="in pictures of more than 8 bits, the sample values that become black and white, such "
        "as 0 10000; by default the smallest range of 8 to 16 bits that holds nearly all samples",
    )  # fmt: skip


def apply_image_flags(args: argparse.Namespace) -> None:
    if args.max_pixels is not None:
        allow_pixels(args.max_pixels)
    check_range(args.value_range)


def load_model(args: argparse.Namespace) -> Sam:
    start = time.perf_counter()
    model = Sam.load(args.model, from_flags(args, LoadOptions))
    report(args, f"loaded {args.model}", start)
    return model


def report(args: argparse.Namespace, what: str, start: float) -> None:
    if args.verbose:
        peak = mx.get_peak_memory() / 1e9
        say(f"{what}: {time.perf_counter() - start:.2f} s, peak MLX memory {peak:.2f} GB")
