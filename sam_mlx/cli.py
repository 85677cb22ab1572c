"""The shell command ``sam-mlx``. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import argparse
import sys

from .commands import auto, export, info, predict, web
from .messages import one_line
from .options import Help

COMMANDS = {"predict": predict, "auto": auto, "info": info, "export": export, "web": web}


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        code: int = COMMANDS[args.command].run(args)
        return code
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"sam-mlx {args.command}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam-mlx", description="Segment Anything on Apple silicon, with MLX."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        command.add(
            commands.add_parser(
                name,
                help=command.HELP,
                description=command.DESCRIPTION,
                formatter_class=Help,
            )
        )
    return parser
