"""Read sizes off the shapes of a checkpoint's tensors."""

import re

from ..registry import Weights


def shape_of(weights: Weights, name: str) -> tuple[int, ...]:
    """A tensor's shape. Raises ValueError if it is missing: the checkpoint is not SAM's."""
    if name not in weights:
        raise ValueError(f"not a SAM checkpoint: it has no tensor {name!r}")
    return tuple(weights[name].shape)


def count(weights: Weights, pattern: str) -> int:
    """Count the distinct values of ``pattern``'s first group, matched at the start of names."""
    return len({match[1] for name in weights if (match := re.match(pattern, name))})
