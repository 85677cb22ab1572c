"""The instance decoder, module by module, against torch-em on the same weights."""

import copy
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from convert.__main__ import as_mlx
from sam_mlx import Sam
from sam_mlx.checkpoints.layouts import to_mlx
from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig, clean
from sam_mlx.modeling.ops_bands import kept
from sam_mlx.registry import IMAGE_EMBEDDING
from tests.support import models
from tests.support.budgets import limited
from tests.support.micro_sam import decoder_state, original_decoder, segmentation

pytestmark = pytest.mark.original
WIDTH = 8
MODULES = [
    *(f"deconv{i}" for i in range(1, 5)), "base",
    *(f"decoder.{part}.{i}" for i in range(3) for part in ("samplers", "blocks")),
    "deconv_out", "decoder_head",
]  # fmt: skip


@pytest.fixture(scope="module", params=["interpolated", "transposed"])
def pair(request, tmp_path_factory):
    """The original SAM, torch-em's decoder beside it, and our model loaded from both."""
    return made(tmp_path_factory.mktemp("model"), request.param == "transposed")


def made(folder, transposed):
    sam = models.original(models.SMALL)
    decoder = original_decoder(models.SMALL, WIDTH, transposed)
    states = {"model_state": sam.state_dict(), "decoder_state": decoder_state(decoder)}
    torch.save(states, folder / "both.pt")
    return sam, decoder, Sam.from_pretrained(folder / "both.pt")


@pytest.fixture(params=["here", "plain"])
def forms(request, plain):
    if request.param == "plain":
        plain()


def embedding(seed=0) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(1, models.SMALL.prompt_dim, models.SMALL.grid, models.SMALL.grid)


def channels_last(x: torch.Tensor) -> mx.array:
    return mx.array(x.detach().numpy().transpose(0, 2, 3, 1))


def relative(ours: mx.array, expected: torch.Tensor) -> float:
    expected = np.array(channels_last(expected))
    assert ours.shape == expected.shape
    return float(np.abs(np.array(ours) - expected).max() / np.abs(expected).max())


def module_of(model, path: str):
    for part in path.split("."):
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    return model


def taps(decoder, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What goes into every module of the original, and what comes out."""
    found = {}

    def hook(name):
        return lambda module, given, out: found.update({name: (given[0].clone(), out.clone())})

    handles = [module_of(decoder, n).register_forward_hook(hook(n)) for n in MODULES]
    with torch.no_grad():
        found["maps"] = x, segmentation.DecoderAdapter(decoder)._forward_impl(x)
    for handle in handles:
        handle.remove()
    return found


def test_every_module(pair, forms):
    _, original, ours = pair
    found = taps(original, embedding())
    differences = {}
    for name in MODULES:
        given, expected = found[name]
        made = module_of(ours.instance_decoder, name)(kept([channels_last(given)]))
        differences[name] = relative(made.rows(0, made.height), expected)
    assert max(differences.values()) < 2e-6, differences  # 9e-7


def test_maps(pair, forms):
    _, original, ours = pair
    for seed in range(3):
        given, expected = taps(original, embedding(seed))["maps"]
        maps = ours.instance_decoder({IMAGE_EMBEDDING: channels_last(given)})
        assert maps.shape == (1, 256, 256, 3) and 0 < maps.min().item() < maps.max().item() < 1
        assert relative(maps, expected) < 5e-5  # 1e-5


@pytest.mark.slow
def test_bands_of_any_height(pair, forms):
    """Bands differ only in rounding, at any height, odd ones too."""
    _, _, ours = pair
    features = {IMAGE_EMBEDDING: channels_last(embedding())}
    with limited(map_bytes=1 << 40):
        whole = ours.instance_decoder(features)
    for map_bytes in (0, 70_000, 200_000):
        with limited(map_bytes=map_bytes):
            maps = ours.instance_decoder(features)
        assert mx.abs(maps - whole).max().item() < 5e-5  # 1e-5


def test_an_odd_grid():
    """Squares of Winograd's products reach beyond odd rows and columns."""
    config = replace(models.SMALL, image_size=56)  # 7 cells
    original = original_decoder(config, WIDTH)
    x = torch.randn(1, 64, 7, 7)
    _, expected = taps(original, x)["maps"]
    ours = Sam(replace(config, decoders=(*config.decoders, InstanceDecoderConfig(WIDTH))))
    state = {f"instance_decoder.{n}": w for n, w in decoder_state(original).items()}
    weights = to_mlx(clean(as_mlx(state)), ours)
    ours.load_weights(list(weights.items()), strict=False)
    assert relative(ours.instance_decoder({IMAGE_EMBEDDING: channels_last(x)}), expected) < 5e-5


def test_float16(pair):
    """Statistics stay in float32. The difference is that of the type."""
    _, _, ours = pair
    features = {IMAGE_EMBEDDING: channels_last(embedding())}
    half = copy.deepcopy(ours)
    half.set_dtype(mx.float16)
    maps = half.instance_decoder(features)
    assert maps.dtype == mx.float16
    assert mx.abs(maps - ours.instance_decoder(features)).max().item() < 0.05


def test_another_batch(pair):
    """Statistics are of each picture."""
    _, _, ours = pair
    pictures = [channels_last(embedding(seed)) for seed in (0, 1)]
    both = ours.instance_decoder({IMAGE_EMBEDDING: mx.concatenate(pictures)})
    for maps, picture in zip(both, pictures):
        alone = ours.instance_decoder({IMAGE_EMBEDDING: picture})[0]
        assert mx.abs(maps - alone).max().item() < 5e-6
