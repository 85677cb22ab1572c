"""The checkpoint that ships with the package loads from a wheel, and its masks are good."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert import parity
from examples.nano import evaluate, scenes
from examples.nano.grow import grow
from examples.nano.losses import mask_losses
from examples.nano.model import build_nano, check
from examples.nano.optimiser import Muon
from sam_mlx import Sam, SamPredictor
from sam_mlx.registry import VARIANTS
from tests.support.automatic import original_of

pytestmark = pytest.mark.original
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def nano():
    return Sam.from_pretrained("nano")


def test_small_enough_to_ship(nano):
    assert nano.config == VARIANTS["nano"]
    assets = ROOT / "sam_mlx" / "assets" / "nano"
    assert {p.name for p in assets.iterdir()} == {"config.json", "model.safetensors", "parity.json"}
    assert (assets / "model.safetensors").stat().st_size <= 8 << 20


@pytest.mark.parametrize("forms", ["here", pytest.param("plain", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    ["coins", *(pytest.param(n, marks=pytest.mark.slow) for n in ("plate", "shapes", "gray"))],
)
def test_parity_with_the_original(nano, name, forms, plain):
    if forms == "plain":
        plain()
    image = np.asarray(Image.open(ROOT / "examples" / "images" / f"{name}.png"))
    rows = parity.compare(
        parity.meta_stages(nano.config, original_of(nano).state_dict(), image),
        parity.our_stages(nano, image),
    )
    assert all(row.passed for row in rows), "\n" + parity.table(rows)


# What the shipped checkpoint reaches on these scenes, less 0.01.
MIN_FIGURES = {
    "best": 0.825,
    "chosen": 0.770,
    "box": 0.830,
    "correlation": 0.739,
    "coins_best": 0.957,
    "coins_chosen": 0.914,
}


@pytest.mark.slow
def test_quality_on_held_out_scenes(nano):
    """The first 12 of the scenes of ``examples/nano/evaluate.py``, and the coins photograph."""
    figures = evaluate.measure(SamPredictor(nano), range(scenes.HELD_OUT, scenes.HELD_OUT + 12))
    for name, bound in MIN_FIGURES.items():
        assert figures[name] >= bound, figures
    assert figures["three_clicks"] > figures["chosen"]


def test_training_computes_what_the_original_computes():
    torch.manual_seed(0)
    assert check() < 4e-6  # 2.1e-6 measured


def test_training_aims_at_the_masks_that_predict_gives():
    """Up to rounding: predict enlarges masks to the model's image first, and then reduces them."""
    logits = smooth_noise(2, 4, 160)
    truths = (smooth_noise(2, 3, 256) > 0).float()
    _, actual = mask_losses(logits, truths)
    masks = build_nano().postprocess_masks(logits, (320, 320), (256, 256)) > 0
    for n, i, j in np.ndindex(2, 4, 3):
        expected = evaluate.iou(masks[n, i].numpy(), truths[n, j].numpy() > 0)
        assert float(actual[n, i, j]) == pytest.approx(expected, abs=3e-4)  # 2.2e-4 measured


def smooth_noise(count, channels, size):
    coarse = torch.randn(count, channels, 12, 12, generator=torch.Generator().manual_seed(size))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")


@pytest.mark.slow
def test_two_processes_share_the_steps_of_muon(tmp_path):
    torch.multiprocessing.spawn(compare_muon, (tmp_path / "rendezvous",), nprocs=2)


def compare_muon(rank, rendezvous):
    """The training's Muon compared with PyTorch's, which rounds its products to bfloat16."""
    method = f"file://{rendezvous}"
    torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=2)
    torch.manual_seed(0)
    shapes = [(384, 128), (128, 128), (128, 384)]
    start = [torch.randn(shape) for shape in shapes]
    grads = [[torch.randn(shape) for shape in shapes] for _ in range(3)]
    ends = []
    for optimizer in (Muon, torch.optim.Muon):
        params = [torch.nn.Parameter(value.clone()) for value in start]
        muon = optimizer(params, lr=4e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
        for step in grads:
            for p, grad in zip(params, step):
                p.grad = grad
            muon.step()
        ends.append([p.detach() for p in params])
    moved = min(float((a - b).abs().mean()) for a, b in zip(ends[1], start))
    apart = max(float((a - b).abs().mean()) for a, b in zip(*ends))
    assert apart < 0.012 * moved  # 0.009 measured
    torch.distributed.destroy_process_group()


def test_growing_keeps_what_the_former_model_knows():
    torch.manual_seed(0)
    new = build_nano().state_dict()
    former = dict(new)
    ramp = torch.linspace(-1, 1, 63)[:, None].expand(-1, 32)
    tables = [k for k, v in new.items() if "rel_pos" in k and len(v) > 63]
    former.update(dict.fromkeys(tables, ramp))
    former["image_encoder.pos_embed"] = torch.linspace(0, 1, 128).expand(1, 32, 32, -1)
    for layer in (0, 1):  # 80 more channels, half of them without inputs, half without outputs
        mlp = f"mask_decoder.transformer.layers.{layer}.mlp."
        ways_in, ways_out = torch.randn(256, 128), torch.randn(128, 256)
        ways_in[10:50], ways_out[:, 100:140] = 0, 0
        former[mlp + "lin1.weight"], former[mlp + "lin2.weight"] = ways_in, ways_out
        former[mlp + "lin1.bias"] = torch.where(ways_in.any(1), torch.randn(256), 0)
    grown = grow(former)
    x = torch.randn(5, 128)
    for layer, block in enumerate(grown.mask_decoder.transformer.layers):
        mlp = f"mask_decoder.transformer.layers.{layer}.mlp."
        hidden = torch.relu(x @ former[mlp + "lin1.weight"].T + former[mlp + "lin1.bias"])
        expected = hidden @ former[mlp + "lin2.weight"].T + former[mlp + "lin2.bias"]
        assert torch.allclose(block.mlp(x), expected, rtol=0, atol=1e-4)
    grown = grown.state_dict()
    assert len(tables) == 4
    for key in tables:  # a ramp stays a ramp, except at its two ends
        steps = grown[key][1:-1].diff(dim=0)
        assert torch.allclose(steps, torch.full_like(steps, 2 / 62 * 63 / 79), rtol=0, atol=1e-5)
    place = grown["image_encoder.pos_embed"]
    assert torch.allclose(place, torch.linspace(0, 1, 128).expand_as(place), rtol=0, atol=1e-6)
    fitted = "decoder.transformer.layers.0.mlp.", "decoder.transformer.layers.1.mlp.", "pos_embed"
    others = [k for k in new if k not in tables and not any(part in k for part in fitted)]
    assert all(torch.equal(grown[k], new[k]) for k in others)


def test_only_the_former_width_grows():
    narrow = {"prompt_encoder.no_mask_embed.weight": torch.zeros(1, 64)}
    with pytest.raises(ValueError, match="64 wide; only a nano of 128"):
        grow(narrow)


def test_the_wheel_carries_it(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    program = "import sam_mlx; print(sam_mlx.Sam.from_pretrained('nano').config.variant)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "installed",
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "nano"
