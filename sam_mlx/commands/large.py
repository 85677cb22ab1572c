"""The flags of large pictures, and what ``auto --tile`` does with them."""

from __future__ import annotations

import argparse
from collections.abc import Container
from typing import Any

from ..automatic.options import GeneratorOptions
from ..batch.large import run_large
from ..batch.work import Generator
from ..formats.large import LARGE_FORMATS
from ..tiled.layout import TileOptions
from .common import load_model
from .modes import generator_of

TILED = ("overlap", "region", "level", "bands", "nodata")  # flags that go with --tile


def add_opening_flags(parser: argparse._ActionsContainer) -> None:
    """Flags of how a large picture is opened."""
    parser.add_argument(
        "--level", type=int, metavar="N", help="of a pyramid, 0 the finest (default: 0)"
    )
    parser.add_argument(
        "--bands", nargs="+", type=int, metavar="N",
        help="one or three bands, counted from 1, such as 4 3 2",
    )  # fmt: skip
    parser.add_argument(
        "--nodata", type=float, metavar="VALUE",
        help="the sample of pixels without a value, where the file does not say",
    )  # fmt: skip


def add_tile_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "large pictures",
        "With --tile pictures of any size are searched in tiles, without seams, also photographs "
        "with small objects. Formats: "
        + "; ".join(f"{name}: {format.help}" for name, format in LARGE_FORMATS.items()),
    )
    group.add_argument("--tile", type=int, metavar="N", help="side of a tile in pixels, as 1024")
    group.add_argument(
        "--overlap", type=int, metavar="N",
        help="pixels that neighbouring tiles share (default: a quarter of --tile)",
    )  # fmt: skip
    group.add_argument(
        "--region", nargs=4, type=int, metavar=("X", "Y", "W", "H"),
        help="the part to search, in pixels of the level",
    )  # fmt: skip
    add_opening_flags(group)


def opening(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``open_large``."""
    given = dict(bands=args.bands, nodata=args.nodata, value_range=args.value_range)
    return {"level": args.level or 0, **given}


def check_tile_flags(args: argparse.Namespace, ordinary: Container[str]) -> None:
    """Raise ValueError for flags and formats that do not go together.

    ordinary: the formats of pictures that are not searched in tiles.
    """
    names = set(args.format or ())
    if args.tile is None:
        if given := [f"--{name}" for name in TILED if getattr(args, name) is not None]:
            raise ValueError(f"{', '.join(given)} need --tile, as in --tile 1024")
        if large := [name for name in sorted(names) if name not in ordinary]:
            raise ValueError(f"--format {', '.join(large)} needs --tile, as in --tile 1024")
    elif other := names - set(LARGE_FORMATS):
        raise ValueError(
            f"--format {', '.join(sorted(other))} does not go with --tile; expected "
            f"{', '.join(LARGE_FORMATS)}"
        )
    else:
        check_other_flags(args)


def check_other_flags(args: argparse.Namespace) -> None:
    """Raise ValueError for flags of ``auto`` that mean nothing in tiles."""
    names = [
        "overwrite", "keep", "recursive", "crop_n_layers", "pages", "channels", "convert_to_rle",
        "crop",
    ]  # fmt: skip
    if given := [name for name in names if getattr(args, name)]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{flags}: not with --tile; --bands chooses bands there, counted from 1")


def run_tiles(
    args: argparse.Namespace,
    options: GeneratorOptions,
    settings: dict[str, Any],
) -> int:
    """``sam-mlx auto --tile``."""

    def generator() -> Generator:
        return generator_of(args, load_model(args), options)

    overlap = args.tile // 4 if args.overlap is None else args.overlap
    formats = [LARGE_FORMATS[name] for name in sorted(set(args.format or ()))]
    return run_large(
        args.input, args.output, formats, generator, settings, TileOptions(args.tile, overlap),
        args.region, opening(args),
    )  # fmt: skip
