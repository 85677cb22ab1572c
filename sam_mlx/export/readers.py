"""Which MLX an app contains: it reads files of that version alone.

MLX promises no compatibility between versions, and 0.32.1 changed the format in both directions.
"""

from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Release:
    """Of a package that apps are built on."""

    name: str
    mlx: str  # the version inside


# The last of each is what one gets today.
READERS: dict[str, list[Release]] = {
    "swift": [Release("mlx-swift 0.31.1 to 0.31.6", "0.31.1")],
}


def check_reader(reader: str | None) -> None:
    """Raise RuntimeError where MLX is of another version than in the reader's current release,
    ValueError for an unknown reader.
    """
    if reader is None:
        return
    if reader not in READERS:
        raise ValueError(f"there is no reader {reader}; expected {', '.join(READERS)}")
    current, here = READERS[reader][-1], version("mlx")
    if here == current.mlx:
        return
    raise RuntimeError(
        f"{current.name} contains MLX {current.mlx}, and reads no files of {here}, which is here: "
        f"pip install 'mlx=={current.mlx}' and export again; or, in a clone of sam_mlx and without "
        f"a change to this environment, uvx --from . --with 'mlx=={current.mlx}' sam-mlx export"
    )
