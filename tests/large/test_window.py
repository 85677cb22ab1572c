"""Which window a prompt is asked in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_mlx.large.window import CONTEXT, MAX_SIDE, Grid, Window


@settings(max_examples=300)
@given(st.data())
def test_a_window_holds_its_prompt_with_context(data):
    height, width = (data.draw(st.integers(1, 60_000)) for _ in range(2))
    side = data.draw(st.sampled_from([640, 1024]))
    grid = Grid((height, width), side, data.draw(st.sampled_from([side // 4, side // 2])))
    x0, x1 = sorted(data.draw(st.floats(0, width)) for _ in range(2))
    y0, y1 = sorted(data.draw(st.floats(0, height)) for _ in range(2))
    window = grid.around(x0, y0, x1, y1)
    left, top, right, bottom = window.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    slack = window.scale if window.scale > 1 else 0
    assert left - slack <= x0 and x1 <= right + slack and top - slack <= y0 and y1 <= bottom + slack
    longest = max(x1 - x0, y1 - y0)
    for length, n in ((right - left, width), (bottom - top, height)):
        assert length + slack >= min(n, max(side, CONTEXT * longest))
    assert max(window.shape) <= MAX_SIDE + 1
    assert grid.around(x0, y0, x1, y1) == window


def test_windows_are_shared_by_prompts_that_are_near():
    grid = Grid((30_000, 30_000), 1024, 256)
    found = {grid.around(x, 9000, x, 9000) for x in range(9000, 9512)}
    assert len(found) == 3 and all(w.x % 256 == 0 and w.width == 1024 for w in found)
    assert grid.around(0, 0, 5, 5) == Window(0, 0, 1024, 1024)
    assert grid.around(29_999, 3, 29_999, 5) == Window(30_000 - 1024, 0, 1024, 1024)
    assert Grid((400, 300), 1024, 256).around(5, 5, 9, 9) == Window(0, 0, 300, 400)


def test_windows_that_cover_a_picture():
    grid = Grid((2000, 1500), 640, 320)
    windows = grid.all()
    covered = np.zeros((2000, 1500), int)
    for w in windows:
        covered[w.y : w.y + w.height, w.x : w.x + w.width] += 1
        assert (w.width, w.height) == (640, 640)
    assert covered.min() >= 1 and len(windows) == len(set(windows)) == 6 * 4
    rng = np.random.default_rng(0)
    for x, y in rng.uniform((0, 0), (1500, 2000), (200, 2)):
        assert grid.around(x, y, x, y) in windows


def test_points_of_a_window():
    window = Window(100, 40, 800, 400, 4)
    assert window.shape == (100, 200)
    assert window.inside(np.array([[100, 40], [104, 48]])).tolist() == [[0, 0], [1, 2]]
    assert window.outside(window.inside(np.array([3.0, 5.0]))) == pytest.approx([3, 5])
