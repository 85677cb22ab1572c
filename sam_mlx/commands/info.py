"""``sam-mlx info``: what a model is."""

from __future__ import annotations

import argparse

from ..checkpoints.files import weight_files
from ..checkpoints.locate import resolve
from ..checkpoints.options import LoadOptions
from ..checkpoints.save import precision, verify
from ..config import PREPROCESSING, SamConfig
from ..modeling.layers import weights_of
from ..options import add_flags, from_flags
from ..sam import Sam
from ..terminal import say
from .common import MODEL

HELP = DESCRIPTION = "describe a model"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=MODEL)
    add_flags(parser, LoadOptions)
    parser.add_argument(
        "--verify", action="store_true",
        help="compare the weights' SHA-256 with the one in config.json",
    )  # fmt: skip


def pictures(config: SamConfig) -> str:
    """How pictures are prepared: one of the known ways, or every setting."""
    for name, values in PREPROCESSING.items():
        if all(getattr(config, field) == value for field, value in values.items()):
            return f"prepared as {name}'s"
    return ", ".join(f"{field} {getattr(config, field)}" for field in PREPROCESSING["sam"])


def run(args: argparse.Namespace) -> int:
    options = from_flags(args, LoadOptions)
    path = resolve(args.model, args.revision)
    files = [path] if path.is_file() else weight_files(path)
    digest = verify(path) if args.verify else None  # before loading, as the weights may be damaged
    model = Sam.load(path, options)
    config = model.config
    parts = {
        name: sum(w.size for w in weights_of(part).values())
        for name, part in Sam(config).children().items()  # of weights before quantisation
    }
    size = sum(f.stat().st_size for f in files) / 1e6
    say(f"variant      {config.variant}")
    say(f"source       {path}")
    say(f"file size    {size:.1f} MB, {precision(model, model.dtype)}")
    if digest:
        say(f"sha256       {digest}, as config.json says")
    say(f"parameters   {sum(parts.values()):,}")
    for name, count in parts.items():
        say(f"  {name:<15}{count:,}")
    side, patch = config.image_size, config.patch_size
    say(f"input        {side} x {side} pixels, patch {patch}")
    say(f"pictures     {pictures(config)}")
    say(f"embedding    {config.grid} x {config.grid} cells, {config.prompt_dim} channels")
    say(f"masks        {config.mask_size} x {config.mask_size}, then at the image's own size")
    return 0
