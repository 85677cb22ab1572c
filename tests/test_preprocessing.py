"""Other ways to prepare pictures, beside the published recipe of MedSAM run live."""

import json
from dataclasses import replace

import numpy as np
import pytest
from skimage.transform import resize

from sam_mlx import MaskPredictions, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.checkpoints.families.processors import preprocessing
from sam_mlx.config import PREPROCESSING, SamConfig
from sam_mlx.export import export
from sam_mlx.registry import VARIANTS
from sam_mlx.transforms import preprocess, resize_image
from tests.support.automatic import SMALL as LIVELY
from tests.support.automatic import calibrated_sam, squares
from tests.support.models import SMALL, hugging_face, pair, random_sam

MEDSAM = replace(SMALL, **PREPROCESSING["medsam"])


@pytest.fixture(scope="module")
def medsam(originals):
    """Meta's model, and ours of the same weights, loaded as MedSAM's."""
    return pair(MEDSAM)


def recipe(sam, image: np.ndarray, box: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MedSAM_Inference.py's way from a picture and a box to logits, IoU and the mask."""
    import torch

    side, (height, width) = SMALL.image_size, image.shape[:2]
    small = resize(image, (side, side), order=3, preserve_range=True, anti_aliasing=True)
    small = small.astype(np.uint8)
    small = (small - small.min()) / np.clip(small.max() - small.min(), 1e-8, None)
    features = sam.image_encoder(torch.tensor(small).float().permute(2, 0, 1)[None])
    scaled = np.array([box]) / np.array([width, height, width, height]) * side
    boxes = torch.tensor(scaled, dtype=torch.float)[:, None]
    sparse, dense = sam.prompt_encoder(points=None, boxes=boxes, masks=None)
    logits, iou = sam.mask_decoder(
        image_embeddings=features, image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=False,
    )  # fmt: skip
    large = torch.nn.functional.interpolate(torch.sigmoid(logits), (height, width), mode="bilinear")
    return logits[0].detach().numpy(), iou[0].detach().numpy(), (large[0, 0] > 0.5).numpy()


def test_the_recipe_of_medsam(medsam):
    """Where nothing is resized: of a picture of the model's own size."""
    reference, model = medsam
    image = squares(SMALL.image_size, SMALL.image_size)[..., ::-1] // 3 + 40
    box = [20, 30, 100, 90]
    logits, iou, mask = recipe(reference, image, box)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    masks, scores, low_res = predictor.predict(box=box, multimask_output=False)
    np.testing.assert_allclose(low_res, logits, atol=5e-7)  # measured 7e-8, of 0.1
    np.testing.assert_allclose(scores, iou, atol=5e-7)
    # The recipe enlarges probabilities, SAM logits, so borders may differ: here they do not.
    assert 0.05 < mask.mean() < 0.95 and (masks[0] != mask).mean() < 0.005


def test_coordinates_of_a_stretched_picture(medsam):
    """x and y have scales of their own, and masks fill the picture."""
    reference, model = medsam
    image = squares(90, 200)
    box = [30, 20, 150, 70]
    logits, _, mask = recipe(reference, image, box)
    predictor = SamPredictor(model)
    predictor.set_image(image)
    assert predictor.input_size == (SMALL.image_size, SMALL.image_size)
    masks, _, low_res = predictor.predict(box=box, multimask_output=False)
    assert masks.shape == (1, 90, 200)
    # Pillow's bicubic is not scikit-image's, a Gaussian and splines: 0.93 of 255 apart here, 0.3 to
    # 1.3 on photographs, where Pillow's bilinear is 0.5 to 1.8.
    ours = resize_image(image, (128, 128), "bicubic").astype(float)
    theirs = resize(image, (128, 128), order=3, preserve_range=True, anti_aliasing=True)
    assert np.abs(ours - theirs).mean() < 1.2
    assert np.corrcoef(low_res.ravel(), logits.ravel())[0, 1] > 0.9995  # measured 0.99982
    assert (masks[0] != mask).mean() < 0.03  # measured 0.023
    x, y = 60.0, 45.0
    coords = predictor.embed_prompt([[x, y]], [1])[0][0]
    assert np.array(coords).ravel().tolist() == pytest.approx([x * 128 / 200, y * 128 / 90])


def test_everything_in_a_stretched_picture(tmp_path):
    config = replace(LIVELY, resize="square")
    model = Sam.from_checkpoint(replace(checkpoint_of(calibrated_sam(LIVELY)), config=config))
    generator = SamAutomaticMaskGenerator(model, points_per_side=4, stability_score_thresh=0.6)
    image = squares(100, 260)
    state = generator.predict(image)
    state.save(tmp_path / "state")
    records = generator.select(MaskPredictions.load(tmp_path / "state"))
    assert len(records) == len(generator.generate(image)) > 0
    predictor = SamPredictor(model)
    predictor.set_image(image)
    for record in records:
        masks, scores, _ = predictor.predict(record["point_coords"], [1])
        best = np.abs(scores - record["predicted_iou"]).argmin()
        assert (masks[best] == record["segmentation"]).mean() > 0.999


def checkpoint_of(model: Sam):
    from sam_mlx.checkpoints.load import Checkpoint
    from sam_mlx.modeling.layers import weights_of

    return Checkpoint(weights_of(model), model.config, native=True)


def test_it_is_kept_with_the_model(medsam, tmp_path):
    model = Sam.from_checkpoint(checkpoint_of(medsam[1]))
    model.save_pretrained(tmp_path / "model")
    loaded = Sam.from_pretrained(tmp_path / "model")
    assert loaded.config == MEDSAM
    assert Sam.from_pretrained(tmp_path / "model", preprocess="sam").config == SMALL
    assert "resize" not in json.dumps(SMALL.to_dict())
    for a, b in ((MEDSAM, "medsam"), (SMALL, "sam")):
        given = {name: getattr(a, name) for name in PREPROCESSING[b]}
        assert given == PREPROCESSING[b]
    with pytest.raises(
        ValueError, match="preprocess is 'medsan'; expected one of sam, medsam, litemedsam"
    ):
        Sam.from_pretrained("nano", preprocess="medsan")
    with pytest.raises(ValueError, match="only SAM's own preprocessing is exported"):
        export(loaded, tmp_path / "export")
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize("size", [(256, 256), (160, 256)])
def test_the_recipe_of_litemedsam(size, tmp_path):
    """Where nothing is resized: the whole picture is stretched to 0..1, then padded with zeros."""
    random_sam(SMALL).save_pretrained(tmp_path / "small")
    model = Sam.from_pretrained(tmp_path / "small", preprocess="litemedsam")
    assert (model.config.image_size, model.config.grid) == (256, 256 // SMALL.patch_size)
    image = squares(*size)[..., ::-1] // 3 + 40
    expected = np.zeros((256, 256, 3))
    low, high = image.min(), image.max()
    expected[: size[0], : size[1]] = (image - low) / np.clip(high - low, 1e-8, None)
    found = np.array(preprocess(image, model.config))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)  # measured 3e-8
    predictor = SamPredictor(model)
    predictor.set_image(image)
    masks, _, logits = predictor.predict(box=[20, 30, 100, 90], multimask_output=False)
    assert masks.shape == (1, *size)
    other = Sam.from_pretrained(tmp_path / "small", preprocess="litemedsam", image_size=128)
    assert other.config.image_size == 128


USUAL = {
    "do_resize": True, "size": {"longest_edge": 1024}, "resample": 2, "do_rescale": True,
    "rescale_factor": 0.00392156862745098, "do_normalize": True, "do_pad": True,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    "pad_size": {"height": 1024, "width": 1024}, "do_convert_rgb": True,
}  # fmt: skip


def test_preprocessor_config_of_the_released_models():
    vit_b = VARIANTS["vit_b"]
    assert preprocessing(USUAL, vit_b) == preprocessing({}, vit_b) == vit_b
    halves = preprocessing({**USUAL, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, vit_b)
    assert halves.pixel_mean == pytest.approx((127.5,) * 3) == halves.pixel_std
    plain = preprocessing({**USUAL, "do_normalize": False}, vit_b)
    assert plain.pixel_mean == (0, 0, 0) and plain.pixel_std == pytest.approx((255,) * 3)
    square = preprocessing({**USUAL, "size": {"height": 1024, "width": 1024}}, vit_b)
    assert square == replace(vit_b, resize="square")
    assert preprocessing({**USUAL, "resample": 3}, vit_b).resample == "bicubic"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"size": {"longest_edge": 512}},
            "size is {'longest_edge': 512}; expected longest_edge 1024",
        ),
        ({"size": {"height": 1024, "width": 512}}, "size is"),
        ({"do_resize": False}, "do_resize is false"),
        ({"do_pad": False}, "do_pad is False"),
        ({"pad_size": {"height": 512, "width": 512}}, "pad_size {'height': 512"),
        ({"resample": 1}, "resample is 1; expected 2"),
        ({"image_std": [0.2, 0.2, 0]}, "image_std"),
        ({"image_mean": [0.5]}, "image_mean"),
        ({"rescale_factor": 0}, "rescale_factor 0"),
    ],
)
def test_contradictions_are_one_line(change, message, small_hf):
    path = small_hf / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **scaled(change)}))
    with pytest.raises(ValueError, match="preprocessor_config.json: ") as error:
        Sam.from_pretrained(small_hf)
    assert scaled(message) in str(error.value) and "\n" not in str(error.value)


def scaled(values):
    """Of 1024 pixels, said of the small model's."""
    side = str(SMALL.image_size)
    text = values if isinstance(values, str) else json.dumps(values)
    text = text.replace("1024", side).replace("512", "64")
    return text if isinstance(values, str) else json.loads(text)


@pytest.fixture
def small_hf(originals, tmp_path):
    """A folder as transformers writes it."""
    side, patch = SMALL.image_size, SMALL.patch_size
    vision = dict(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, window_size=5,
        global_attn_indexes=[1], image_size=side, patch_size=patch, mlp_dim=96,
    )  # fmt: skip
    prompt = dict(image_size=side, patch_size=patch, image_embedding_size=side // patch)
    folder = tmp_path / "hf"
    hugging_face(vision, prompt_encoder_config=prompt).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(scaled(USUAL)))
    assert Sam.from_pretrained(folder).config.resize == "longest"
    return folder


def test_values_that_are_none():
    with pytest.raises(ValueError, match="resize is 'round'; expected one of"):
        SamConfig(SMALL.encoder, resize="round")
