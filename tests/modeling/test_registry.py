"""An image encoder of one's own, registered from outside the package."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from sam_mlx import Sam, SamPredictor, sam_model_registry
from sam_mlx.checkpoints.read import from_foreign
from sam_mlx.config import ENCODERS, VARIANTS, Encoder, SamConfig, register
from sam_mlx.modeling.layers import conv_as_matmul, weights_of


@dataclass(frozen=True)
class PlainConfig:
    """One convolution for each patch."""

    type: ClassVar[str] = "plain"
    gain: float = 1.0


class PlainEncoder(nn.Module):
    def __init__(self, config: SamConfig):
        super().__init__()
        self.gain = config.encoder.gain
        patch = config.patch_size
        self.only = nn.Conv2d(3, config.prompt_dim, patch, stride=patch)

    def __call__(self, x: mx.array) -> mx.array:
        return self.gain * conv_as_matmul(self.only, x)


def infer(weights) -> SamConfig:
    dim, _, patch, _ = weights["image_encoder.only.weight"].shape
    return SamConfig(PlainConfig(), image_size=64, patch_size=patch, prompt_dim=dim)


TOY = Encoder(
    PlainConfig,
    PlainEncoder,
    recognises=lambda weights: "image_encoder.only.weight" in weights,
    infer=infer,
    clean=lambda weights: {n: w for n, w in weights.items() if not n.endswith(".unused")},
)
CONFIG = SamConfig(PlainConfig(), image_size=64, patch_size=8, prompt_dim=32, decoder_mlp_dim=48)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = dict(ENCODERS), dict(VARIANTS)
    register(TOY, {"toy": CONFIG})
    yield
    for registry, content in zip((ENCODERS, VARIANTS), before):
        registry.clear()
        registry.update(content)


def test_it_predicts_and_comes_back_from_a_folder(tmp_path):
    model = Sam(VARIANTS["toy"])
    model.save_pretrained(tmp_path / "toy")
    loaded = Sam.from_pretrained(tmp_path / "toy")
    assert loaded.config == VARIANTS["toy"] and loaded.config.variant == "toy"
    assert isinstance(loaded.image_encoder, PlainEncoder)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    results = []
    for sam in (model, loaded):
        predictor = SamPredictor(sam)
        predictor.set_image(image)
        results.append(predictor.predict([[30, 20]], [1]))
    assert results[0][0].shape == (3, 40, 60)
    for ours, again in zip(*results):
        np.testing.assert_array_equal(ours, again)


def test_its_foreign_checkpoint_is_recognised_and_cleaned():
    model = Sam(CONFIG)
    foreign = {}
    for name, w in weights_of(model).items():
        transposed = w.ndim == 4 and "output_upscaling" in name
        axes = (3, 0, 1, 2) if transposed else (0, 3, 1, 2)
        foreign[name] = w.transpose(axes) if w.ndim == 4 else w
    foreign["image_encoder.only.unused"] = mx.zeros(3)
    checkpoint = from_foreign(foreign)
    assert checkpoint.config == replace(CONFIG, variant="toy")
    loaded = Sam.from_checkpoint(checkpoint)
    for name, w in weights_of(loaded).items():
        assert mx.array_equal(w, weights_of(model)[name]), name


def test_an_encoder_that_is_not_registered_is_refused(tmp_path):
    Sam(CONFIG).save_pretrained(tmp_path / "toy")
    del ENCODERS["plain"]
    with pytest.raises(ValueError, match="expected an object with type .*vit"):
        Sam.from_pretrained(tmp_path / "toy")
    assert "toy" not in sam_model_registry  # the registry is of released models
