"""Another input size, against Meta's class of that size with the same interpolated tensors."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import Sam, SamPredictor
from sam_mlx.cli import main
from sam_mlx.modeling.layers import cubic_rows
from sam_mlx.modeling.tiny_vit import MOBILE_SAM
from sam_mlx.registry import VARIANTS
from tests.support.automatic import squares
from tests.support.models import SMALL, original


@pytest.mark.parametrize(("rows", "size"), [(16, 8), (16, 24), (16, 15), (5, 64), (1, 3), (7, 1)])
def test_cubic_rows_equal_torchs(originals, rows, size):
    torch = originals.torch
    x = torch.randn(1, 1, rows, 3, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(x, (size, 3), mode="bicubic", align_corners=False)
    ours = cubic_rows(x[0, 0].numpy(), size)
    np.testing.assert_allclose(ours, expected[0, 0].numpy(), atol=1e-13)


@pytest.fixture(scope="module")
def checkpoints(originals, tmp_path_factory):
    """A ViT with windows and MobileSAM under Meta's names, and our folder of the former."""
    from convert.meta import build_meta
    from tests.support.mobile_sam import mobile_sam_state

    folder = tmp_path_factory.mktemp("sizes")
    states = {
        "vit": original(SMALL).state_dict(),
        "tiny_vit": mobile_sam_state(build_meta(MOBILE_SAM)),
    }
    for name, state in states.items():
        originals.torch.save(state, folder / f"{name}.pth")
    Sam.from_pretrained(folder / "vit.pth").save_pretrained(folder / "ours")
    return folder, states


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("vit", "vit.pth", 64), ("vit", "vit.pth", 200), ("vit", "ours", 200), ("vit", "ours", 32),
        ("tiny_vit", "tiny_vit.pth", 256), ("tiny_vit", "tiny_vit.pth", 208),
    ],
)  # fmt: skip
def test_metas_class_of_that_size(name, file, size, checkpoints, originals):
    from convert.meta import build_meta

    torch = originals.torch
    folder, states = checkpoints
    model = Sam.from_pretrained(folder / file, image_size=size)
    config = replace(SMALL if name == "vit" else MOBILE_SAM, image_size=size)
    assert replace(model.config, variant="", decoder_heads=2) == replace(
        config, variant="", decoder_heads=2
    )
    state = dict(states[name])
    if name == "vit":
        table = state["image_encoder.pos_embed"].permute(0, 3, 1, 2)
        table = torch.nn.functional.interpolate(
            table, (config.grid, config.grid), mode="bicubic", align_corners=False
        )
        state["image_encoder.pos_embed"] = table.permute(0, 2, 3, 1)
    reference = build_meta(replace(config, decoder_heads=model.config.decoder_heads), state)
    pixels = torch.randn(1, 3, size, size)
    ours = model.encode_image(mx.array(pixels.permute(0, 2, 3, 1).numpy()))
    expected = reference.image_encoder(pixels).detach().permute(0, 2, 3, 1)
    np.testing.assert_allclose(np.array(ours), expected.numpy(), atol=2e-5)  # measured 4e-6


def test_predictions_at_another_size(checkpoints):
    folder, _ = checkpoints
    predictor = SamPredictor.from_pretrained(folder / "ours", image_size=192)
    predictor.set_image(squares(100, 150))
    masks, scores, logits = predictor.predict([[40, 50]], [1])
    assert masks.shape == (3, 100, 150) and logits.shape == (3, 96, 96)
    assert predictor.input_size == (128, 192) and np.isfinite(scores).all()
    own = SamPredictor.from_pretrained(folder / "ours")
    own.set_image(squares(100, 150))
    with pytest.raises(ValueError, match="made by encoder"):
        own.set_image_embedding(predictor.get_image_embedding())
    same = Sam.from_pretrained(folder / "ours", image_size=SMALL.image_size)
    assert same.config == own.model.config


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            500,
            "image_size is 500; expected a multiple of 8, the model's patch size, such as 496 or",
        ),
        (3, "a multiple of 8, the model's patch size, such as 8 or 16"),
        (0, "image_size is 0; expected a whole number from 1"),
        (64.0, "image_size is 64.0; expected a whole number"),
    ],
)
def test_sizes_that_do_not_fit(size, message):
    with pytest.raises(ValueError, match=message):
        Sam.from_pretrained("nano", image_size=size)


def test_the_shell(tmp_path, capsys):
    assert main(["info", "nano", "--image-size", "256"]) == 0
    assert "256 x 256 pixels" in capsys.readouterr().out
    assert main(["info", "nano", "--image-size", "250"]) == 2
    assert "248 or 256" in capsys.readouterr().err
    assert VARIANTS["nano"].image_size == 320
