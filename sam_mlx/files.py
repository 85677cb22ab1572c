"""Files and folders that appear whole or not at all."""

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from .locks import locked
from .messages import printable

PARTIAL = ".partial-"  # begins the names of unfinished folders
MAX_JSON = 1 << 20  # bytes of a config, settings or notes
MAX_TAGGED = 16 << 30  # bytes of a file that ``save_tagged`` wrote
KINDS = [  # of what is not a file
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
]


def write_whole(
    path: str | Path, write: Callable[[str], object], workspace: Path | None = None
) -> None:
    """Call ``write`` with a temporary name, then rename what it wrote to ``path``.

    The temporary name has the same ending, by which Pillow and numpy choose the format. It is in
    the folder ``workspace``, if that is on the same disk, or else beside ``path``. Nothing is left
    after an error, and leftovers of killed writers beside it are removed. Raises FileNotFoundError
    if the folder of ``path`` is missing, OSError if ``path`` is a folder, a pipe or a device.
    """
    path = place_of(Path(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {printable(path.parent)}")
    if workspace is None or workspace.stat().st_dev != path.parent.stat().st_dev:
        workspace = path.parent
    # A folder of its own: numpy and others may add to a name, or leave a second file.
    with temporary_folder(workspace) as folder:
        temporary = folder / f"new{path.suffix}"
        write(str(temporary))
        give_usual_permissions(temporary, path)
        os.replace(temporary, path)


def place_of(path: Path) -> Path:
    """Where a file that is written to ``path`` goes: to what a link points at.

    Raises OSError if something that is not a file is there, which would be replaced.
    """
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    if os.path.lexists(place) and (why := unfit(place, sys.maxsize)):
        raise OSError(f"cannot write {printable(path)}: {why}; choose another name")
    return place


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``folder`` at the end and removed after any error.

    Leftovers of killed writers beside it are removed. Raises FileExistsError if something is there
    already, OSError if it cannot be written.
    """
    folder = refuse_existing(folder)
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        make_folder(folder.parent)
        with temporary_folder(folder.parent) as temporary:
            yield temporary
            give_usual_permissions(temporary, folder)
            temporary.rename(folder)
    except BaseException:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{error.strerror}: {printable(error.filename)}"
        raise OSError(f"cannot write {printable(folder)}: {why}") from error


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder in ``parent``, locked; removed at the end if it is still there."""
    remove_leftovers(parent)
    while True:
        folder = parent / _unfinished(secrets.token_hex(8))
        try:
            folder.mkdir(0o700)
        except OSError as error:
            raise OSError(f"cannot write into {printable(parent)}: {error.strerror}") from error
        with locked(folder, wait=True):
            if not folder.exists():  # another process took it for a leftover before the lock
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of killed writers: those that are not locked."""
    with suppress(OSError):  # a folder that may be written to but not listed
        for name in filter(_is_unfinished, os.listdir(parent)):
            with locked(parent / name, wait=False) as unused:
                if unused:
                    shutil.rmtree(parent / name, ignore_errors=True)


def _unfinished(number: str) -> str:
    """A name for an unfinished folder. Its end follows from its number, so that nobody's own
    folder has such a name.
    """
    return f"{PARTIAL}{number}-{hashlib.sha256(f'sam_mlx {number}'.encode()).hexdigest()[:16]}"


def _is_unfinished(name: str) -> bool:
    found = re.fullmatch(rf"{re.escape(PARTIAL)}([0-9a-f]{{16}})-[0-9a-f]{{16}}", name)
    return found is not None and name == _unfinished(found[1])


def give_usual_permissions(temporary: Path, path: Path) -> None:
    """Give a file the permissions of ``path``, or of new files: some writers make private ones.

    A folder and everything in it get those of new ones.
    """
    mask = os.umask(0o077)
    os.umask(mask)
    if temporary.is_file():
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o666 & ~mask)
        return
    for entry in [temporary, *temporary.rglob("*")]:
        if not entry.is_symlink():
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~mask)


def packaged(name: str) -> Path:
    """A file or folder that ships with the package.

    Raises FileNotFoundError if it was left out, as by tools that pack an app.
    """
    path = Path(str(resources.files(__package__) / "assets" / name))
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing, a part of sam_mlx: install it again, or pack the app with its "
            "data, with PyInstaller by --collect-data sam_mlx --collect-all mlx"
        )
    return path


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path from a user: ``~`` and ``~name`` are home folders, where they exist."""
    return Path(os.path.expanduser(path))  # Path.expanduser fails for other names


def output_folder(path: str | Path) -> Path:
    """A folder to write to, which may be missing. Raises NotADirectoryError for a file."""
    path = user_path(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{printable(path)} is a file; -o takes a folder")
    return path


def refuse_existing(path: str | Path) -> Path:
    path = user_path(path)
    if os.path.lexists(path):
        raise FileExistsError(f"{printable(path)} already exists; delete it or choose another name")
    return path


def unfit(path: str | os.PathLike[str], most: int) -> str | None:
    """Why something must not be opened: it is not a file, or has more than ``most`` bytes.

    To open a pipe is to wait for who writes to it, and to read a device may never end. Raises
    OSError if nothing is there, or it cannot be seen.
    """
    try:
        found = os.stat(path)
    except ValueError as error:  # a null character
        raise OSError(str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for test, kind in KINDS if test(found.st_mode)), "something else")
        return f"it is {kind}, not a file"
    if found.st_size > most:
        return f"it has {found.st_size:,} bytes; expected at most {most:,}"
    return None


def check_file(path: str | os.PathLike[str], most: int) -> None:
    """Raise ValueError for what is not a file of at most ``most`` bytes, before it is opened."""
    if why := unfit(path, most):
        raise ValueError(f"{printable(path)}: {why}")


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a file. Raises ValueError as ``check_file``."""
    check_file(path, most)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:  # some files have no size, as those of Linux below /proc
        raise ValueError(f"{printable(path)}: it has more than {most:,} bytes")
    return content


def write_json(path: str | Path, values: Any, indent: int | None = None) -> None:
    """Write JSON; with ``indent``, for people: lines, and an end of the last one."""
    Path(path).write_text(to_json(values, indent) + ("" if indent is None else "\n"))


def to_json(values: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: NaN and infinities, which JSON lacks, are null."""
    try:
        return json.dumps(values, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(values), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_finite(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def read_json(path: Path, most: int = MAX_JSON) -> Any:
    """The JSON in a file of at most ``most`` bytes.

    Raises ValueError, with the file's name, if it is not JSON.
    """
    content = read_file(path, most)
    try:
        return parse_json(content.decode())
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from error


def parse_json(text: str) -> Any:
    """Parse JSON. Raises ValueError if the text is not JSON, or nested too deeply for Python."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "int_max_str_digits" not in str(error):
            raise
        raise ValueError("it has a number of more digits than Python reads") from None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
