"""SAM-HQ, stage by stage, against SysCV's package and transformers on the same weights."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert import parity
from convert.__main__ import as_mlx
from convert.__main__ import main as convert
from convert.meta import build_meta
from convert.reference import import_segment_anything_hq
from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.checkpoints.families import parse_config
from sam_mlx.checkpoints.load import Checkpoint
from sam_mlx.checkpoints.sizes import infer
from sam_mlx.modeling.hq_decoder import HQ_FEATURES, HQDecoderConfig
from sam_mlx.modeling.mask_decoder import in_place
from sam_mlx.registry import EARLY, IMAGE_EMBEDDING, VARIANTS
from tests.support import models
from tests.support.automatic import original_of
from tests.support.hq import hq_nano, with_hq
from tests.support.source import ROOT

pytestmark = pytest.mark.original
SMALL = with_hq(models.SMALL)


@pytest.fixture(scope="module")
def small() -> tuple[torch.nn.Module, Sam]:
    return models.pair(SMALL)


@pytest.fixture(scope="module")
def nano() -> tuple[torch.nn.Module, Sam]:
    ours = hq_nano()
    return original_of(ours), ours


@pytest.fixture(scope="module")
def coins() -> np.ndarray:
    return np.array(Image.open(ROOT / "examples" / "images" / "coins.png").convert("RGB"))


def original_predictor(model, image):
    predictor = import_segment_anything_hq().SamPredictor(model)
    predictor.transform.target_length = model.image_encoder.img_size
    predictor.set_image(image)
    return predictor


def our_predictor(model, image) -> SamPredictor:
    predictor = SamPredictor(model)
    predictor.set_image(image)
    return predictor


def relative(ours, expected) -> float:
    ours, expected = (
        np.array(x.astype(mx.float32)) if isinstance(x, mx.array) else np.asarray(x)
        for x in (ours, expected)
    )
    assert ours.shape == expected.shape
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("forms", ["here", "plain"])
@pytest.mark.parametrize("name", models.STRUCTURES)
def test_structure_of_variant(name, forms, photograph, plain):
    if forms == "plain":
        plain()
    config = with_hq(models.STRUCTURES[name])
    reference = models.original(config)
    rows = parity.compare(
        parity.meta_stages(config, reference.state_dict(), photograph),
        parity.our_stages(models.ours(reference, config), photograph),
    )
    assert all(row.passed for row in rows), "\n" + parity.table(rows)


def outputs_of(modules: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Filled with the modules' outputs as they run."""
    found = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output}))
    return found


@torch.no_grad()
def test_every_stage_of_the_decoder(photograph):
    """Measured 1e-7 to 6e-7 of the largest value."""
    reference, model = models.pair(SMALL)
    theirs, ours = reference.mask_decoder, model.mask_decoder
    parts = ("compress_vit_feat", "embedding_encoder", "output_upscaling", "embedding_maskfeature")
    seen = outputs_of({name: getattr(theirs, name) for name in (*parts, "hf_mlp", "transformer")})
    original = original_predictor(reference, photograph)
    features = model.image_encoder(
        mx.array(original.model.preprocess(resized(original, photograph)).numpy()).transpose(
            0, 2, 3, 1
        ),
        (IMAGE_EMBEDDING, EARLY),
    )
    assert relative(features[EARLY], original.interm_features[0]) < 1e-5

    original.predict(np.array([[200.0, 130.0]]), np.array([1]))
    predictor = our_predictor(model, photograph)
    sparse, valid, dense = model.prompt_encoder(
        *predictor.embed_prompt(np.array([[200.0, 130.0]]), np.array([1]))
    )
    fine = ours.prepare(features)[HQ_FEATURES]
    channels_last = (0, 2, 3, 1)
    expected = seen["compress_vit_feat"] + seen["embedding_encoder"]
    assert relative(fine, expected.permute(channels_last)) < 1e-5

    pe = model.prompt_encoder.get_dense_pe()
    tokens, image = ours.attend(features[IMAGE_EMBEDDING], pe, sparse, valid, dense)
    assert relative(tokens, seen["transformer"][0]) < 1e-5
    assert relative(image, seen["transformer"][1]) < 1e-5
    upscaled = in_place(ours.upscale(image), SMALL.grid)
    assert relative(upscaled, seen["output_upscaling"].permute(channels_last)) < 1e-5
    filters = ours.hf_mlp(tokens[:, len(ours.output_tokens()) - 1])
    assert relative(filters, seen["hf_mlp"]) < 1e-5

    # The last convolution is applied to the filter instead: the product is the same.
    fine_channels = seen["embedding_maskfeature"] + expected
    masks = torch.einsum("bc,bchw->bhw", seen["hf_mlp"], fine_channels)
    assert relative(ours.hq_masks(filters, upscaled, fine), masks) < 1e-5


def resized(original, image) -> torch.Tensor:
    pixels = original.transform.apply_image(image)
    return torch.as_tensor(pixels).permute(2, 0, 1)[None]


PROMPTS = {
    "click": dict(point_coords=[[200.0, 130.0]], point_labels=[1]),
    "clicks": dict(point_coords=[[200.0, 130.0], [400.0, 80.0]], point_labels=[1, 0]),
    "box": dict(box=[90.0, 60.0, 420.0, 300.0]),
    "mask": dict(point_coords=[[200.0, 130.0]], point_labels=[1], mask_input=True),
    "nothing": {},
}


@pytest.mark.parametrize("hq_token_only", [False, True], ids=["sum", "hq only"])
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "best"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_prompt_and_choice_of_mask(
    small, wide_photograph, prompt, multimask_output, hq_token_only
):
    reference, model = small
    prompt = {name: np.array(value) for name, value in PROMPTS[prompt].items()}
    if "mask_input" in prompt:
        noise = np.random.default_rng(0).normal(0, 5, (1, SMALL.mask_size, SMALL.mask_size))
        prompt["mask_input"] = noise.astype(np.float32)
    choice = dict(multimask_output=multimask_output, hq_token_only=hq_token_only)
    original = original_predictor(reference, wide_photograph)
    predictor = our_predictor(model, wide_photograph)
    found, expected = predictor.predict(**prompt, **choice), original.predict(**prompt, **choice)
    for ours, theirs in zip(found, expected):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    masks, scores, logits = found
    assert len(masks) == 1
    # Measured 9e-7 of the largest value; no pixel of a mask differs.
    assert relative(logits, expected[2]) < 1e-5
    np.testing.assert_allclose(scores, expected[1], atol=3e-6)
    assert (masks != expected[0]).mean() <= 1e-4


def test_the_choice_is_the_best_by_predicted_iou(photograph):
    model = models.random_sam(SMALL)
    predictor = our_predictor(model, photograph)
    features = predictor.get_image_embedding().named_features
    points = np.random.default_rng(0).uniform(0, 500, (12, 1, 2))
    labels = np.ones((12, 1))
    stacked = predictor.model.decode(
        features, (mx.array(points / 4), mx.array(labels)), None, None, None, None
    )
    # No mask is the best everywhere.
    model.mask_decoder.iou_prediction_head.layers[-1].bias -= stacked[1].mean(axis=0)
    chosen = set()
    for point in points:
        _, scores, logits = predictor.predict(point, [1])
        everything, iou = model.decode(features, *predictor.embed_prompt(point, [1]), None, None)
        best = 1 + int(np.array(iou)[0, 1:].argmax())
        chosen.add(best)
        np.testing.assert_allclose(logits[0], np.array(everything)[0, best], atol=1e-4)
        np.testing.assert_allclose(scores[0], np.array(iou)[0, best], atol=1e-6)
    assert len(chosen) > 1


def test_prompts_one_by_one_and_together(small, wide_photograph):
    _, model = small
    predictor = our_predictor(model, wide_photograph)
    points, boxes = [[[30, 20]], None, [[9, 9], [90, 20]]], [None, [5, 5, 240, 130], None]
    labels = [[1], None, [1, 0]]
    for only in (False, True):
        settings = dict(return_logits=True, hq_token_only=only)
        batch = predictor.predict_batch(points, labels, boxes, **settings)
        assert [x.shape[:2] for x in batch] == [(3, 1)] * 3
        each = predictor.predict_each(points, labels, boxes, **settings)
        for i, answer in enumerate(each):
            for ours, together in zip(answer, batch):
                np.testing.assert_allclose(ours, together[i], atol=2e-5)  # measured 0


@pytest.mark.slow
def test_automatic_masks(nano, coins):
    reference, model = nano
    settings = dict(points_per_side=8, pred_iou_thresh=0.8, stability_score_thresh=0.6)
    package = import_segment_anything_hq()
    generator = package.SamAutomaticMaskGenerator(reference, **settings)
    generator.predictor.transform.target_length = model.config.image_size
    expected = generator.generate(coins)
    records = SamAutomaticMaskGenerator(model, **settings).generate(coins)
    assert len(records) == len(expected) >= 5
    for record, want in zip(records, expected):
        assert record["point_coords"] == want["point_coords"]
        assert (record["segmentation"] != want["segmentation"]).mean() <= 1e-4
        assert record["predicted_iou"] == pytest.approx(want["predicted_iou"], abs=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision(small, photograph, dtype):
    """Measured 0.0017 and 0.015 of the largest logit."""
    _, model = small
    prompt = np.array([[200.0, 130.0]]), np.array([1])
    _, _, expected = our_predictor(model, photograph).predict(*prompt)
    predictor = our_predictor(models.in_dtype(model, dtype), photograph)
    assert predictor.get_image_embedding().other_features[HQ_FEATURES].dtype == dtype
    _, _, logits = predictor.predict(*prompt)
    assert relative(logits, expected) < {mx.float16: 0.01, mx.bfloat16: 0.08}[dtype]


def test_checkpoint_is_recognised_by_its_tensors(small, tmp_path):
    reference, model = small
    torch.save(reference.state_dict(), tmp_path / "sam_hq.pth")
    loaded = Sam.from_pretrained(tmp_path / "sam_hq.pth")
    assert loaded.config.decoders == (HQDecoderConfig(),)
    loaded.save_pretrained(tmp_path / "native")
    again = Sam.from_pretrained(tmp_path / "native")
    assert again.config == loaded.config and "decoder sam_hq" in repr(again)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_released_sizes_are_inferred(name):
    with torch.device("meta"):  # shapes without values
        original = import_segment_anything_hq().sam_model_registry[name](None)
    assert infer(original.state_dict()) is VARIANTS[f"sam_hq_{name}"]


def test_missing_parts_are_named(small, tmp_path):
    state = small[0].state_dict()
    for part in ("hf_token", "embedding_maskfeature.3"):
        left = {n: t for n, t in state.items() if not n.startswith(f"mask_decoder.{part}")}
        torch.save(left, tmp_path / "part.pth")
        with pytest.raises(ValueError, match=rf"missing mask_decoder\.{part}"):
            Sam.from_pretrained(tmp_path / "part.pth")
    left = {n: t for n, t in state.items() if "compress_vit_feat" not in n}
    torch.save(left, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="no tensor 'mask_decoder.compress_vit_feat.0.weight'"):
        Sam.from_pretrained(tmp_path / "part.pth")


def test_a_decoder_of_another_encoder_is_refused(small, tmp_path):
    state = small[0].state_dict() | {
        "mask_decoder.compress_vit_feat.0.weight": torch.zeros(96, 64, 2, 2)
    }
    torch.save(state, tmp_path / "mixed.pth")
    with pytest.raises(
        ValueError, match="early features of 96 channels.*encoder has 48.*different"
    ):
        Sam.from_pretrained(tmp_path / "mixed.pth")


def test_features_of_another_size_are_refused(small, photograph):
    _, model = small
    features = dict(our_predictor(model, photograph).get_image_embedding().named_features)
    features[HQ_FEATURES] = features[HQ_FEATURES][:, ::2, ::2]
    with pytest.raises(
        ValueError, match=r"hq_features have shape \(1, 32, 32, 8\); expected \(1, 64, 64, 8\)"
    ):
        model.predict_masks(features)


def test_a_model_without_the_token_says_so(small_sam, photograph):
    predictor = our_predictor(small_sam, photograph)
    with pytest.raises(ValueError, match="hq_token_only is for SAM-HQ; decoder 'sam'"):
        predictor.predict([[200, 130]], [1], hq_token_only=True)
    with pytest.raises(ValueError, match="hq_token_only is for SAM-HQ"):
        small_sam.predict_masks(predictor.features, hq_token_only=True)


def test_hugging_face_folder(tmp_path, photograph):
    """Names, sizes and every stage of transformers' ``SamHQModel``."""
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    models.hugging_face(**models.HUGGING_FACE, hq=True).save_pretrained(tmp_path / "hf")
    check = ["--check", str(tmp_path / "photograph.png")]
    assert convert([str(tmp_path / "hf"), str(tmp_path / "native"), *check]) == 0
    results = []
    for folder in ("hf", "native"):
        predictor = our_predictor(Sam.from_pretrained(tmp_path / folder), photograph)
        results.append(predictor.predict([[200.0, 130.0]], [1]))
    for direct, converted in zip(*results):
        np.testing.assert_array_equal(direct, converted)


def test_hugging_faces_config_must_fit():
    config = models.hugging_face(**models.HUGGING_FACE, hq=True).config.to_dict()
    assert parse_config(config).decoders == (HQDecoderConfig(),)
    config["mask_decoder_config"]["vit_dim"] = 768
    with pytest.raises(ValueError, match="mask_decoder_config.vit_dim is 768; this SAM has 48"):
        parse_config(config)


def test_what_else_is_loaded_with_options(small, tmp_path, photograph):
    reference, _ = small
    torch.save(reference.state_dict(), tmp_path / "hq.pth")
    prompt = np.array([[200.0, 130.0]]), np.array([1])
    for options in (dict(image_size=192), dict(quantize=8), dict(preprocess="medsam")):
        predictor = our_predictor(Sam.from_pretrained(tmp_path / "hq.pth", **options), photograph)
        masks, _, logits = predictor.predict(*prompt, hq_token_only=True)
        side = predictor.model.config.mask_size
        assert masks.shape == (1, 512, 512) and logits.shape == (1, side, side)
        fine = predictor.get_image_embedding().other_features[HQ_FEATURES]
        assert fine.shape == (1, side, side, SMALL.prompt_dim // 8)


def test_hugging_faces_weights_give_what_sycvs_code_gives(photograph):
    """The same tensors in both originals, unrepaired: ours is the one of SysCV."""
    model = models.hugging_face(**models.HUGGING_FACE, hq=True)
    ours = Sam.from_checkpoint(Checkpoint(as_mlx(model.state_dict())))
    reference = original_of(ours)
    point = np.array([[200.0, 130.0]]), np.array([1])
    _, _, expected = original_predictor(reference, photograph).predict(*point)
    _, _, logits = our_predictor(ours, photograph).predict(*point)
    assert relative(logits, expected) < 1e-5


@pytest.mark.slow
def test_light_hq_sam(photograph, tmp_path):
    """On TinyViT, at its 1024 pixels: SysCV's checkpoint, converted and compared."""
    torch.manual_seed(0)
    state = build_meta(VARIANTS["sam_hq_vit_tiny"]).state_dict()
    torch.save(state, tmp_path / "sam_hq_vit_tiny.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    check = ["--check", str(tmp_path / "photograph.png")]
    assert convert([str(tmp_path / "sam_hq_vit_tiny.pth"), str(tmp_path / "native"), *check]) == 0
    assert Sam.from_pretrained(tmp_path / "native").config.variant == "sam_hq_vit_tiny"


@pytest.mark.slow
def test_vit_b(photograph, tmp_path):
    torch.manual_seed(0)
    torch.save(build_meta(VARIANTS["sam_hq_vit_b"]).state_dict(), tmp_path / "sam_hq_vit_b.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    check = ["--check", str(tmp_path / "photograph.png")]
    assert convert([str(tmp_path / "sam_hq_vit_b.pth"), str(tmp_path / "native"), *check]) == 0
    assert Sam.from_pretrained(tmp_path / "native").config == VARIANTS["sam_hq_vit_b"]
