"""For PyInstaller, which finds this folder by an entry point: what an app must be packed with."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folders of hooks: this one."""
    return [str(Path(__file__).parent)]
