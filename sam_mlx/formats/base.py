"""What an output format is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files import temporary_folder
from ..large.readers import needed
from ..masks import Record, decode_rle

Needs = tuple[str, str, str]  # a package, what it is for, and the extra that brings it


@dataclass(frozen=True)
class Result:
    """What one picture gave."""

    file_name: str  # below the folder that all pictures share
    number: int  # of the picture, in files that hold one picture and number it
    image: np.ndarray  # (H, W, 3)
    records: Sequence[Record]  # of the generator; segmentations are compressed RLE
    prompt: dict[str, Any] = field(default_factory=dict)  # to be drawn: ``overlay.draw_overlay``
    # Names of classes. Records may have a ``category_id``, which counts them from 1.
    categories: Sequence[str] = ("object",)

    @property
    def masks(self) -> Masks:
        return Masks(self.records)

    def category(self, i: int) -> str:
        """The name of a mask's class."""
        return self.categories[self.records[i].get("category_id", 1) - 1]

    def describe(self) -> dict[str, Any]:
        """The picture, as the JSON of datasets has it."""
        height, width = self.image.shape[:2]
        return {"width": width, "height": height, "file_name": self.file_name}


class Masks(Sequence[np.ndarray]):
    """The masks of records in RLE; only the one asked for is in memory."""

    def __init__(self, records: Sequence[Record]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: Any) -> Any:
        return decode_rle([self.records[i]["segmentation"]])[0]


class Format(ABC):
    """A form of results. Each has one object, in ``formats.FORMATS``."""

    name: str  # in the shell, after --format
    help: str
    pattern: str  # the path of a picture's result below the output folder; {} is the picture's name
    joined: str = ""  # the path of the file that ``finish`` makes, if any

    needs: Needs | None = None

    @property
    def key(self) -> str:
        """What notes of results call it: its name, or its pattern where that is not the usual."""
        return self.name if self.pattern == type(self).pattern else self.pattern

    def check(self) -> None:
        """Raise ImportError where a package is missing that ``write`` needs."""
        if self.needs is not None:
            needed(*self.needs)

    def path(self, folder: Path, name: str) -> Path:
        """Where the result of a picture goes."""
        return folder / self.pattern.format(name)

    @abstractmethod
    def write(self, result: Result, path: str) -> None:
        """Make a file or folder of that name."""

    def remove(self, path: Path) -> None:
        """Take away what ``write`` made, if anything."""
        if path.is_file():  # and not a pipe, or another thing of somebody else's
            path.unlink()

    def path_of_one(self, folder: Path, name: str) -> Path:
        """Where ``write_one`` puts the result of a picture."""
        return folder / self.joined if self.joined else self.path(folder, name)

    def write_one(self, result: Result, path: str) -> None:
        """The whole result of one picture, even if all pictures share a file."""
        if not self.joined:
            self.write(result, path)
            return
        with temporary_folder(Path(path).parent) as folder:
            part = folder / "part"
            self.write(result, str(part))
            self.finish({result.file_name: part}, path)

    def finish(self, parts: Mapping[str, Path], path: str) -> None:
        """Make the file for all pictures from the results that exist, by the pictures' names."""
        raise NotImplementedError(f"{self.name} has a file for all pictures, and no way to make it")


def apart(formats: Sequence[Format], there: Iterable[Format] = ()) -> list[Format]:
    """The formats; of those that would write files of one name, each has its own name in them:
    ``{}_rle.json`` and ``{}_sa1b.json`` in place of ``{}.json``.

    there: formats of results that are to stay.
    """
    uses = {(format.pattern, format.name) for format in (*formats, *there)}
    patterns = Counter(pattern for pattern, _ in uses)
    return [renamed(format) if patterns[format.pattern] > 1 else format for format in formats]


def renamed(format: Format) -> Format:
    other, (start, _, ending) = copy(format), format.pattern.rpartition(".")
    other.pattern = f"{start}_{format.name}.{ending}"
    return other
