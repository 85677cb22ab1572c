"""Encoders compute no array with more than five axes, and no convolution by Winograd."""

from dataclasses import replace

import mlx.core as mx
import pytest
from mlx.utils import tree_map

from sam_mlx import Sam
from sam_mlx.config import SamConfig
from sam_mlx.modeling.layers import window_partition
from sam_mlx.registry import VARIANTS
from tests.support.graph import above_rank, traced_shapes


def shallow_vit_b() -> SamConfig:
    """One windowed and one global block, in their real sizes."""
    config = VARIANTS["vit_b"]
    return replace(config, encoder=replace(config.encoder, depth=2, global_blocks=(1,)))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("config", [shallow_vit_b(), VARIANTS["vit_t"]], ids=["vit_b", "vit_t"])
@pytest.mark.parametrize("only_plain", [True, False])
def test_encoders_stay_within_five_axes(config: SamConfig, batch: int, only_plain: bool, plain):
    plain(only_plain)
    model = Sam(config)
    mx.eval(model.parameters())
    shapes = traced_shapes(
        model.encode_image, mx.zeros((batch, config.image_size, config.image_size, 3))
    )
    assert (batch, config.grid, config.grid, config.prompt_dim) in {s for _, s in shapes}
    assert above_rank(shapes) == []


@pytest.mark.parametrize("batch", [1, 2])
def test_windows_are_cut_as_five_axes(batch: int):
    """The reshape of MobileSAM's second stage, which has six axes in the original."""
    shapes = traced_shapes(lambda x: window_partition(x, 7), mx.zeros((batch, 128, 128, 8)))
    assert ("Reshape", (19 * batch, 7, 19, 7, 8)) in shapes
    assert above_rank(shapes) == []


def test_a_six_axis_partition_is_caught():
    def partition(x: mx.array) -> mx.array:
        x = x.reshape(1, 19, 7, 19, 7, 8).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, 49, 8)

    found = above_rank(traced_shapes(partition, mx.zeros((1, 133, 133, 8))))
    assert ("Reshape", (1, 19, 7, 19, 7, 8)) in found


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_metal_computes_no_convolution_by_winograd(name: str, plain):
    """Its error in half precision is many times that of a product, and differs with the batch."""
    plain()
    config = VARIANTS[name]
    model = Sam(config)
    model.update(tree_map(lambda w: mx.zeros(w.shape), model.parameters()))  # and never computed
    for batch in range(1, 9):
        images = mx.zeros((batch, config.image_size, config.image_size, 3))
        assert by_winograd(traced_shapes(model.encode_image, images)) == [], batch


def test_a_convolution_by_winograd_is_caught():
    weight = mx.zeros((128, 3, 3, 128))
    shapes = traced_shapes(lambda x: mx.conv2d(x, weight, padding=1), mx.zeros((1, 64, 64, 128)))
    assert by_winograd(shapes) == [(128, 3, 3, 128)]


def by_winograd(shapes: list[tuple[str, tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """Weights of 3x3 convolutions that meet Metal's conditions, apart from stride 1 (conv.cpp)."""
    weights = [s for name, s in shapes if name == "Convolution" and s[1:3] == (3, 3)]
    return [s for s in weights if s[0] % 32 == s[3] % 32 == 0 and s[0] + s[3] >= 256]
