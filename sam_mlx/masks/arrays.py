"""Masks as arrays: the check of what is one, the best, the largest, and a map of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike

from .. import arrays
from ..machine.worker import where_held

Array = TypeVar("Array", bound="mx.array | np.ndarray")


def check_masks(masks: Array, name: str = "masks", axes: str = "(N, H, W)") -> Array:
    """Masks as bool, in numpy or MLX as they came.

    Tensors of other frameworks come out in numpy. Raises ValueError for other shapes, and for
    values other than 0 and 1.
    """
    found: Any = masks if isinstance(masks, mx.array) else arrays.to_numpy(masks, name)
    if found.ndim != axes.count(",") + 1:
        raise ValueError(f"{name} has shape {tuple(found.shape)}; expected {axes}")
    arrays.check_pixels(math.prod(found.shape[-2:]), name)
    return where_held(_as_bool, found)(found, name)


def _as_bool(found: Any, name: str) -> Any:
    if found.dtype in (mx.bool_, np.bool_):
        return found
    is_set = found == 1
    if not bool(((found == 0) | is_set).all()):
        raise ValueError(
            f"{name} has dtype {found.dtype} and values other than 0 and 1; "
            f"expected bool: pass {name} > 0"
        )
    return is_set


def check_mask(mask: Array, name: str = "mask", size: tuple[int, int] | None = None) -> np.ndarray:
    """A mask (H, W) as bool in numpy; raises ValueError as ``check_masks`` does, and for a mask of
    another size.
    """
    found = np.asarray(check_masks(mask, name, "(H, W)"))
    if size is not None and found.shape != size:
        raise ValueError(f"{name} has a mask of size {found.shape}; the image has {size}")
    return found


def best_mask(masks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The mask (H, W) of (N, H, W) with the highest predicted IoU."""
    found: Any = check_masks(masks)
    return where_held(_take, found)(found, int(np.argmax(_check_scores(scores, len(found)))))


def _check_scores(scores: ArrayLike, count: int) -> np.ndarray:
    """Scores (N,) of N masks or boxes; ValueError for another number of them, or none, or NaN."""
    found = arrays.to_numbers(scores, "scores")
    if found.shape != (count,) or count == 0:
        raise ValueError(f"scores has shape {found.shape}; expected {(count,)}, one a mask")
    if np.isnan(found).any():
        raise ValueError("scores holds NaN; expected numbers")
    return found


def _take(masks: Any, index: int) -> Any:
    return masks[index]


def largest_mask(masks: np.ndarray) -> np.ndarray:
    """The mask (H, W) of (N, H, W) with the most pixels."""
    found: Any = check_masks(masks)
    return where_held(_largest, found)(found)


def _largest(masks: Any) -> Any:
    return masks[int(np.argmax(np.asarray(masks.sum(axis=(1, 2)))))]


def label_map(
    masks: Sequence[np.ndarray], size: tuple[int, int], dtype: type[np.integer[Any]] = np.uint16
) -> np.ndarray:
    """A map (H, W) of ``size``: i + 1 where mask i is, the smallest on top; 0 elsewhere.

    Raises ValueError for more masks than the dtype has numbers, 65535 by default.
    """
    bits, most = np.iinfo(dtype).bits, np.iinfo(dtype).max
    if (count := arrays.count_of(masks, "masks")) > most:
        raise ValueError(f"{count} masks; a {bits}-bit label map holds {most}")
    size = arrays.check_size(size, "size")
    labels = np.zeros(size, dtype)
    areas = np.array([np.count_nonzero(check_mask(mask, "masks", size)) for mask in masks])
    for i in np.argsort(-areas, kind="stable").tolist():
        labels[check_mask(masks[i], "masks", size)] = i + 1
    return labels
