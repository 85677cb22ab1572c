"""Every stage against the original code, run on the same weights."""

import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert import parity
from convert.__main__ import main as convert
from convert.meta import build_meta
from sam_mlx import Sam, SamPredictor, transforms
from sam_mlx.modeling import ops
from sam_mlx.modeling.layers import as_float32
from sam_mlx.registry import VARIANTS
from tests.support import models
from tests.support.budgets import limited
from tests.support.originals import meta_predictor

pytestmark = pytest.mark.original
F = torch.nn.functional


def close(ours: mx.array, original: torch.Tensor, bound: float) -> None:
    ours, original = np.array(ours), original.detach().numpy()
    assert ours.shape == original.shape
    assert np.abs(ours - original).max() <= bound


@pytest.mark.slow
def test_vit_b_converted_from_meta(tmp_path, photograph, monkeypatch, plain):
    """The whole picture at full size, in the forms of this machine and in those of GPUs."""
    torch.manual_seed(0)
    torch.save(build_meta(VARIANTS["vit_b"]).state_dict(), tmp_path / "vit_b.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    check = ["--check", str(tmp_path / "photograph.png")]
    run, originals = parity.meta_stages, []

    def meta_stages(*args, **kwargs):
        originals.append(run(*args, **kwargs))
        return originals[-1]

    monkeypatch.setattr(parity, "meta_stages", meta_stages)
    assert convert([str(tmp_path / "vit_b.pth"), str(tmp_path / "native"), *check]) == 0
    report = json.loads((tmp_path / "native" / "parity.json").read_text())
    assert [row["stage"] for row in report["stages"]] == [
        "patch embedding",
        "windowed block",
        "global block",
        "embedding",
        "sparse prompts",
        "dense prompts",
        "logits",
        "predicted IoU",
        "masks, 1 - IoU",
    ]
    assert all(row["passed"] for row in report["stages"])
    plain()
    found = parity.our_stages(Sam.from_pretrained(tmp_path / "native"), photograph)
    assert all(row.passed for row in parity.compare(*originals, found))


@pytest.mark.slow
def test_vit_b_converted_from_hugging_face(tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    models.hugging_face(vision={}).save_pretrained(tmp_path / "hf")
    check = ["--check", str(tmp_path / "photograph.png")]
    assert convert([str(tmp_path / "hf"), str(tmp_path / "native"), *check]) == 0
    assert Sam.from_pretrained(tmp_path / "native").config == VARIANTS["vit_b"]


@pytest.mark.slow
def test_hugging_face_folder_loads_as_its_conversion(tmp_path, photograph):
    models.hugging_face(**models.HUGGING_FACE).save_pretrained(tmp_path / "hf")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    # In its own process, because it has to find transformers by itself.
    command = [sys.executable, "-m", "convert", tmp_path / "hf", tmp_path / "native"]
    subprocess.run([*command, "--check", tmp_path / "photograph.png"], check=True)
    results = []
    for folder in ("hf", "native"):
        predictor = SamPredictor.from_pretrained(tmp_path / folder)
        predictor.set_image(photograph)
        results.append(predictor.predict(np.array([[200.0, 130.0]]), np.array([1])))
    for direct, converted in zip(*results):
        np.testing.assert_array_equal(direct, converted)


@pytest.mark.parametrize("forms", ["here", "plain"])
@pytest.mark.parametrize("name", models.STRUCTURES)
def test_structure_of_variant(name, forms, photograph, plain):
    if forms == "plain":
        plain()
    config = models.STRUCTURES[name]
    reference = models.original(config)
    rows = parity.compare(
        parity.meta_stages(config, reference.state_dict(), photograph),
        parity.our_stages(models.ours(reference, config), photograph),
    )
    assert all(row.passed for row in rows), "\n" + parity.table(rows)


def test_parity_report_detects_a_wrong_model(photograph):
    reference = models.original(models.SMALL)
    original = parity.meta_stages(models.SMALL, reference.state_dict(), photograph)
    with torch.no_grad():
        reference.image_encoder.blocks[0].attn.rel_pos_h[4] += 0.1
    rows = parity.compare(
        original, parity.our_stages(models.ours(reference, models.SMALL), photograph)
    )
    assert {row.stage for row in rows if not row.passed} >= {"windowed block", "embedding"}


def test_encoder_in_batches(small):
    reference, model = small
    images = np.random.default_rng(0).normal(size=(2, 128, 128, 3)).astype(np.float32)
    expected = reference.image_encoder(torch.tensor(images).permute(0, 3, 1, 2))
    # Measured 4e-6 on values up to 4.
    close(model.encode_image(mx.array(images)), expected.permute(0, 2, 3, 1), 2e-5)


def test_scores_in_pieces_are_the_same(small):
    _, model = small
    images = mx.random.normal((1, 128, 128, 3), key=mx.random.key(0))
    whole = model.encode_image(images)
    mx.eval(whole)
    with limited(attention_bytes=30_000):
        pieces = np.array(model.encode_image(images))
    np.testing.assert_allclose(pieces, np.array(whole), atol=5e-6)


def test_tables_of_another_length_are_interpolated():
    """Position tables trained at another size: the original interpolates them as it runs."""
    reference = models.original(models.SMALL)
    torch.manual_seed(1)
    for i, length in ((0, 13), (1, 45), (2, 27), (3, 21)):
        for axis in "hw":
            table = torch.nn.Parameter(0.3 * torch.randn(length, 16))
            setattr(reference.image_encoder.blocks[i].attn, f"rel_pos_{axis}", table)
    model = models.ours(reference, models.SMALL)
    images = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    expected = reference.image_encoder(torch.tensor(images).permute(0, 3, 1, 2))
    close(model.encode_image(mx.array(images)), expected.permute(0, 2, 3, 1), 2e-5)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("mask", [None, "mask"])
@pytest.mark.parametrize("box", [None, "box"])
@pytest.mark.parametrize("points", [0, 1, 2, 12])
def test_every_combination_of_prompts(small, wide_photograph, points, box, mask, multimask):
    reference, model = small
    rng = np.random.default_rng(points)
    prompt = {"multimask_output": multimask}
    if points:
        prompt["point_coords"] = rng.uniform(-20, 500, (points, 2))
        prompt["point_labels"] = rng.integers(-1, 2, points)
    if box:
        prompt["box"] = np.array([30.0, 40.5, 300.0, 222.0])
    if mask:
        prompt["mask_input"] = rng.normal(size=(1, 64, 64)).astype(np.float32) * 5
    original = meta_predictor(reference, wide_photograph)
    predictor = SamPredictor(model)
    predictor.set_image(wide_photograph)

    masks, scores, logits = predictor.predict(**prompt)
    expected_masks, expected_scores, expected_logits = original.predict(**prompt)
    assert masks.dtype == expected_masks.dtype == bool
    assert scores.dtype == expected_scores.dtype and logits.dtype == expected_logits.dtype
    assert masks.shape == expected_masks.shape
    # Measured: 8e-7 on scores up to 1, 5e-6 on logits up to 8.
    np.testing.assert_allclose(scores, expected_scores, atol=3e-6)
    np.testing.assert_allclose(logits, expected_logits, atol=2e-5)

    logits_full, *_ = predictor.predict(**prompt, return_logits=True)
    expected_full, *_ = original.predict(**prompt, return_logits=True)
    np.testing.assert_allclose(logits_full, expected_full, atol=2e-5)
    # The masks differ only where the original itself is undecided.
    assert np.abs(expected_full[masks != expected_masks]).max(initial=0) <= 2e-5


def test_padding_token_only_without_box(small):
    """The (0, 0) token with label -1 follows points only if there is no box."""
    _, model = small
    points = mx.zeros((2, 3, 2)), mx.ones((2, 3), dtype=mx.int32)
    boxes = mx.array([[0.0, 0, 9, 9]] * 2)
    assert model.prompt_encoder(points)[0].shape[1] == 4
    assert model.prompt_encoder(points, boxes)[0].shape[1] == 5
    assert model.prompt_encoder(None, boxes)[0].shape[1] == 2
    assert model.prompt_encoder()[0].shape[1] == 0


def test_layer_norm_epsilons(small):
    """Low-variance activations, where the wrong epsilon would show."""
    reference, model = small
    pairs = [
        (model.image_encoder.blocks[0].norm1, reference.image_encoder.blocks[0].norm1),
        (model.image_encoder.blocks[0].norm2, reference.image_encoder.blocks[0].norm2),
    ]
    for ours, original in zip(
        model.mask_decoder.transformer.layers, reference.mask_decoder.transformer.layers
    ):
        pairs += [(getattr(ours, n), getattr(original, n)) for n in ("norm1", "norm2", "norm3")]
        pairs += [(ours.norm4, original.norm4)]
    final = "norm_final_attn"
    pairs.append(
        (
            getattr(model.mask_decoder.transformer, final),
            getattr(reference.mask_decoder.transformer, final),
        )
    )
    for ours, original in pairs:
        x = np.random.default_rng(0).normal(size=(5, ours.weight.size)).astype(np.float32) * 1e-3
        close(ours(mx.array(x)), original(torch.tensor(x)), 1e-6)
    grids = [(model.image_encoder.neck, reference.image_encoder.neck, i) for i in (1, 3)]
    downscaling = model.prompt_encoder.mask_downscaling, reference.prompt_encoder.mask_downscaling
    grids += [(*downscaling, i) for i in (1, 4)]
    grids += [(model.mask_decoder.output_upscaling, reference.mask_decoder.output_upscaling, 1)]
    for ours, original, i in grids:
        x = np.random.default_rng(0).normal(size=(1, 4, 4, ours[i].weight.size)) * 1e-3
        x = x.astype(np.float32)
        expected = original[i](torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        close(ours[i](mx.array(x)), expected, 1e-6)


def test_mask_upscaling_against_three_steps():
    """One matrix per axis, against enlarge, crop, resize."""
    logits = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32) * 10
    for size in [(384, 640), (700, 1200), (1080, 320), (77, 500), (128, 128), (30, 41), (1, 90)]:
        inner = transforms.preprocess_shape(size, 128)
        # In float64: in float32 the original is 1e-4 away, ours 4e-6.
        expected = torch.tensor(logits, dtype=torch.float64)[None]
        expected = F.interpolate(expected, (128, 128), mode="bilinear")
        expected = expected[..., : inner[0], : inner[1]]
        expected = F.interpolate(expected, size, mode="bilinear")[0]
        ours = transforms.upscale_masks(mx.array(logits), inner, size, 128)
        close(ours, expected, 1e-5)


@pytest.mark.parametrize("forms", ["here", "plain"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_close(small, wide_photograph, dtype, forms, plain):
    """Of the largest embedding and logit, and of IoU, measured: float16 1.2e-3, 2.1e-3 and 1.6e-4,
    bfloat16 9.5e-3, 1.7e-2 and 1.8e-3.
    """
    if forms == "plain":
        plain()
    _, model = small
    results = []
    for m in (model, models.in_dtype(model, dtype)):
        predictor = SamPredictor(m)
        predictor.set_image(wide_photograph)
        assert predictor.features.dtype == m.dtype
        _, *answers = predictor.predict(np.array([[200.0, 130.0]]), np.array([1]))
        results.append((as_float32(predictor.features), *answers))
    bounds = {mx.float16: (2e-3, 4e-3, 4e-4), mx.bfloat16: (0.015, 0.03, 4e-3)}[dtype]
    (embedding, scores, logits), (half_embedding, half_scores, half_logits) = results
    assert half_logits.dtype == half_scores.dtype == np.float32
    assert np.abs(half_embedding - embedding).max() <= bounds[0] * np.abs(embedding).max()
    assert np.abs(half_logits - logits).max() <= bounds[1] * np.abs(logits).max()
    assert np.abs(half_scores - scores).max() <= bounds[2] * max(1, np.abs(scores).max())


@pytest.mark.slow
# A row of a product has the same bits among any number of rows: measured with MKL.
@pytest.mark.skipif(not ops.on_x86_cpu(mx.zeros(1)), reason="other libraries may round otherwise")
@pytest.mark.parametrize("forms", ["here", "plain"])
@pytest.mark.parametrize("name", ["nano", *models.STRUCTURES])
def test_a_picture_has_the_same_bits_alone_and_in_a_batch(name, forms, plain):
    if forms == "plain":
        plain()
    kind = models.STRUCTURES.get(name)
    model = Sam.from_pretrained("nano") if kind is None else models.random_sam(kind)
    size = model.config.image_size
    images = mx.random.normal((3, size, size, 3))
    alone = [model.encode_image(image[None]) for image in images]
    assert mx.array_equal(model.encode_image(images), mx.concatenate(alone))
    assert mx.array_equal(model.encode_image(images[:2]), mx.concatenate(alone[:2]))
