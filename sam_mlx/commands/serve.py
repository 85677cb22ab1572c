"""``sam-mlx serve``: one server for label tools."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.options import LoadOptions
from ..files import user_path
from ..images import allow_pixels
from ..options import add_flags, from_flags
from ..sam import Sam
from ..terminal import say
from .common import MODEL
from .web import missing_package, port_number

HELP = "serve label tools: X-AnyLabeling, Label Studio, QuPath, and programs"
DESCRIPTION = (
    "Start a server whose SAM label tools use in place of their own: X-AnyLabeling, Label Studio, "
    "QuPath, and programs. The first lines it prints say what to type in each. With a --host "
    "that others can reach requests need a token; the connection is not encrypted."
)
TOOLS = ("x-anylabeling", "label-studio", "qupath")
ITERATIONS = 300  # of a training


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", action="append", metavar="MODEL",
        help=f"{MODEL}; several times for several, the first is the usual one (default: nano)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=port_number, default=8000, help="0 chooses a free port")
    parser.add_argument("--token", help="what requests must carry (default: made for other hosts)")
    parser.add_argument("--for", dest="tool", choices=TOOLS, help="only this tool's protocol")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="of a picture")
    group = parser.add_argument_group("Label Studio")
    group.add_argument("--label-studio", metavar="URL", default="http://localhost:8080",
                       help="its address")  # fmt: skip
    group.add_argument("--label-studio-token", metavar="TOKEN",
                       help="of a user, where it sends none that opens its pictures")  # fmt: skip
    group.add_argument("--allow-media", metavar="URL", nargs="+", default=[],
                       help="other servers that pictures may be fetched from")  # fmt: skip
    group.add_argument("--train-into", metavar="FOLDER",
                       help="train when it asks, into folders below this one")  # fmt: skip
    group.add_argument("--train-iters", type=int, default=ITERATIONS, metavar="N", help="steps")
    add_flags(parser.add_argument_group("the models"), LoadOptions)


def run(args: argparse.Namespace) -> int:
    try:
        from ..serve.backend import Backend
        from ..serve.server import serve
        from ..serve.tools import chosen
        from ..web.guard import is_loopback
        from ..web.store import MAX_PIXELS
    except ImportError as error:
        raise missing_package(error, "the server") from None
    pixels = MAX_PIXELS if args.max_pixels is None else args.max_pixels
    allow_pixels(pixels)
    token = args.token
    if token is None and not is_loopback(args.host):
        token = secrets.token_urlsafe(24)
    check_token(token)
    origins = named(args.model or ["nano"])
    options = from_flags(args, LoadOptions)
    label_studio = projects(args)
    models = {name: Sam.load(origin, options) for name, origin in origins.items()}
    backend = Backend(models, origins, max_pixels=pixels)
    backend.tools["label-studio"] = label_studio
    serve(backend, chosen(args.tool), args.host, args.port, token, say)
    return 0


def check_token(token: str | None) -> None:
    """Raise ValueError for a token that not every tool can send."""
    if token is not None and not (
        len(token) >= 8 and token.isascii() and token.replace("-", "a").replace("_", "a").isalnum()
    ):
        raise ValueError("--token takes 8 characters or more, letters, digits, - and _")


def named(origins: Sequence[str]) -> dict[str, str]:
    """Short names for models: of files and folders their own, numbered where two are the same."""
    names: dict[str, str] = {}
    for origin in dict.fromkeys(origins):
        path = user_path(origin)
        name = stem = (path.stem if path.is_file() else path.name) if path.exists() else origin
        count = 2
        while name in names:
            name, count = f"{stem}-{count}", count + 1
        names[name] = origin
    return names


def projects(args: argparse.Namespace) -> Any:
    """What is known of Label Studio. Raises ValueError for addresses that are not."""
    from ..serve.label_studio.media import Media
    from ..serve.label_studio.projects import Projects
    from ..serve.label_studio.training import Training

    media = Media(args.label_studio, args.label_studio_token, args.allow_media)
    if args.train_into is None:
        return Projects(media)
    if args.train_iters < 1:
        raise ValueError(f"--train-iters is {args.train_iters}; expected 1 or more")
    return Projects(media, Training(Path(args.train_into), media, args.train_iters))
