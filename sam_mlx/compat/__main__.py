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


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if len(sys.argv) > 1 else sys.stderr)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.flags.ignore_environment or sys.flags.no_site:
        sys.exit("python -E, -I and -S switch off what sam_mlx.compat needs: leave them out")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOK), *([before] if before else [])])
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    os.execv(sys.executable, [sys.executable, *flags, *sys.argv[1:]])


if __name__ == "__main__":
    main()
