"""Strokes against the distance of every pixel."""

import numpy as np

from sam_mlx import masks as M


def test_a_stroke_sets_the_pixels_near_its_path():
    """Compared with every pixel's distance from the path, measured at many of its points."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50] + 0.5
    for _ in range(20):
        path = rng.uniform(-10, 60, (rng.integers(1, 5), 2))
        radius = rng.uniform(0.5, 8)
        ends = path[1:] if len(path) > 1 else path
        along = np.concatenate([np.linspace(a, b, 2000) for a, b in zip(path, ends)])
        distance = np.min(
            [np.hypot(x[..., None] - px, y[..., None] - py).min(-1)
             for px, py in zip(np.array_split(along[:, 0], 50), np.array_split(along[:, 1], 50))],
            axis=0,
        )  # fmt: skip
        drawn = M.brush(np.zeros((40, 50), bool), path, radius)
        sure = np.abs(distance - radius) > 0.05
        np.testing.assert_array_equal(drawn[sure], (distance <= radius)[sure])
        erased = M.brush(np.ones((40, 50), bool), path, radius, erase=True)
        np.testing.assert_array_equal(erased, ~drawn)


def test_a_stroke_leaves_the_mask_it_was_given():
    mask = np.zeros((5, 5), bool)
    assert M.brush(mask, [[2.5, 2.5]], 0.1).sum() == 1 and not mask.any()
    assert M.brush(mask, [[2, 2]], 0.8).sum() == 4
