"""What tiles and questions gave, kept in a folder: a run that was stopped continues with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..files import read_json, write_json, write_whole
from .found import Found
from .layout import Rect


class Store:
    """Keeps nothing."""

    def get(self, key: str) -> list[Found] | None:
        return None

    def put(self, key: str, found: list[Found]) -> None:
        pass


class FolderStore(Store):
    """A file for each, whole or not there."""

    def __init__(self, folder: Path, workspace: Path | None = None):
        self.folder, self.workspace = folder, workspace
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, key: str) -> bool:
        return self._path(key).exists()

    def get(self, key: str) -> list[Found] | None:
        """None where there is none, or what is there is damaged: it is made again."""
        try:
            return [Found.from_json(values) for values in read_json(self._path(key))]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, found: list[Found]) -> None:
        values = [one.to_json() for one in found]
        write_whole(self._path(key), lambda name: write_json(name, values), self.workspace)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def key_of_tile(scale: int, rect: Rect) -> str:
    return "_".join(map(str, (scale, *rect)))


def key_of_pieces(pieces: Sequence[Found]) -> str:
    """Of what the pieces are and where."""
    digest = hashlib.sha256()
    for one in pieces:
        digest.update(repr((one.scale, one.box, one.tile, one.point)).encode())
        digest.update(one.packed.tobytes())
    return f"asked_{digest.hexdigest()[:32]}"
