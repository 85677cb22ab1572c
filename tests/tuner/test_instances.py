"""The instance decoder in training: targets, loss and gradients are torch-em's."""

import importlib
import sys
import types
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("skimage")

from sam_mlx import InstanceSegmenter, Sam
from sam_mlx.modeling.layers import weights_of
from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.evaluation import evaluate
from sam_mlx.tuner.examples import examples_of
from sam_mlx.tuner.instances import PREFIX, maps_of, train_along, with_new_decoder
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.pth import export
from sam_mlx.tuner.targets import Frame
from sam_mlx.tuner.trainer import Trainer
from tests.support.models import SMALL, random_sam
from tests.support.tuner import write_data

SIZE = SMALL.image_size
OPTIONS = TrainingOptions(
    instances=True, iters=4, objects=2, clicks=0, views=1, steps_per_eval=2, learning_rate=1e-3
)


def objects():
    """Two that touch, a ring whose centre is outside, one at the border, one in two parts."""
    y, x = np.mgrid[:SIZE, :SIZE]
    far = (x - 90) ** 2 + (y - 80) ** 2
    masks = [
        (x - 30) ** 2 + (y - 30) ** 2 < 200,
        (abs(x - 52) < 8) & (abs(y - 30) < 12) & ((x - 30) ** 2 + (y - 30) ** 2 >= 200),
        (far < 600) & (far > 250),
        (x < 9) & (y > 100),
        ((x - 60) ** 2 + (y - 110) ** 2 < 50) | ((x - 100) ** 2 + (y - 20) ** 2 < 90),
    ]
    return np.stack(masks)


@pytest.fixture(scope="module")
def original():
    """torch-em's transform of labels, and its loss."""
    support = pytest.importorskip("tests.support.micro_sam")
    with support.bare():
        for name in ("loss", "transform"):  # without what else their packages import
            sys.modules[f"torch_em.{name}"] = package = types.ModuleType(f"torch_em.{name}")
            package.__path__ = [f"{support.PLACES['torch_em']}/{name}"]
        util = sys.modules["torch_em.util"]
        util.ensure_array = util.ensure_spatial_array = None
        loss = importlib.import_module("torch_em.loss.distance_based")
        label = importlib.import_module("torch_em.transform.label")
    return support, label.PerObjectDistanceTransform(), loss.DiceBasedDistanceLoss(True)


@pytest.mark.original
def test_targets_are_torch_ems(original):
    masks = objects()
    labels = (masks * np.arange(1, 6)[:, None, None]).max(axis=0)
    expected = original[1](labels)
    assert expected.shape == (3, SIZE, SIZE)
    np.testing.assert_allclose(maps_of(masks).transpose(2, 0, 1), expected, atol=1e-6)


@pytest.mark.original
@pytest.mark.parametrize("form", ["here", "plain"])
def test_loss_and_gradients_are_torch_ems(original, form, plain, tmp_path):
    """The original in float64. Measured, of each gradient's largest value: 7e-4, and 2.3e-3 for the
    biases before the last norms: MLX adds 65,536 values up one after another.
    """
    import torch

    plain(form == "plain")
    support, transform, loss_of = original
    network = support.original_decoder(SMALL, 8)
    from tests.support.models import original as original_sam

    states = {
        "model_state": original_sam(SMALL).state_dict(),
        "decoder_state": support.decoder_state(network),
    }
    torch.save(states, tmp_path / "both.pt")
    model = Sam.from_pretrained(tmp_path / "both.pt")
    masks = objects()
    torch.manual_seed(1)
    embedding = torch.randn(1, SMALL.prompt_dim, SMALL.grid, SMALL.grid)
    features = mx.array(embedding.numpy().transpose(0, 2, 3, 1))
    network, embedding = network.double(), embedding.double().requires_grad_()
    maps = torch.nn.functional.interpolate(
        torch_maps(network, embedding), (SIZE, SIZE), mode="bilinear"
    )
    labels = (masks * np.arange(1, 6)[:, None, None]).max(axis=0)
    loss = loss_of(maps, torch.tensor(transform(labels))[None].double())
    loss.backward()
    parameters = {n: w for n, w in weights_of(model).items() if n.startswith(PREFIX)}
    ours = train_along(model, parameters, features, masks, Frame(SMALL, (SIZE, SIZE)))
    assert ours.loss == pytest.approx(loss.item(), abs=1e-6)
    close(ours.cotangent, embedding.grad.numpy().transpose(0, 2, 3, 1))
    theirs = dict(network.named_parameters())
    for name, gradient in ours.gradients.items():
        # The deconvolutions' own have a batch norm folded in, which rescales their gradients.
        short = name.removeprefix(PREFIX)
        if "deconv" not in short or short.startswith("deconv_out"):
            expected = theirs[short].grad.numpy()
            close(gradient, expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected)


def torch_maps(network, z12):
    """``UNETR.forward`` after the encoder (torch_em/model/unetr.py), for any image size."""
    z9 = network.deconv1(z12)
    z6 = network.deconv2(z9)
    z3 = network.deconv3(z6)
    z0 = network.deconv4(z3)
    x = network.decoder(network.base(z12), encoder_inputs=[z9, z6, z3])
    x = network.deconv_out(x)
    import torch

    x = network.decoder_head(torch.cat([x, z0], dim=1))
    return network.final_activation(network.out_conv(x))


def close(ours, expected):
    """A norm takes the mean away: biases before it have no gradient but rounding."""
    assert np.abs(np.array(ours) - expected).max() <= max(4e-3 * np.abs(expected).max(), 1e-6)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    found = examples_of(open_data(write_data(tmp_path_factory.mktemp("data"), 2)), 25, None)
    return found[:1], found[1:]


@pytest.mark.slow
@pytest.mark.parametrize("level", ["decoder", "full"])
def test_it_is_trained_along_and_goes_on_with_the_same_numbers(examples, tmp_path, level):
    def trainer(folder):
        model = with_new_decoder(random_sam(SMALL), 0)
        return Trainer(model, *examples, replace(OPTIONS, train=level), tmp_path / folder)

    whole, lines = trainer("whole"), []
    before = weights_of(whole.model)
    whole.run(lines.append)
    changed = {n for n, w in weights_of(whole.model).items() if not mx.array_equal(w, before[n])}
    assert {f"{PREFIX}out_conv.weight", f"{PREFIX}base.block.1.weight"} <= changed
    assert any(n.startswith("image_encoder.") for n in changed) == (level == "full")
    dice = [line["val_dice_maps"] for line in lines if "val_iou" in line]
    assert len(dice) == 3 and dice[-1] > dice[0]
    first = trainer("parts")
    first.judge(lambda **line: None)
    for _ in range(3):
        first.step(lambda **line: None)
    first.save_last()
    second = trainer("parts")
    second.resume()
    second.run()
    for name, weight in whole.level.parameters.items():
        assert mx.array_equal(weight, second.level.parameters[name]), name


def test_a_new_decoder_leaves_the_rest_and_is_evaluated(examples):
    model = random_sam(SMALL)
    made = with_new_decoder(model, 0)
    weights = weights_of(made)
    for name, weight in weights_of(model).items():
        assert mx.array_equal(weights[name], weight)
    assert with_new_decoder(made, 1) is made
    means = evaluate(made, examples[0], points_per_side=2)["means"]
    assert {"AP50", "mSA", "instances_AP50", "instances_mSA"} <= means.keys()
    assert "instances_AP50" not in evaluate(model, examples[0], points_per_side=2)["means"]


def test_an_encoder_is_not_trained_away_from_its_decoder(examples, tmp_path):
    model, options = with_new_decoder(random_sam(SMALL), 0), replace(OPTIONS, instances=False)
    for level in ("lora", "full"):
        with pytest.raises(ValueError, match="--instances trains"):
            Trainer(model, *examples, replace(options, train=level), tmp_path)
    one = Trainer(model, *examples, options, tmp_path)
    assert not any(name.startswith(PREFIX) for name in one.level.parameters)


@pytest.mark.original
def test_the_pth_has_micro_sams_layout(original, tmp_path):
    """Read by torch and by torch-em's network; and by us, with the same maps."""
    import torch

    model = with_new_decoder(random_sam(SMALL), 0)
    export(model, tmp_path / "model.pt")
    states = torch.load(tmp_path / "model.pt", weights_only=True)
    assert list(states) == ["model_state", "decoder_state"]
    network = original[0].original_decoder(SMALL, SMALL.prompt_dim // 4)
    missing, unexpected = network.load_state_dict(states["decoder_state"], strict=False)
    assert unexpected == [] and all(name.startswith("encoder.") for name in missing)
    embedding = torch.randn(1, SMALL.prompt_dim, SMALL.grid, SMALL.grid)
    with torch.no_grad():
        expected = torch_maps(network, embedding).numpy().transpose(0, 2, 3, 1)
    features = {"image_embedding": mx.array(embedding.numpy().transpose(0, 2, 3, 1))}
    other = Sam.from_pretrained(tmp_path / "model.pt")
    for one in (model, other):
        np.testing.assert_allclose(one.instance_decoder(features), expected, atol=2e-5)
    image = np.zeros((60, 80, 3), np.uint8)
    found = InstanceSegmenter(other).predict(image).foreground
    np.testing.assert_allclose(found, InstanceSegmenter(model).predict(image).foreground, atol=2e-5)
