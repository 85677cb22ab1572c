"""What all forms share: records of anything given, and packages that may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import mlx.core as mx
import numpy as np

from ..masks import (
    Record,
    Rle,
    check_masks,
    compress_rle,
    compressed_segmentations,
    encode_rle,
    record_of,
    rle_size,
)

Given = Sequence[Record] | np.ndarray | mx.array  # records, or masks (N, H, W)


def records_of(found: Given) -> list[Record]:
    """Records with compressed RLE. Raises ValueError for anything but records and masks."""
    if hasattr(found, "shape"):
        rles = encode_rle(check_masks(np.asarray(found)))
        return [record_of(rle, 1.0, 1.0) for rle in compress_rle(rles)]
    rles = compressed_segmentations(found)
    return [{**record, "segmentation": rle} for record, rle in zip(found, rles)]


def size_of(records: Sequence[Record], size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the picture of records, or the size given where there are none."""
    if size is None and not records:
        raise ValueError("without masks the picture's size is not known: pass size=(H, W)")
    return size or rle_size(records[0]["segmentation"])


def record_from(rle: Rle, score: float | None = None) -> Record:
    """The record of a mask that came from elsewhere."""
    score = 1.0 if score is None else float(score)
    return record_of(compress_rle([rle])[0], score, 1.0)


def needed(package: str, install: str = "") -> Any:
    """A package that is installed, or an ImportError with the line that installs it."""
    try:
        return import_module(package)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ImportError(f"{package} is not installed: pip install {install or package}") from None
