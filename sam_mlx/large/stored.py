"""Embeddings of windows in a folder, made ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..embedding import ImageEmbedding
from ..files import read_json, user_path, write_json, write_whole
from ..messages import short
from .window import Window

ABOUT = "windows.json"  # what the embeddings were made from


class StoredEmbeddings:
    """A file for each window, and one that says what all were made from."""

    def __init__(self, folder: str | Path, made_from: dict[str, Any]):
        self.folder = user_path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / ABOUT
        if about.exists():
            check_same(about, made_from)
        else:
            write_whole(about, lambda name: write_json(name, made_from, indent=2))

    def path(self, window: Window) -> Path:
        """The file of a window's embedding."""
        w = window
        return self.folder / f"{w.x}_{w.y}_{w.width}_{w.height}_{w.scale}.safetensors"

    def has(self, window: Window) -> bool:
        """True if the window's embedding is stored."""
        return self.path(window).exists()

    def read(self, window: Window) -> ImageEmbedding | None:
        """None where there is none, or what is there is damaged: it is made again."""
        try:
            return ImageEmbedding.load(self.path(window)) if self.has(window) else None
        except ValueError:
            return None

    def write(self, window: Window, embedding: ImageEmbedding) -> None:
        """Store a window's embedding."""
        embedding.save(self.path(window))


def check_same(about: Path, made_from: dict[str, Any]) -> None:
    """Raise ValueError where a folder was made from something else."""
    before = read_json(about)
    before = before if isinstance(before, dict) else {}
    changed = [
        f"{name} {short(before.get(name))} (now {short(value)})"
        for name, value in made_from.items()
        if before.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{about.parent} holds results made from {', '.join(changed)}; use another folder, or "
            "delete it"
        )
