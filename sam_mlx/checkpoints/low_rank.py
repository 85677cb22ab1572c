"""The change that a pair of low-rank matrices makes to a layer's weight."""

import numpy as np

MAX_VALUES = 1 << 27  # of a weight; ViT-H's largest has 7 million


def product(a: np.ndarray, b: np.ndarray, name: str) -> np.ndarray:
    """B A, for the weights of two linear layers or two convolutions, the second 1x1.

    a: (rank, in, ...); b: (out, rank, 1, ...). Returns (out, in, ...). Raises ValueError, with
    A's ``name``, if the shapes do not fit.
    """
    if a.ndim < 2 or not a.size or b.shape != (b.shape[:1] + a.shape[:1] + (1,) * (a.ndim - 2)):
        raise ValueError(f"{name} is {a.shape}, its other half {b.shape}: they do not fit together")
    if len(b) * (a.size // len(a)) > MAX_VALUES:
        raise ValueError(
            f"{name} is {a.shape}, its other half {b.shape}: they make a weight of more "
            f"than {MAX_VALUES:,} values"
        )
    with np.errstate(all="ignore"):  # whoever adds it looks for values that are not finite
        change = b.reshape(len(b), -1) @ a.reshape(len(a), -1)
    return change.reshape(len(b), *a.shape[1:])
