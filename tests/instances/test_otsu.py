"""The threshold that each mask finds for itself, beside micro-sam's."""

import inspect

import numpy as np
import pytest

from sam_mlx.instances.otsu import thresholds


def blobs(n: int, seed: int) -> np.ndarray:
    """Logits (n, n) of a few blobs, as a decoder's: about -20 outside, up to 15 within."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:n, :n]
    found = np.full((n, n), -20.0)
    for _ in range(3):
        cy, cx, radius = *rng.uniform(0, n, 2), rng.uniform(3, n / 3)
        inner = 1 - np.hypot(y - cy, x - cx) / radius
        found = np.maximum(found, -20 + 35 / (1 + np.exp(-8 * inner)))
    return np.float32(found + rng.normal(0, 0.5, (n, n)))


SCENES = {
    "blobs": np.stack([blobs(64, seed) for seed in range(6)]),
    "two levels": np.where(np.arange(64) < 20, -3.0, 4.0)[None, :, None].repeat(64, axis=2),
    "all negative": np.float32(blobs(64, 1) - 40)[None],
    "constant": np.full((1, 64, 64), 2.0),
    "none": np.zeros((0, 64, 64)),
}


@pytest.mark.original
@pytest.mark.parametrize("scene", SCENES)
def test_thresholds_are_micro_sams(scene):
    from tests.support.micro_sam import segmentation, torch

    otsu = inspect.unwrap(segmentation.batched_inference).__globals__["_local_otsu_threshold"]
    logits = np.float32(SCENES[scene])
    expected = [otsu(torch.from_numpy(x[None, None]))[0, 0, 0].item() for x in logits]
    np.testing.assert_allclose(thresholds(logits), np.float32(expected), rtol=0, atol=1e-5)


def test_they_part_a_mask_from_what_is_round_it():
    found = thresholds(np.float32(SCENES["two levels"]))
    assert -3 <= found[0] < 4 and found[0] >= 0
    assert thresholds(np.float32(SCENES["all negative"])) == 0
