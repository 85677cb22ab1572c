"""The versions of MLX that apps contain: each reads only files of its own version.

MLX promises no compatibility between versions, and 0.32.1 changed the format in both directions.
"""

from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Release:
    """A release of a package that apps are built on."""

    name: str
    mlx: str  # the version inside


# The last of each is the current one.
READERS: dict[str, list[Release]] = {
    "swift": [Release("mlx-swift 0.31.1 to 0.31.6", "0.31.1")],
}


def check_reader(reader: str | None) -> None:
    """Raise RuntimeError unless MLX has the version in the reader's current release, ValueError
    for an unknown reader.
    """
    if reader is None:
        return
    if reader not in READERS:
        raise ValueError(f"reader is {reader!r}; expected one of {', '.join(READERS)}")
    current, here = READERS[reader][-1], version("mlx")
    if here == current.mlx:
        return
    raise RuntimeError(
        f"{current.name} contains MLX {current.mlx}, which cannot read files of {here}, the "
        f"version here: pip install 'mlx=={current.mlx}' and export again; or, without changing "
        "this environment, in a clone of sam_mlx: "
        f"uvx --from . --with 'mlx=={current.mlx}' sam-mlx export"
    )
