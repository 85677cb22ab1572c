"""Maps of discs, as an instance decoder would make them."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from sam_mlx import ImageEmbedding
from sam_mlx.instances.maps import InstanceMaps


def drawn_maps(
    size: tuple[int, int],
    centres: Sequence[tuple[float, float]] | None = None,
    radius: float = 12,
    seed: int = 0,
) -> InstanceMaps:
    """Maps (H, W) of discs, at centres y, x or on a loose grid: with noise, as a decoder has."""
    rng = np.random.default_rng(seed)
    H, W = size
    if centres is None:
        step = 2.3 * radius
        centres = [
            (y + rng.uniform(-3, 3), x + rng.uniform(-3, 3))
            for y in np.arange(step / 2, H, step)
            for x in np.arange(step / 2, W, step)
        ]
    y, x = np.mgrid[:H, :W]
    distance = np.full(size, np.inf)
    for cy, cx in centres:
        distance = np.minimum(distance, np.hypot(y - cy, x - cx))
    share = distance / radius  # 0 at the centre, 1 at the edge
    noise = [rng.normal(0, 0.02, size) for _ in range(3)]
    maps = [
        1 / (1 + np.exp((share - 1) * 12)) + noise[0],
        np.minimum(share, 1) + noise[1],
        np.minimum(share**1.5, 1) + noise[2],
    ]
    foreground, centre, boundary = (np.clip(m, 0, 1).astype(np.float32) for m in maps)
    embedding = ImageEmbedding(mx.zeros((1, 1, 1, 1)), size, size, "drawn")
    return InstanceMaps(foreground, centre, boundary, embedding)
