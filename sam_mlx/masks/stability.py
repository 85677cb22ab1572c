"""How little a mask depends on the threshold that cuts it."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from ..arrays import to_finite, to_numbers
from ..machine.worker import at_work
from ..messages import short
from ..options import NUMBER


@at_work
def stability_scores(logits: mx.array, threshold: float = 0.0, offset: float = 1.0) -> mx.array:
    """How little masks depend on the threshold, (N,), from logits (N, H, W).

    The IoU of the masks above ``threshold + offset`` and above ``threshold - offset``; NaN when
    both are empty (``calculate_stability_score``).
    """
    for name, value in (("threshold", threshold), ("offset", offset)):
        if not NUMBER.fits(value):
            raise ValueError(f"{name} is {short(value)}; expected {NUMBER.words}")
    if not isinstance(logits, mx.array):
        logits = mx.array(to_finite(to_numbers(logits, "logits"), "logits"))
    return stability_ratio(*stability_counts(logits, threshold, offset))


def stability_counts(
    logits: mx.array, threshold: float, offset: float, inside: mx.array | None = None
) -> tuple[mx.array, mx.array]:
    """Pixels (...,) above ``threshold + offset`` and above ``threshold - offset``, of logits
    (..., H, W), only those ``inside``, if given.
    """
    inner, outer = (logits > threshold + sign * offset for sign in (1, -1))
    if inside is not None:
        inner, outer = inner & inside, outer & inside
    return inner.sum(axis=(-2, -1)), outer.sum(axis=(-2, -1))


def stability_ratio(inner: Any, outer: Any, empty: float = math.nan) -> Any:
    """The stability score of two counts of pixels; ``empty`` where both are 0.

    NaN, as in the original, passes no threshold; exported files say 0, which apps can show. In
    MLX, or in numpy for counts in float32.
    """
    xp: Any = mx if isinstance(inner, mx.array) else np
    return xp.where(outer > 0, inner / xp.maximum(outer, 1), xp.array(empty, xp.float32))
