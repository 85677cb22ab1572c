"""Custom image encoders and decoders, registered from outside the package."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from sam_mlx import (
    ImageEmbedding,
    Sam,
    SamAutomaticMaskGenerator,
    SamPredictor,
    compat,
    sam_model_registry,
)
from sam_mlx.checkpoints.layouts import to_torch
from sam_mlx.config import MaskDecoderConfig, SamConfig
from sam_mlx.export import export
from sam_mlx.machine.streams import width
from sam_mlx.modeling.layers import conv_as_matmul, weights_of
from sam_mlx.modeling.mask_decoder import MaskDecoder, infer
from sam_mlx.registry import (
    DECODERS,
    EARLY,
    ENCODERS,
    IMAGE_EMBEDDING,
    VARIANTS,
    Decoder,
    Encoder,
    config_of,
    register,
    with_decoder,
)
from tests.support.budgets import limited
from tests.support.checkpoints import equal


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

    def __call__(self, x: mx.array, wanted: object) -> dict[str, mx.array]:
        return {IMAGE_EMBEDDING: self.gain * conv_as_matmul(self.only, x)}


def infer_plain(weights) -> SamConfig:
    dim, _, patch, _ = weights["image_encoder.only.weight"].shape
    return SamConfig(PlainConfig(), image_size=64, patch_size=patch, prompt_dim=dim)


PLAIN = Encoder(
    PlainConfig,
    PlainEncoder,
    recognises=lambda weights: "image_encoder.only.weight" in weights,
    infer=infer_plain,
    clean=lambda weights: {n: w for n, w in weights.items() if not n.endswith(".unused")},
)
CONFIG = SamConfig(PlainConfig(), image_size=64, patch_size=8, prompt_dim=32, decoder_mlp_dim=48)


@dataclass(frozen=True)
class FineConfig:
    """SAM's decoder on an embedding with early features added."""

    type: ClassVar[str] = "fine"
    width: int  # channels of the early features


class FineDecoder(MaskDecoder):
    def __init__(self, config: SamConfig):
        super().__init__(config)
        width = next(sizes.width for sizes in config.decoders if sizes.type == "fine")
        self.compress = nn.Linear(width, config.prompt_dim)

    def prepare(self, features):
        return {"detail": self.compress(features[EARLY])}

    def __call__(self, features, image_pe, sparse, valid, dense, multimask_output):
        """One mask in any case: the single one, or the best of three."""
        image = {IMAGE_EMBEDDING: features[IMAGE_EMBEDDING] + features["detail"]}
        masks, iou = super().__call__(image, image_pe, sparse, valid, dense, multimask_output)
        best = iou.argmax(axis=1)[:, None]
        masks = mx.take_along_axis(masks, best[..., None, None], axis=1)
        return masks, mx.take_along_axis(iou, best, axis=1)


def infer_fine(weights, config: SamConfig) -> SamConfig:
    _, width = weights["mask_decoder.compress.weight"].shape
    return with_decoder(infer(weights, config), FineConfig(width))


FINE = Decoder(
    FineConfig,
    FineDecoder,
    recognises=lambda weights: "mask_decoder.compress.weight" in weights,
    infer=infer_fine,
    needs=(IMAGE_EMBEDDING, EARLY),
    takes=(IMAGE_EMBEDDING, "detail"),
    prepare=FineDecoder.prepare,
    masks=lambda config, multimask_output: 1,
    bytes_per_value=50,
    clean=lambda weights: {n: w for n, w in weights.items() if not n.endswith(".unused")},
)
FINE_NANO = replace(VARIANTS["nano"], decoders=(FineConfig(VARIANTS["nano"].encoder.dim),))


@dataclass(frozen=True)
class CellsConfig:
    type: ClassVar[str] = "cells"
    maps: int


class CellsDecoder(nn.Module):
    """A second decoder beside SAM's: maps of the whole picture, without prompts."""

    def __init__(self, config: SamConfig):
        super().__init__()
        maps = next(sizes.maps for sizes in config.decoders if sizes.type == "cells")
        self.head = nn.Linear(config.prompt_dim, maps)

    def __call__(self, features):
        return mx.sigmoid(self.head(features[IMAGE_EMBEDDING]))


CELLS = Decoder(
    CellsConfig,
    CellsDecoder,
    recognises=lambda weights: "cells_decoder.head.weight" in weights,
    infer=lambda weights, config: with_decoder(
        config, CellsConfig(weights["cells_decoder.head.weight"].shape[0])
    ),
    part="cells_decoder",
)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    before = [(registry, dict(registry)) for registry in (ENCODERS, DECODERS, VARIANTS)]
    register(PLAIN, {"toy": CONFIG})
    register(FINE, {"fine": FINE_NANO})
    register(CELLS)
    yield
    for registry, content in before:
        registry.clear()
        registry.update(content)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def fine() -> Sam:
    """Nano's weights, and random ones for tensors that it lacks."""
    model = Sam(VARIANTS["fine"])
    model.load_weights(list(weights_of(Sam.from_pretrained("nano")).items()), strict=False)
    mx.eval(model.parameters())
    return model


def answers(model: Sam, image: np.ndarray, **prompt) -> tuple[np.ndarray, ...]:
    predictor = SamPredictor(model)
    predictor.set_image(image)
    return predictor.predict(**(prompt or {"point_coords": [[30, 20]], "point_labels": [1]}))


def same(ours: tuple[np.ndarray, ...], again: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(ours, again, strict=True):
        np.testing.assert_array_equal(a, b)


def foreign(model: Sam, path, *unused: str) -> None:
    """A file with Meta's names and layout, and with tensors that no module has."""
    weights = to_torch(weights_of(model), model) | {name: mx.zeros(3) for name in unused}
    mx.save_safetensors(str(path), {n: mx.contiguous(w) for n, w in weights.items()})


def test_an_encoder_predicts_and_comes_back_from_a_folder(tmp_path, image):
    model = Sam(VARIANTS["toy"])
    model.save_pretrained(tmp_path / "toy")
    loaded = Sam.from_pretrained(tmp_path / "toy")
    assert loaded.config == VARIANTS["toy"] and loaded.config.variant == "toy"
    assert isinstance(loaded.image_encoder, PlainEncoder)
    assert answers(model, image)[0].shape == (3, 40, 60)
    same(answers(model, image), answers(loaded, image))


def test_its_foreign_checkpoint_is_recognised_and_cleaned(tmp_path):
    model = Sam(CONFIG)
    foreign(model, tmp_path / "toy.safetensors", "image_encoder.only.unused")
    loaded = Sam.from_pretrained(tmp_path / "toy.safetensors")
    assert loaded.config == replace(CONFIG, variant="toy")
    equal(loaded, model)


def test_kinds_that_are_not_registered_are_refused(tmp_path, fine):
    Sam(CONFIG).save_pretrained(tmp_path / "toy")
    fine.save_pretrained(tmp_path / "fine")
    del ENCODERS["plain"], DECODERS["fine"]
    with pytest.raises(ValueError, match="config.json: encoder is 'plain'; expected .*'vit'"):
        Sam.from_pretrained(tmp_path / "toy")
    with pytest.raises(ValueError, match="config.json: decoder is 'fine'; expected .*'sam'"):
        Sam.from_pretrained(tmp_path / "fine")
    assert "toy" not in sam_model_registry  # the registry is of released models


def test_sams_own_decoder_is_not_written_down(tmp_path):
    Sam(CONFIG).save_pretrained(tmp_path / "toy")
    values = json.loads((tmp_path / "toy" / "config.json").read_text())
    assert "decoders" not in values
    assert (
        config_of(values | {"decoders": [{"type": "sam"}]})
        == Sam.from_pretrained(tmp_path / "toy").config
    )


def test_a_decoder_predicts_and_comes_back_from_a_folder(tmp_path, image, fine):
    fine.save_pretrained(tmp_path / "fine")
    values = json.loads((tmp_path / "fine" / "config.json").read_text())
    assert values["decoders"] == [{"type": "fine", "width": 128}]
    loaded = Sam.from_pretrained(tmp_path / "fine")
    assert loaded.config == VARIANTS["fine"] and isinstance(loaded.mask_decoder, FineDecoder)
    masks, _, logits = answers(fine, image)
    assert masks.shape == (1, 40, 60) and logits.shape == (1, 160, 160)
    same(answers(fine, image), answers(loaded, image))
    plain = answers(Sam.from_pretrained("nano"), image)
    assert plain[0].shape == (3, 40, 60) and not np.isin(logits[0], plain[2]).all()


def test_a_decoders_foreign_checkpoint_is_recognised_and_cleaned(tmp_path, fine):
    foreign(fine, tmp_path / "fine.safetensors", "mask_decoder.unused")
    loaded = Sam.from_pretrained(tmp_path / "fine.safetensors")
    assert loaded.config == VARIANTS["fine"]
    equal(loaded, fine)


def test_a_decoders_prompts_one_by_one_and_together(image, fine):
    predictor = SamPredictor(fine)
    predictor.set_image(image)
    points, boxes = [[[30, 20]], None, [[9, 9], [20, 20]]], [None, [5, 5, 40, 30], None]
    labels = [[1], None, [1, 0]]
    masks, scores, logits = predictor.predict_batch(points, labels, boxes)
    assert masks.shape == (3, 1, 40, 60) and scores.shape == (3, 1)
    each = predictor.predict_each(points, labels, boxes)
    for i, answer in enumerate(each):
        np.testing.assert_allclose(answer[2], logits[i], atol=1e-3)
    nothing = predictor.predict_batch([], [])
    assert [x.shape for x in nothing] == [(0, 1, 40, 60), (0, 1), (0, 1, 160, 160)]


def test_a_decoders_parts_are_of_its_own_size(image, fine, monkeypatch):
    calls = []
    decode = FineDecoder.__call__

    def counted(self, features, image_pe, sparse, *rest):
        calls.append(len(sparse))
        return decode(self, features, image_pe, sparse, *rest)

    monkeypatch.setattr(FineDecoder, "__call__", counted)
    predictor = SamPredictor(fine)
    predictor.set_image(image)
    room = width() * 4 * FINE.bytes_per_value * predictor.features.size  # for four; of 40 for five
    with limited(decoder_bytes=room):
        predictor.predict_batch(boxes=np.tile([5, 5, 40, 30], (12, 1)))
    assert calls == [4, 4, 4]


def test_a_decoder_finds_everything(image, fine):
    generator = SamAutomaticMaskGenerator(
        fine, points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0
    )
    records = generator.generate(image)
    assert records and {len(r["point_coords"]) for r in records} == {1}
    embedding = generator.predictor.embed(image)
    assert [r["area"] for r in generator.generate(embedding)] == [r["area"] for r in records]


def test_an_embedding_holds_what_the_decoder_takes(tmp_path, image, fine):
    predictor = SamPredictor(fine)
    predictor.set_image(image)
    embedding = predictor.get_image_embedding()
    shapes = {name: x.shape for name, x in embedding.named_features.items()}
    assert shapes == {IMAGE_EMBEDDING: (1, 40, 40, 128), "detail": (1, 40, 40, 128)}
    assert "detail (1, 40, 40, 128)" in repr(embedding)
    assert embedding.nbytes == 2 * embedding.features.nbytes
    embedding.save(tmp_path / "image.safetensors")
    loaded = ImageEmbedding.load(tmp_path / "image.safetensors")
    assert loaded == embedding
    assert loaded != replace(embedding, other_features={})
    assert loaded != replace(embedding, other_features={"detail": embedding.features})
    other = SamPredictor(fine)
    other.set_image_embedding(loaded)
    same(other.predict([[30, 20]], [1]), predictor.predict([[30, 20]], [1]))
    with pytest.raises(ValueError, match=r"needs the features \['detail'\].*embed the image again"):
        other.set_image_embedding(replace(embedding, other_features={}))


def test_what_a_decoder_prepares_is_its_own(image, fine):
    embedding = SamPredictor(fine).embed(image)
    with pytest.raises(ValueError, match="made by encoder"):
        SamPredictor(Sam.from_pretrained("nano")).set_image_embedding(embedding)
    fine.mask_decoder.compress.weight += 1
    with pytest.raises(ValueError, match="made by encoder"):
        SamPredictor(fine).set_image_embedding(embedding)


def test_features_are_taken_by_name_and_missing_ones_named(fine):
    images = mx.zeros((1, 320, 320, 3))
    features = fine.encode_features(images)
    assert features.keys() == {IMAGE_EMBEDDING, "detail"}
    assert mx.array_equal(fine.encode_image(images), features[IMAGE_EMBEDDING])
    assert fine.predict_masks(features)[0].shape == (1, 1, 160, 160)
    with pytest.raises(
        ValueError, match=r"'fine' needs the features \['detail'\], which are not given"
    ):
        fine.predict_masks(features[IMAGE_EMBEDDING])


@pytest.mark.slow
def test_a_decoder_is_exported_with_what_it_takes(tmp_path, fine):
    """The export compares its files with ``SamPredictor``."""
    written = export(fine, tmp_path / "out", points=2)
    encoder, decoder = (
        written["files"][f"{name}.mlxfn"]["traces"][0] for name in ("encoder", "decoder")
    )
    names = ["image_embeddings", "detail"]
    assert [tensor["name"] for tensor in encoder["outputs"]] == names
    assert decoder["inputs"][:2] == encoder["outputs"] and written["features"]["names"] == names
    assert decoder["outputs"][1]["shape"] == [1, 1]


@pytest.mark.slow
def test_other_decoders_are_left_out_of_an_export(tmp_path):
    model = Sam(replace(CONFIG, decoders=(MaskDecoderConfig(), CellsConfig(maps=3))))
    written = export(model, tmp_path / "out")
    assert written["left_out"] == ["cells"]
    assert set(written["files"]) == {"encoder.mlxfn", "decoder.mlxfn"}


def test_functions_that_take_one_array_say_so(fine):
    with pytest.raises(NotImplementedError, match="mask decoder is 'fine'.*SamPredictor"):
        compat.Sam(fine)


def test_a_decoder_beside_sams(tmp_path, image):
    model = Sam(replace(CONFIG, decoders=(MaskDecoderConfig(), CellsConfig(maps=3))))
    model.save_pretrained(tmp_path / "cells")
    foreign(model, tmp_path / "cells.safetensors")
    for name in ("cells", "cells.safetensors"):
        loaded = Sam.from_pretrained(tmp_path / name)
        equal(loaded, model)
        assert [type(sizes) for sizes in loaded.config.decoders] == [MaskDecoderConfig, CellsConfig]
        predictor = SamPredictor(loaded)
        predictor.set_image(image)
        embedding = predictor.get_image_embedding()
        maps = loaded.cells_decoder(embedding.named_features)
        assert maps.shape == (1, 8, 8, 3)
        assert predictor.predict([[30, 20]], [1])[0].shape == (3, 40, 60)


@pytest.mark.parametrize(
    ("decoders", "message"),
    [
        ((FineConfig(width=128),), r"'fine' needs the features \['early'\].*'plain' only computes"),
        ((), "expected one for mask_decoder"),
        ((CellsConfig(3),), "expected one for mask_decoder"),
        ((MaskDecoderConfig(), FineConfig(128)), "expected one for mask_decoder"),
        ((MaskDecoderConfig(), CellsConfig(1), CellsConfig(2)), "at most one for any other"),
    ],
)
def test_decoders_that_cannot_be_combined(decoders, message):
    config = replace(CONFIG, decoders=decoders)
    with pytest.raises(ValueError, match=message):
        Sam(config)
    with pytest.raises(ValueError, match=message):
        config_of(config.to_dict())


@pytest.mark.parametrize("decoders", ["sam", 3, None, [None], ["sam"], [{}], [{"type": []}]])
def test_invalid_decoders_in_a_file(decoders):
    with pytest.raises(ValueError, match="decoders? is .*expected"):
        config_of(CONFIG.to_dict() | {"decoders": decoders})


@pytest.mark.parametrize(
    ("variant", "shape"),
    [("nano", (40, 40, 128)), ("vit_b", (64, 64, 768)), ("vit_t", (64, 64, 160))],
)
def test_encoders_return_early_features_on_demand(variant, shape):
    model = Sam(VARIANTS[variant])
    images = mx.zeros((1, *(model.config.image_size,) * 2, 3))
    assert model.image_encoder(images).keys() == {IMAGE_EMBEDDING}
    assert model.image_encoder(images, (EARLY,))[EARLY].shape == (1, *shape)
