"""8-bit weights of the image encoder: what is stored, what is lost, what is refused."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from sam_mlx import Sam, SamPredictor
from sam_mlx.checkpoints.load import Checkpoint
from sam_mlx.checkpoints.options import DTYPES, LoadOptions
from sam_mlx.cli import main
from sam_mlx.config import SamConfig
from sam_mlx.export import export
from sam_mlx.modeling.layers import QuantizedLinear, weights_of
from sam_mlx.modeling.tiny_vit import TinyViTConfig
from tests.support import models
from tests.support.checkpoints import broken, equal

# Widths 96 and 384: groups of 32 and of 64.
CONFIG = models.STRUCTURES["vit_b"]


@pytest.fixture(scope="module")
def model():
    return models.random_sam(CONFIG)


@pytest.fixture(scope="module")
def state(originals):
    """The original's, with its own weights."""
    return models.original(CONFIG).state_dict()


@pytest.fixture
def plain(model, tmp_path):
    model.save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


@pytest.fixture
def quantized(plain, tmp_path):
    Sam.from_pretrained(plain, quantize=8).save_pretrained(tmp_path / "quantized")
    return tmp_path / "quantized"


def rebuilt(config, weights, **options) -> Sam:
    checkpoint = Checkpoint(weights, config, native=True)
    return Sam.from_checkpoint(checkpoint, LoadOptions(**options))


def layers_of(model: Sam) -> dict[str, int]:
    return {
        path: module.group_size
        for path, module in model.named_modules()
        if isinstance(module, QuantizedLinear)
    }


def masks_iou(a: Sam, b: Sam, image: np.ndarray) -> tuple[float, float]:
    """The worst and the mean IoU over the masks of clicks on a grid."""
    points = np.stack(np.meshgrid([0.2, 0.5, 0.8], [0.2, 0.5, 0.8]), -1).reshape(-1, 1, 2)
    points = points * image.shape[1::-1]
    both = []
    for model in (a, b):
        predictor = SamPredictor(model)
        predictor.set_image(image)
        both.append(predictor.predict_batch(points, np.ones((9, 1), int))[0].reshape(27, -1))
    overlap, union = (both[0] & both[1]).sum(1), (both[0] | both[1]).sum(1)
    iou = np.where(union, overlap / np.maximum(union, 1), 1)
    return float(iou.min()), float(iou.mean())


def test_which_layers(quantized):
    layers = layers_of(Sam.from_pretrained(quantized))
    names = {"attn.qkv": 32, "attn.proj": 32, "mlp.lin1": 32, "mlp.lin2": 64}
    expected = {
        f"image_encoder.blocks.{i}.{name}": size for i in range(12) for name, size in names.items()
    }
    assert layers == expected


def test_config_states_the_quantization(quantized):
    values = json.loads((quantized / "config.json").read_text())["quantization"]
    assert {k: values.pop(k) for k in ("group_size", "bits", "mode")} == {
        "group_size": 64,
        "bits": 8,
        "mode": "affine",
    }
    assert len(values) == 36
    assert values["image_encoder.blocks.0.mlp.lin1"] == {
        "group_size": 32,
        "bits": 8,
        "mode": "affine",
    }


def test_round_trip(plain, quantized):
    equal(Sam.from_pretrained(quantized), Sam.from_pretrained(plain, quantize=8))
    # Already quantised layers stay so.
    equal(Sam.from_pretrained(quantized), Sam.from_pretrained(quantized, quantize=8))


def test_width_that_no_group_divides(small_sam):
    small = rebuilt(small_sam.config, weights_of(small_sam), quantize=8)
    assert set(layers_of(small)) == {f"image_encoder.blocks.{i}.mlp.lin2" for i in range(4)}


def test_tiny_vit():
    encoder = TinyViTConfig(
        dims=(32, 64, 96, 128), depths=(1, 1, 1, 1), heads=(2, 3, 4), windows=(7, 14, 7)
    )
    config = SamConfig(encoder, image_size=128, prompt_dim=32, decoder_mlp_dim=32)
    mx.random.seed(0)
    weights = weights_of(Sam(config))
    model = rebuilt(config, weights, quantize=8)
    assert len(layers_of(model)) == 3 * 4
    images = mx.random.normal((1, 128, 128, 3))
    expected = rebuilt(config, weights).encode_image(images)
    # The neck normalises: values of order 1. Measured: 0.039; at most 0.071 over 30 seeds.
    assert float(mx.abs(model.encode_image(images) - expected).max()) <= 0.05


def test_layer_is_close_to_the_packed_product():
    linear = nn.Linear(64, 24)
    x = mx.random.normal((5, 64))
    ours = QuantizedLinear.from_linear(linear, 32, 8)
    packed = nn.QuantizedLinear.from_linear(linear, 32, 8)
    np.testing.assert_allclose(np.array(ours(x)), np.array(packed(x)), atol=1e-5)
    # One of 255 steps over weights from -1/8 to 1/8.
    assert float(mx.abs(ours.whole_weight() - linear.weight).max()) <= 0.25 / 255


def test_masks(model, plain, photograph):
    worst, mean = masks_iou(model, Sam.from_pretrained(plain, quantize=8), photograph)
    assert worst >= 0.97 and mean >= 0.99  # measured: 0.991, 0.997


def test_masks_of_nano(photograph):
    plain, quantized = (Sam.from_pretrained("nano", quantize=bits) for bits in (None, 8))
    worst, mean = masks_iou(plain, quantized, photograph)
    assert worst >= 0.98 and mean >= 0.995  # measured: 0.996, 0.999


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(plain, tmp_path, photograph, dtype):
    model = Sam.from_pretrained(plain, dtype=dtype, quantize=8)
    layer = model.image_encoder.blocks[0].attn.qkv
    assert layer.weight.dtype == mx.uint32
    assert layer.scales.dtype == layer.biases.dtype == DTYPES[dtype] == model.dtype
    assert model.encode_image(mx.zeros((1, 128, 128, 3))).dtype == DTYPES[dtype]
    model.save_pretrained(tmp_path / "half")
    equal(Sam.from_pretrained(tmp_path / "half"), model)


def test_size_on_disk(plain, quantized):
    def linear_bytes(folder, sizes):
        weights = mx.load(str(folder / "model.safetensors"))
        prefix = "image_encoder.blocks."
        return sum(
            w.nbytes
            for n, w in weights.items()
            if n.startswith(prefix) and n.endswith(sizes) and ("attn." in n or "lin" in n)
        )

    ratio = linear_bytes(quantized, (".weight", ".scales", ".biases")) / linear_bytes(
        plain, (".weight",)
    )
    # 8 bits and, for every 32 or 64 weights, two 32-bit numbers: 10 or 9 bits instead of 32.
    assert 9 / 32 <= ratio <= 10 / 32


@pytest.mark.slow
def test_everything_else_works(quantized, tmp_path, photograph):
    predictor = SamPredictor.from_pretrained(quantized)
    predictor.set_image(photograph)
    predictor.get_image_embedding().save(tmp_path / "image.safetensors")
    other = SamPredictor.from_pretrained(quantized)
    assert predictor.fingerprint == other.fingerprint
    assert predictor.fingerprint != SamPredictor.from_pretrained(quantized, dtype="float16")
    written = export(quantized, tmp_path / "exported")
    assert written["differences_from_predictor"]["image_embeddings"] <= 1e-3


@pytest.mark.parametrize("quantize", [4, 16, True, "8", 8.5])
def test_other_bits_are_refused(plain, quantize):
    with pytest.raises(ValueError, match=r"expected 8 \(bits\) or None"):
        Sam.from_pretrained(plain, quantize=quantize)


def test_misfits_are_named(quantized):
    qkv = "image_encoder.blocks.3.attn.qkv"

    def change(weights):
        del weights[f"{qkv}.biases"]
        weights[f"{qkv}.weight"] = mx.zeros((288, 12), mx.uint32)  # as 4 bits would be
        weights["mask_decoder.extra.scales"] = mx.zeros((2,))

    message = broken(quantized, change)
    for part in (
        f"missing {qkv}.biases (288, 3)",
        f"{qkv}.weight has shape (288, 12), expected (288, 24)",
        "unknown mask_decoder.extra.scales",
    ):
        assert part in message


def test_convert_with_check(originals, state, tmp_path, photograph):
    from convert.__main__ import main as convert

    originals.torch.save(state, tmp_path / "sam.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    arguments = ["--quantize", "8", "--check", str(tmp_path / "photograph.png")]
    assert convert([str(tmp_path / "sam.pth"), str(tmp_path / "out"), *arguments]) == 0
    assert layers_of(Sam.from_pretrained(tmp_path / "out"))
    stages = json.loads((tmp_path / "out" / "parity.json").read_text())["stages"]
    errors = {row["stage"]: row["relative_error"] for row in stages}
    assert errors["embedding"] <= 0.02 and errors["logits"] <= 0.03  # measured: 0.007, 0.009


def test_foreign_layout(state, tmp_path):
    save_file(
        {name: tensor.numpy() for name, tensor in state.items()}, tmp_path / "meta.safetensors"
    )
    assert layers_of(Sam.from_pretrained(tmp_path / "meta.safetensors", quantize=8))


def test_command_line(plain, quantized, tmp_path, capsys, photograph):
    Image.fromarray(photograph).save(tmp_path / "p.png")
    common = ["predict", str(tmp_path / "p.png"), "--point", "200", "200"]
    a = [*common, "--model", str(plain), "--quantize", "8", "-o", str(tmp_path / "a")]
    b = [*common, "--model", str(quantized), "-o", str(tmp_path / "b")]
    assert main(a) == main(b) == 0
    assert (tmp_path / "a/mask.png").read_bytes() == (tmp_path / "b/mask.png").read_bytes()
    capsys.readouterr()
    assert main(["info", str(quantized)]) == main(["info", str(plain)]) == 0
    described = capsys.readouterr().out
    assert "linear weights in 8 bits" in described
    counts = [line for line in described.splitlines() if line.startswith("parameters")]
    assert counts[0] == counts[1]
