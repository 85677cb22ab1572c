"""``sam-mlx web``: a page to click in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..batch.sources import gather, nothing_to_do
from ..checkpoints.options import LoadOptions
from ..files import packaged, user_path
from ..images import allow_pixels
from ..options import from_flags
from ..samples import check_range
from ..terminal import say
from .common import add_image_flags, add_model_flags, load_model

HELP = "open a page in which a click gives a mask"
DESCRIPTION = (
    "Start a server on this machine and open its page: click in pictures, segment everything in "
    "them, save the masks as files. GeoTIFF, slides and zarr of any size are drawn in tiles. "
    "Without a picture it opens on a sample of coins. The printed address contains a token, and "
    "requests without it are refused. Only this machine is served, unless --host says otherwise; "
    "the connection is not encrypted."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "picture", nargs="*", metavar="PICTURE", help="picture files, or folders of pictures"
    )
    parser.add_argument(
        "--classes", type=class_names, default=(), metavar="NAMES",
        help="classes for objects: a,b,c, or a file with one on each line",
    )  # fmt: skip
    parser.add_argument(
        "--session", type=Path, metavar="FILE",
        help="keep the work of all pages in FILE, and go on with what is in it; by default work is "
        "kept in the user's data folder, and the page offers it again",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=port_number, default=8000, help="0 chooses a free port")
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")
    add_image_flags(parser.add_argument_group("reading pictures"))
    add_model_flags(parser.add_argument_group("the model"))


def port_number(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected 0 to 65535")
    return int(text)


def class_names(text: str) -> list[Any]:
    """The classes that a flag gives, as the page's server takes them."""
    from ..web.classes import given

    try:
        return given(text)
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    try:
        from ..web.backend import Backend
        from ..web.keeping import data_folder
        from ..web.server import serve
        from ..web.store import MAX_PIXELS
    except ImportError as error:
        raise missing_package(error, "the page") from None
    pixels = MAX_PIXELS if args.max_pixels is None else args.max_pixels
    allow_pixels(pixels)
    pictures = find(args.picture, pixels)
    options = vars(from_flags(args, LoadOptions))
    value_range = check_range(args.value_range)
    backend = Backend(
        load_model(args), args.model, pictures,
        max_pixels=pixels, value_range=value_range, options=options,
        classes=args.classes, folder=data_folder() / "sessions",
        file=args.session and user_path(args.session), is_default=not args.picture,
    )  # fmt: skip
    for line in backend.left_out:
        say(f"left out: {line}", error=True)
    if backend.model.remark:
        say(backend.model.remark, error=True)
    if not backend.sessions.first_pictures:
        backend.close()
        raise ValueError("none of the pictures could be read; give others")
    serve(backend, args.host, args.port, not args.no_open, say)
    return 0


def missing_package(error: ImportError, what: str) -> ImportError:
    """The error of a package that is not installed, with the line that installs it."""
    missing = (error.name or "").partition(".")[0]
    if missing not in {"anyio", "starlette", "uvicorn", "h11"}:
        return error
    return ImportError(
        f'{what} needs {missing}, which is not installed: pip install "sam-mlx[web]"'
    )


def find(given: list[str], max_pixels: int) -> list[Path]:
    """The pictures of files, folders and globs, by default the coins; the rest is named.

    Raises OSError if there are none, or an input does not exist.
    """
    from ..web.large import is_large

    large = [path for path in map(user_path, given) if is_large(path, max_pixels)]
    if given and not (given := [one for one in given if user_path(one) not in large]):
        return large
    found = gather(given or [str(packaged("coins.png"))])
    if not found.files:
        raise nothing_to_do(found, given)
    if found.other_kinds:
        say(f"left out: {found.other_kinds}", error=True)
    for path, why in found.unread.items():
        say(f"left out: {path}: {why}", error=True)
    return large + found.files
