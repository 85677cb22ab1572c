"""Raw files of cameras, which are told apart from pictures and refused.

Pillow opens many of them as TIFF, and gives the preview beside the raw data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

ENDINGS = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq",
    ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2",
    ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}  # fmt: skip
STARTS = (
    b"FUJIFILMCCD-RAW",  # Fujifilm's RAF
    b"IIRO", b"IIRS", b"MMOR",  # Olympus' ORF
    b"IIU\0",  # Panasonic's and Leica's RW2
    b"\0MRM", b"FOVb",  # Minolta's MRW, Sigma's X3F
)  # fmt: skip
CANON = {(4, b"ftypcrx "), (6, b"HEAPCCDR"), (8, b"CR\2\0")}  # CR3, CRW, CR2, by their places
DNG_VERSION, PHOTOMETRIC, SUB_IFDS = 50706, 262, 330  # TIFF tags
SENSOR = {32803, 34892}  # colour filter array, linear raw
MAX_DIRECTORIES = 16  # raw files have two or three
HINT = "convert it, in Python with rawpy: load_image(rawpy.imread(path).postprocess())"


def refuse_ending(name: str | bytes) -> None:
    """Raise ValueError for a file with a raw file's name."""
    if os.path.splitext(os.fsdecode(name))[1].lower() in ENDINGS:
        raise ValueError(f"its name is that of a camera's raw file; {HINT}")


def refuse(head: bytes) -> None:
    """Raise ValueError if these first 16 bytes of a file are those of a raw file."""
    if head.startswith(STARTS) or any(head.startswith(mark, at) for at, mark in CANON):
        raise ValueError(f"it is a camera's raw file; {HINT}")


def refuse_tiff(tags: Mapping[int, Any], file: BinaryIO | None) -> None:
    """Raise ValueError for a TIFF with a sensor's values in any of its directories.

    file: None if it is closed already.
    """
    if DNG_VERSION in tags or any(t.get(PHOTOMETRIC) in SENSOR for t in _directories(tags, file)):
        raise ValueError(f"it is a camera's raw file, with a preview beside it; {HINT}")


def _directories(tags: Mapping[int, Any], file: BinaryIO | None) -> Iterator[Mapping[int, Any]]:
    yield tags
    places = tags.get(SUB_IFDS)
    if file is None or file.closed or not isinstance(places, tuple):
        return
    file.seek(0)
    head = file.read(16)
    for place in places[:MAX_DIRECTORIES]:
        directory = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if head[2:3] == b"+" else 8])
        try:
            file.seek(place)
            directory.load(file)
            yield directory
        except MemoryError:
            raise
        except Exception:  # damage there does not mean a damaged picture
            return
