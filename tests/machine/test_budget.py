"""The bounds of memory: found from the device, and set by hand."""

from dataclasses import replace

import mlx.core as mx
import pytest

from sam_mlx.machine import budget
from sam_mlx.machine.budget import MIB, Budget

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
