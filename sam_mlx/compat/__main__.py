"""``python -m sam_mlx.compat client.py ...``: Python, with our ``segment_anything``.

Python itself runs the client, started anew with ``hook/`` on its path, from which it imports
``sitecustomize``. So arguments, ``-m``, exit codes and tracebacks are Python's own, and children
inherit the environment.
"""

import os
import subprocess
import sys
from pathlib import Path

USAGE = """usage: python -m sam_mlx.compat (client.py | -m module | -c code) [argument ...]

Runs a client of segment_anything, segment_anything_hq or mobile_sam on sam_mlx."""
HOOK = Path(__file__).parent / "hook"


NEEDED = "python -E, -I and -S switch off what sam_mlx.compat needs: leave them out"
WITH_VALUE = "WX"  # options of Python whose value follows, in the same word or the next


def check_options(words: list[str]) -> None:
    """Exit if options of Python, before the client, would have another package win."""
    words = list(words)
    while words and words[0].startswith("-") and words[0] not in ("-", "--"):
        word = words.pop(0)
        if word == "--check-hash-based-pycs":
            words = words[1:]
        letters = "" if word.startswith("--") else word[1:]
        for i, letter in enumerate(letters):
            if letter in "EIS":
                sys.exit(NEEDED)
            if letter in "cm":  # the client: what follows is its own
                return
            if letter in WITH_VALUE:
                words = words[1:] if i == len(letters) - 1 else words
                break


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if len(sys.argv) > 1 else sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.flags.ignore_environment or sys.flags.no_site:
        sys.exit(NEEDED)
    check_options(sys.argv[1:])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOK), *([before] if before else [])])
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.execv(sys.executable, [sys.executable, *flags, *sys.argv[1:]])


if __name__ == "__main__":
    main()
