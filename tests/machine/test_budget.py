"""The bounds of memory: found from the device, and set by hand."""

from dataclasses import replace

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sam_mlx
from sam_mlx.machine import budget
from sam_mlx.machine.budget import MIB, MIN_LIMIT, UNKNOWN, Budget, even_parts

GPU, CPU = mx.Device(mx.gpu), mx.Device(mx.cpu)
PROMPT = 42_205_184  # bytes of one in ViT-B (``decoding.decode_in_parts``)
IMAGE = 2 * 4096 * 3072 * 4  # of its MLPs for an image (``ImageEncoderViT``)


@pytest.mark.parametrize(
    ("info", "prompts", "images"),
    [
        ({"max_recommended_working_set_size": 5_333_000_000}, [8] * 8, [1] * 4),  # a Mac of 8 GB
        ({"max_recommended_working_set_size": 10_667_000_000}, [16] * 4, [2] * 2),  # of 16 GB
        ({"max_recommended_working_set_size": 21_333_000_000}, [32] * 2, [4]),  # of 32 GB
        ({"max_recommended_working_set_size": 384_000_000_000}, [64], [4]),  # of 512 GB
        (
            {"free_memory": 140_000_000_000, "total_memory": 150_000_000_000},
            [64],
            [4],
        ),  # of Nvidia's
        ({"device_name": "of a later MLX"}, [8] * 8, [1] * 4),
    ],
)
def test_a_gpu_of_any_size(info, prompts, images, monkeypatch):
    monkeypatch.setattr(mx, "device_info", lambda device: info)
    found = Budget.of(GPU)
    parts = even_parts(64, found.decoder_bytes // PROMPT)
    assert [part.stop - part.start for part in parts] == prompts
    parts = even_parts(4, found.encoder_bytes // IMAGE)
    assert [part.stop - part.start for part in parts] == images
    assert found.attention_bytes == 4 * 4096 * 4096  # a head of ViT-B
    assert found.band_pixels == 512


def test_a_cpu_works_near_its_caches():
    found = Budget.of(CPU)
    assert (found.attention_bytes, found.decoder_bytes) == (8 * MIB, 320 * MIB)
    assert (found.mask_pixels, found.band_pixels) == (MIB, 128)


def test_of_another_kind_of_device():
    assert budget.budget(mx.gpu).attention_bytes == 64 * MIB
    assert budget.budget(mx.cpu).attention_bytes == 8 * MIB


def test_the_form_for_gpus_works_in_a_gpus_parts(plain):
    plain(False)
    assert budget.budget() == Budget.of(mx.default_device())
    plain()
    assert budget.budget() == Budget.of(GPU)


@pytest.mark.parametrize("device", [GPU, CPU])
def test_a_limit_makes_all_parts_smaller(device):
    whole = Budget.of(device)
    half = Budget.of(device, UNKNOWN // 2)
    for name in ("attention_bytes", "decoder_bytes", "mask_pixels"):
        assert getattr(half, name) <= getattr(whole, name)
        assert getattr(Budget.of(device, MIN_LIMIT), name) <= getattr(whole, name) // 40
    assert half.decoder_bytes == pytest.approx(whole.decoder_bytes / 2, abs=1)


@pytest.fixture
def no_limit():
    sam_mlx.set_memory_limit(None)
    yield
    sam_mlx.set_memory_limit(None)


@pytest.mark.usefixtures("no_limit")
def test_users_set_the_limit():
    before = budget.budget()
    sam_mlx.set_memory_limit(UNKNOWN // 4)
    assert budget.budget() == Budget.of(mx.default_device(), UNKNOWN // 4)
    assert budget.budget(mx.gpu).decoder_bytes == UNKNOWN // 4 // 15
    sam_mlx.set_memory_limit(None)
    assert budget.budget() == before


@pytest.mark.usefixtures("no_limit")
@pytest.mark.parametrize("limit", [0, -1, 8, 2.5e9, True, "2GB", MIN_LIMIT - 1])
def test_limits_that_are_not_bytes(limit):
    with pytest.raises(ValueError, match="the memory limit is .*; expected a number of bytes"):
        sam_mlx.set_memory_limit(limit)


@pytest.mark.usefixtures("no_limit")
@pytest.mark.parametrize(("given", "limit"), [("2147483648", 2 << 30), ("", None), (" ", None)])
def test_a_limit_from_the_environment(given, limit, monkeypatch):
    monkeypatch.setenv(budget.VARIABLE, given)
    monkeypatch.setattr(budget, "_limit", None)  # as in a new process
    monkeypatch.setattr(budget, "_found", {})
    assert budget.budget(mx.gpu) == Budget.of(GPU, limit)


@pytest.mark.usefixtures("no_limit")
@pytest.mark.parametrize("given", ["2GB", "-1", "1000", "\u0662"])
def test_a_bad_limit_from_the_environment(given, monkeypatch):
    monkeypatch.setenv(budget.VARIABLE, given)
    monkeypatch.setattr(budget, "_limit", None)
    monkeypatch.setattr(budget, "_found", {})
    with pytest.raises(ValueError, match="SAM_MLX_MEMORY_LIMIT is .*; expected a number of bytes"):
        budget.budget()


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
