"""Where the page's server keeps a session: a file, and what lies beside it."""

from __future__ import annotations

from pathlib import Path


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def uploads_of(path: Path) -> Path:
    """Where the uploaded pictures of a session are, by their SHA-256."""
    return path.with_name(f"{path.name}.pictures")


def changes_of(path: Path) -> Path:
    """Where the changes of a session are that its file lacks."""
    return path.with_name(f"{path.name}.changes")


def files_of(path: Path) -> list[Path]:
    """A session's file, and its changes in their order."""
    changes = [p for p in changes_of(path).glob("*.json") if p.stem.isdecimal()]
    return [path, *sorted(changes, key=lambda change: int(change.stem))]
