"""The bounds of memory: found from the device, and set by hand."""

from dataclasses import replace

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_mlx.machine import budget
from sam_mlx.machine.budget import MIB, Budget, even_parts

GPU = mx.Device(mx.gpu)


@pytest.mark.parametrize(
    ("info", "decoder"),
    [
        ({"max_recommended_working_set_size": 16_000_000_000}, 1_000_000_000),
        ({"max_recommended_working_set_size": 3_000_000_000}, 320 * MIB),  # no less
        ({"free_memory": 140_000_000_000}, 2560 * MIB),  # no more
        ({"device_name": "of a later MLX"}, 320 * MIB),
    ],
)
def test_a_gpu_of_any_size(info, decoder, monkeypatch):
    monkeypatch.setattr(mx, "device_info", lambda device: info)
    found = Budget.of(GPU)
    assert found.decoder_bytes == decoder
    assert found.attention_bytes == 64 * MIB


def test_a_cpu_works_near_its_caches():
    found = Budget.of(mx.Device(mx.cpu))
    assert found.attention_bytes == 8 * MIB and found.mask_pixels == MIB


def test_of_another_kind_of_device():
    assert budget.budget(mx.gpu).attention_bytes == 64 * MIB
    assert budget.budget(mx.cpu).attention_bytes == 8 * MIB


def test_it_can_be_set_and_taken_back():
    before = budget.budget()
    budget.use(replace(before, decoder_bytes=1))
    try:
        assert budget.budget().decoder_bytes == budget.budget(mx.gpu).decoder_bytes == 1
    finally:
        budget.use(None)
    assert budget.budget() == before


@given(st.integers(1, 5000), st.integers(0, 700), st.integers(1, 80))
def test_even_parts(total, at_most, at_least):
    parts = even_parts(total, at_most, at_least)
    sizes = [part.stop - part.start for part in parts]
    assert [i for part in parts for i in range(total)[part]] == list(range(total))
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(at_least, total)
    if max(sizes) > max(at_most, 1):  # one more would have been too few in each
        assert total // (len(parts) + 1) < at_least
    elif len(parts) > 1:  # fewer would have been too many in each
        assert -(-total // (len(parts) - 1)) > at_most


def test_parts_of_nothing():
    assert even_parts(0, 5) == []
