"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_whole(
    path: str | Path, write: Callable[[str], object], workspace: Path | None = None
) -> None:
    """Call ``write`` with a temporary name, then rename what it wrote to ``path``.

    The temporary name is in ``workspace``, a folder on the same disk, or else beside ``path``.
    Raises FileNotFoundError when the folder of ``path`` is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    temporary = (workspace or path.parent) / f".{path.stem}-{os.getpid()}{path.suffix}"
    try:
        write(str(temporary))
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
