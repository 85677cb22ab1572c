"""The change that a pair of low-rank matrices makes to a layer's weight."""

import numpy as np


def product(a: np.ndarray, b: np.ndarray, name: str) -> np.ndarray:
    """B A of two linear layers' weights, or of two convolutions', the second of 1x1.

    Raises ValueError, with ``name``, which is A's, where there is no such product.
    """
    if a.ndim < 2 or not a.size or b.shape != (b.shape[:1] + a.shape[:1] + (1,) * (a.ndim - 2)):
        raise ValueError(f"{name} is {a.shape} and its other half {b.shape}: they have no product")
    return (b.reshape(len(b), -1) @ a.reshape(len(a), -1)).reshape(len(b), *a.shape[1:])
