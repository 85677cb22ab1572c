"""Strokes against the distance of every pixel."""

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    ("path", "radius", "message"),
    [
        (np.ones((2, 3)), 1, r"path has shape \(2, 3\); expected \(N, 2\)"),
        ([1, 2, 3, 4], 1, r"path has shape \(4,\)"),
        ([[1, np.nan]], 1, "path holds NaN"),
        ([[1, np.inf]], 1, "path holds NaN or inf"),
        ([[10**400, 1]], 1, "expected numbers"),
        ([["a", "b"]], 1, "expected numbers"),
        ([[1, 2]], -1, "radius is -1; expected pixels"),
        ([[1, 2]], np.nan, "radius holds NaN"),
        ([[1, 2]], 10**400, "expected numbers"),
        ([[1, 2]], [1, 2], r"radius is \[1, 2\]; expected pixels"),
        ([[1, 2]], None, "radius holds NaN"),
    ],
)
def test_strokes_of_another_form_are_refused(path, radius, message):
    """Three numbers a row were taken for other points."""
    with pytest.raises(ValueError, match=message):
        M.brush(np.zeros((5, 5), bool), path, radius)
    assert not M.brush(np.zeros((5, 5), bool), [], 3).any()
