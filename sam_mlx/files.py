"""Files and folders that appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import mlx.core as mx
from safetensors import SafetensorError, safe_open

Tensors = TypeVar("Tensors")


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


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``folder`` at the end and removed after any error.

    Raises FileExistsError when something is there already, OSError when it cannot be written.
    """
    folder = refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OSError(f"cannot write {folder}: {error.strerror}: {error.filename}") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.exists():
        raise FileExistsError(f"{path} exists already; delete it or choose another name")
    return path


def read_safetensors(path: Path) -> dict[str, mx.array]:
    """The tensors of a file. Raises ValueError when it is not whole."""
    try:
        # mx.load reads lazily: a truncated file would only show when evaluated.
        with safe_open(path, "np"):
            pass
        return load_safetensors(str(path))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def load_safetensors(name: str) -> dict[str, mx.array]:
    return cast("dict[str, mx.array]", mx.load(name, format="safetensors"))


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def save_tagged(
    path: str | Path,
    kind: str,
    write: Callable[[str, dict[str, str]], object],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Have ``write`` (name, metadata) make a safetensors file that says what it is."""
    metadata = {"format": f"sam_mlx.{kind}", **(texts or {})}
    write_whole(path, lambda name: write(name, metadata))


def load_tagged(
    path: str | Path, kind: str, meaning: str, read: Callable[[str], Tensors]
) -> tuple[Tensors, dict[str, str]]:
    """What ``read`` finds in a file that ``save_tagged`` wrote as ``kind``, and its metadata.

    Raises FileNotFoundError, "no such ``meaning``", or ValueError with why it is none.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no such {meaning}: {path}")
    try:
        with safe_open(path, "np") as file:
            texts = file.metadata() or {}
        if texts.get("format") != f"sam_mlx.{kind}":
            raise ValueError(f"it was not written by {kind}.save")
        return read(str(path)), texts
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(str(error)) from error
