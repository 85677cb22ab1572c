"""The shell command ``sam-mlx``. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import argparse
from typing import NoReturn

from . import ending
from .commands import auto, evaluate, export, finetune, info, predict, serve, web
from .messages import MAX_LINE, one_line, printable
from .options import Help
from .terminal import as_lines, say

COMMANDS = {
    "predict": predict, "auto": auto, "web": web, "serve": serve, "finetune": finetune,
    "evaluate": evaluate, "info": info, "export": export,
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command of these arguments, or of this process: then its signals are handled too."""
    if argv is None:
        ending.install()
    with as_lines("sam-mlx"):
        args = build_parser().parse_args(argv)
        try:
            code: int = COMMANDS[args.command].run(args)
            return code
        except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
            say(f"sam-mlx {args.command}: {one_line(error)}", error=True)
            return 2
        except KeyboardInterrupt:
            return ending.code()


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(printable(message[:MAX_LINE]))  # it may quote control characters


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="sam-mlx", description="Segment Anything on Apple silicon, with MLX.")
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
