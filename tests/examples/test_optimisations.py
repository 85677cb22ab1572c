"""Each optimisation computes what its plain form computes."""

import mlx.core as mx
import pytest

from examples.benchmarks.optimisations import SMALL, cases

CASES = list(cases(SMALL, prompts=3))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.split(":")[0])
def test_the_plain_form(case):
    plain, used = case.plain(), case.used()
    assert plain.shape == used.shape
    scale = max(1.0, mx.abs(plain).max().item())
    worst = mx.abs(plain - used).max().item() / scale
    assert worst <= case.bound  # 5e-7 measured, except for the positional encoding
