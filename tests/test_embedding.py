"""Image embeddings as values: saved, loaded, refused."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from safetensors import safe_open

from sam_mlx import ImageEmbedding, SamPredictor
from tests.support.models import SMALL, random_sam
from tests.support.prompts import CLICK


def test_embedding_survives_saving(predictor, tmp_path, small_sam, photograph):
    expected = predictor.predict(**CLICK)
    predictor.get_image_embedding().save(tmp_path / "image.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["image.safetensors"]
    other = SamPredictor(small_sam)
    other.set_image(photograph)
    other.set_image_embedding(ImageEmbedding.load(tmp_path / "image.safetensors"))
    assert other.original_size == predictor.original_size
    for ours, original in zip(other.predict(**CLICK), expected):
        np.testing.assert_array_equal(ours, original)


def write_by_hand(path, features: np.ndarray, **texts: str) -> None:
    """A safetensors file, byte by byte."""
    data = features.tobytes()
    tensor = {"dtype": "F32", "shape": features.shape, "data_offsets": [0, len(data)]}
    header = {"__metadata__": {"format": "sam_mlx.ImageEmbedding", **texts}, "features": tensor}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_files_of_the_first_version(predictor, tmp_path):
    """Without a version, as 0.1.0 wrote them; it can read what is written for such models now."""
    embedding = predictor.get_image_embedding()
    texts = {
        "original_size": "[307, 509]", "input_size": "[77, 128]",
        "fingerprint": embedding.fingerprint,
    }  # fmt: skip
    write_by_hand(tmp_path / "old.safetensors", np.array(embedding.features), **texts)
    old = ImageEmbedding.load(tmp_path / "old.safetensors")
    assert old == embedding and old.named_features.keys() == {"image_embedding"}
    other = SamPredictor(predictor.model)
    other.set_image_embedding(old)
    for ours, expected in zip(other.predict(**CLICK), predictor.predict(**CLICK)):
        np.testing.assert_array_equal(ours, expected)
    embedding.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", "np") as file:
        assert file.metadata() == {"format": "sam_mlx.ImageEmbedding", **texts}
        assert list(file.keys()) == ["features"]


@pytest.mark.parametrize("version", ["3", "", "two", "10", "1.5"])
def test_files_of_a_later_version_are_refused(predictor, tmp_path, version):
    features = np.array(predictor.features)
    texts = {"original_size": "[307, 509]", "input_size": "[77, 128]", "fingerprint": "0"}
    write_by_hand(tmp_path / "emb", features, **texts, version=version)
    message = f"its format has version '{version}'; this sam_mlx reads up to 2: install a newer"
    with pytest.raises(ValueError, match=message):
        ImageEmbedding.load(tmp_path / "emb")


def test_one_line_describes_it(predictor):
    embedding = predictor.get_image_embedding()
    assert repr(embedding) == (
        "ImageEmbedding(picture 307 x 509, features (1, 16, 16, 64), float32, "
        f"encoder {embedding.fingerprint[:8]})"
    )


def test_embedding_of_another_model_is_refused(predictor):
    other = SamPredictor(random_sam(SMALL, seed=3))
    with pytest.raises(ValueError, match="embed the image again"):
        other.set_image_embedding(predictor.get_image_embedding())
    assert not other.is_image_set


def test_files_that_are_not_an_embedding(predictor, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such image embedding"):
        ImageEmbedding.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing")
    mx.save_safetensors(str(tmp_path / "other.safetensors"), {"features": mx.zeros((2,))})
    for name in ("text", "other"):
        with pytest.raises(ValueError, match="is not an image embedding"):
            ImageEmbedding.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError):
        predictor.get_image_embedding().save(tmp_path / "no" / "folder.safetensors")


@pytest.mark.parametrize("name", ["emb", "image.safetensors", "a.b.npz", ".hidden", "x.png"])
def test_any_name_works(predictor, tmp_path, name):
    predictor.get_image_embedding().save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    loaded = ImageEmbedding.load(tmp_path / name)
    np.testing.assert_array_equal(np.array(loaded.features), np.array(predictor.features))


def test_a_failed_save_leaves_nothing(predictor, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(mx, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        predictor.get_image_embedding().save(tmp_path / "emb")
    assert list(tmp_path.iterdir()) == []


def test_equality(predictor, tmp_path, photograph):
    embedding = predictor.get_image_embedding()
    embedding.save(tmp_path / "emb")
    same = ImageEmbedding.load(tmp_path / "emb")
    assert same == embedding and hash(same) == hash(embedding) and len({same, embedding}) == 1
    assert embedding != predictor.embed(photograph)
    others = {
        "features": embedding.features + 1,
        "original_size": (1, 1),
        "fingerprint": "0",
        "value_range": (0, 9),
    }
    for name, value in others.items():
        assert replace(embedding, **{name: value}) != embedding
    assert embedding != 3
    by_position = embedding.features, (307, 509), (77, 128), embedding.fingerprint
    assert ImageEmbedding(*by_position) == embedding


@pytest.mark.filterwarnings("ignore:an image has 16-bit samples")
def test_the_given_range_belongs_to_an_embedding(predictor, tmp_path, photograph):
    deep = photograph.astype(np.uint16) << 4
    embeddings = [
        predictor.embed(deep, value_range=given) for given in (None, (0, 4095), (0, 65535))
    ]
    for i, embedding in enumerate(embeddings):
        embedding.save(tmp_path / f"{i}")
        loaded = ImageEmbedding.load(tmp_path / f"{i}")
        assert loaded == embedding and loaded.value_range == embedding.value_range
    assert [e.value_range for e in embeddings] == [None, (0, 4095), (0, 65535)]
    plain = predictor.embed(photograph)
    for embedding, same in zip(embeddings, [True, True, False]):
        assert bool(mx.array_equal(embedding.features, plain.features)) == same
    predictor.set_image(deep, value_range=(0, 4095))
    assert predictor.get_image_embedding() == embeddings[1]
    with pytest.raises(ValueError, match="value_range is 3; expected two numbers"):
        predictor.embed(photograph, value_range=3)


def test_the_home_folder(predictor, tmp_path, monkeypatch):
    """``~`` was taken by the letter."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    embedding = predictor.get_image_embedding()
    for name in ("~/a", "~no_user"):
        embedding.save(name)
        assert ImageEmbedding.load(name) == embedding
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "~no_user"]
    with pytest.raises(FileNotFoundError, match=f"no such image embedding: {tmp_path}/none"):
        ImageEmbedding.load("~/none")


def test_sizes_of_numpy_are_saved(predictor, tmp_path):
    """They were predicted with, and could not be saved."""
    own = predictor.get_image_embedding()
    other = replace(own, original_size=np.array(own.original_size), input_size=[*own.input_size])
    other.save(tmp_path / "a.safetensors")
    assert other == own == ImageEmbedding.load(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"original_size is \(True, True\); expected height"):
        replace(own, original_size=(True, True)).save(tmp_path / "b.safetensors")
