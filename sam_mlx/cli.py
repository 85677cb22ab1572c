"""The shell command ``sam-mlx``. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from importlib.util import find_spec
from typing import Any, NoReturn

from . import ending
from .commands import auto, doctor, evaluate, export, finetune, info, predict, serve, web
from .messages import MAX_LINE, one_line
from .options import Help
from .terminal import as_lines, say

COMMANDS = {
    "predict": predict, "auto": auto, "web": web, "serve": serve, "finetune": finetune,
    "evaluate": evaluate, "info": info, "export": export, "doctor": doctor,
}  # fmt: skip
OVERVIEW = """\
Segment Anything on Apple silicon, with MLX. What one does:

  one object of a picture   sam-mlx predict photo.jpg --point 500 375 -o out
  everything in pictures    sam-mlx auto photos -o masks --format coco overlay
  click in a page           sam-mlx web photos
  train on your objects     sam-mlx finetune data -o mine

--model takes nano, which is the default and needs no download, vit_b and others, a file or a
folder. sam-mlx COMMAND --help lists the flags of a command; the others are serve, evaluate, info,
export and doctor.
"""
SHELLS = ("bash", "zsh", "tcsh")
COORDINATES = ("--point", "--negative", "--box", "--region")
NUMBERS = re.compile(r"-?[\d.]+(?:,-?[\d.]+)+")  # 500,375


def main(argv: list[str] | None = None) -> int:
    """Run the command of these arguments, or of this process: then its signals are handled too."""
    if argv is None:
        ending.install()
    with as_lines("sam-mlx"):
        given = sys.argv[1:] if argv is None else argv
        if not given:
            for line in OVERVIEW.splitlines():
                say(line)
            return 0
        args = build_parser().parse_args(apart(given))
        try:
            code: int = COMMANDS[args.command].run(args)
            return code
        except (ValueError, OSError, RuntimeError, ImportError, MemoryError) as error:
            say(f"sam-mlx {args.command}: {one_line(error)}", error=True)
            return 2
        except KeyboardInterrupt:
            return ending.code()


def apart(argv: list[str]) -> list[str]:
    """Arguments in which coordinates joined by commas are taken apart."""
    found, flag = [], ""
    for text in argv:
        if text.startswith("--"):
            flag = text
        joined = flag in COORDINATES and NUMBERS.fullmatch(text)
        found += text.split(",") if joined else [text]
    return found


class Parser(argparse.ArgumentParser):
    """A parser that tells the error before the usage, and which flag may be meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        flags = [text.split("=")[0] for text in unknown if text.startswith("--")]
        if flags and self._subparsers is None:  # the parser of a command knows its flags
            self.error(f"there is no {flags[0]}{self.meant(flags[0])}")
        return found, unknown

    def meant(self, flag: str) -> str:
        close = difflib.get_close_matches(flag, self._option_string_actions, 1)
        return f": did you mean {close[0]}?" if close else ""

    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL):
            close = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), 1)
            message += f": did you mean {close[0]}?" if close else ""
        say(f"{self.prog}: error: {message[:MAX_LINE]}", error=True)
        say(f"usage: {self.prog} ...; {self.prog} --help lists what it takes", error=True)
        sys.exit(2)


# What these two import would cost every command 80 ms.
class Version(argparse.Action):
    def __init__(self, **given: Any):
        super().__init__(nargs=0, **given)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        say(f"sam-mlx {version('sam-mlx')}, mlx {version('mlx')}")
        parser.exit()


class Completion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, __: Any = None) -> None:
        import shtab

        sys.stdout.write(shtab.complete(parser, shell) + "\n")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="sam-mlx", description="Segment Anything on Apple silicon, with MLX.")
    parser.add_argument("--version", action=Version, help="print the versions, and exit")
    if find_spec("shtab"):
        parser.add_argument(
            "--print-completion", action=Completion, choices=SHELLS,
            help="print what completes commands in a shell, and exit",
        )  # fmt: skip
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
