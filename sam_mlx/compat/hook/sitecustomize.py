"""Imported by Python at its start where this folder is on PYTHONPATH: see ``compat/__main__.py``.

Imports nothing of the package until a client imports ``segment_anything``, ``mobile_sam`` or
``segment_anything_hq``.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
FILES = {
    "segment_anything": HERE / "install.py",
    "mobile_sam": HERE / "install.py",
    "segment_anything_hq": HERE / "install.py",
    "sam_mlx": HERE.parents[1] / "__init__.py",  # of which this is, wherever it lies
}


class Finder:
    """Before all others, so that an installed or vendored original is overridden."""

    @staticmethod
    def find_spec(
        name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_file_location(name, FILES[name]) if name in FILES else None


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


def stay_first(event: str, arguments: tuple[object, ...]) -> None:
    """Before an import of these names: a finder that was put before this one would win."""
    if event == "import" and arguments[0] in FILES and sys.meta_path[:1] != [Finder]:
        sys.meta_path[:] = [Finder, *(finder for finder in sys.meta_path if finder is not Finder)]


for name in list(sys.modules):  # imported by a .pth file of this Python
    if name.partition(".")[0] in ("segment_anything", "mobile_sam"):
        del sys.modules[name]
sys.meta_path.insert(0, Finder)
sys.addaudithook(stay_first)
run_the_others()
