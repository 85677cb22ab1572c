"""Locks of folders and files, which end with the process that holds them."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .messages import printable

NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}  # the last is NFS's


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold a folder's lock, which ends with its process; False if it cannot be taken."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except OSError:  # held by another, or a disk without locks
        mine = False
    try:
        yield mine
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` until the end; False if another process holds it.

    The lock ends with its process, however it ends; the file alone means nothing. Raises OSError
    if something else has its name: it is neither followed nor removed.
    """
    while True:
        file = _open_lock(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            yield False
            return
        except OSError as error:  # a disk without locks
            if error.errno not in NO_LOCKS:
                raise
        # Its last holder may have removed the file after it was opened here.
        if _is_at(path, file):
            break
        os.close(file)
    try:
        yield True
    finally:
        if _is_at(path, file):
            path.unlink(missing_ok=True)
        os.close(file)


def _open_lock(path: Path) -> int:
    """The descriptor of an empty file, which is made if nothing is there."""
    # Without O_NONBLOCK, to open a pipe would be to wait.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o666)
    except OSError as error:
        if not os.path.lexists(path) or (path.is_file() and not path.is_symlink()):
            raise
        raise OSError(f"{printable(path)} is not a lock of sam_mlx's own; delete it") from error
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        os.close(file)
        raise OSError(f"{printable(path)} is not a lock of sam_mlx's own; delete it")
    return file


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False
