"""Imported by Python at its start where this folder is on PYTHONPATH: see ``compat/__main__.py``.

Imports nothing of the package until a client imports ``segment_anything`` or ``mobile_sam``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
NAMES = ("segment_anything", "mobile_sam")


class Finder:
    """Before all others, so that an installed or vendored original is overridden."""

    @staticmethod
    def find_spec(
        name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in NAMES:
            return None
        if find_spec("sam_mlx") is None:  # it was found through the folder we were started in
            sys.path.append(str(HERE.parents[2]))
        return spec_from_file_location(name, HERE / "install.py")


def run_the_others() -> None:
    """The ``sitecustomize`` that this one hides, of an installation that has one."""
    sys.path[:] = [entry for entry in sys.path if Path(entry) != HERE]
    this = sys.modules.pop("sitecustomize")
    try:
        import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", this)


sys.meta_path.insert(0, Finder)
run_the_others()
