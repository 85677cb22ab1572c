"""What tiles and questions gave, kept in a folder: a run that was stopped continues with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from ..files import read_json, write_json, write_whole
from .found import Found
from .layout import Rect

T = TypeVar("T")


class Store(Generic[T]):
    """Keeps nothing."""

    def has(self, key: str) -> bool:
        return False

    def get(self, key: str) -> T | None:
        return None

    def put(self, key: str, found: T) -> None:
        pass


class FolderStore(Store[T]):
    """A file for each, whole or not there."""

    ending: str

    def __init__(self, folder: Path, workspace: Path | None = None):
        self.folder, self.workspace = folder, workspace
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, key: str) -> bool:
        return self._path(key).exists()

    def get(self, key: str) -> T | None:
        """None where there is none, or what is there is damaged: it is made again."""
        try:
            return self.read(self._path(key))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, found: T) -> None:
        write_whole(self._path(key), lambda name: self.write(name, found), self.workspace)

    def read(self, path: Path) -> T:
        """Raises OSError, ValueError, KeyError or TypeError for what is not there, or damaged."""
        raise NotImplementedError

    def write(self, name: str, found: T) -> None:
        raise NotImplementedError

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{self.ending}"


class MaskStore(FolderStore[list[Found]]):
    ending = ".json"

    def read(self, path: Path) -> list[Found]:
        return [Found.from_json(values) for values in read_json(path)]

    def write(self, name: str, found: list[Found]) -> None:
        write_json(name, [one.to_json() for one in found])


def key_of_tile(scale: int, rect: Rect) -> str:
    return "_".join(map(str, (scale, *rect)))


def key_of_pieces(pieces: Sequence[Found]) -> str:
    """Of what the pieces are and where."""
    digest = hashlib.sha256()
    for one in pieces:
        digest.update(repr((one.scale, one.box, one.tile, one.point)).encode())
        digest.update(one.packed.tobytes())
    return f"asked_{digest.hexdigest()[:32]}"
