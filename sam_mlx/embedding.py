"""An encoded image as a value, and the fingerprint of the encoder that made it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import numpy as np

from .arrays import are_finite, check_size
from .config import THRESHOLDS, SamConfig
from .files import parse_json
from .machine.worker import at_work
from .messages import escaping, short, shown
from .modeling.layers import weights_of
from .registry import IMAGE_EMBEDDING, Features, Weights, decoders_of
from .sam import Sam
from .samples import Range, check_range
from .tensor_files import TensorFile, load_tagged, save_tagged
from .transforms import input_size

VERSION = 2  # of files; version 1 holds the image embedding alone
OTHER = "features."  # prefix of the names of other features in a file


@dataclass(frozen=True, eq=False, repr=False)
class ImageEmbedding:
    """An encoded image: all that prompts need, without the picture or the encoder.

    Two are equal if all their values are. ``SamPredictor.embed`` makes one,
    ``SamPredictor.set_image_embedding`` takes it.

    >>> import numpy as np
    >>> from sam_mlx import ImageEmbedding, SamPredictor
    >>> predictor = SamPredictor.from_pretrained("nano")
    >>> embedding = predictor.embed(np.zeros((60, 80, 3), np.uint8))
    >>> embedding
    ImageEmbedding(picture 60 x 80, features (1, 40, 40, 128), float32, encoder b3bb55d3)
    >>> embedding.save("picture.safetensors")
    >>> predictor.set_image_embedding(ImageEmbedding.load("picture.safetensors"))
    """

    features: mx.array  # (1, G, G, C), the image embedding
    original_size: tuple[int, int]  # height, width of the picture, pixels
    input_size: tuple[int, int]  # height, width in the model's input frame, pixels
    fingerprint: str  # of the encoder that made it
    other_features: Features = field(default_factory=dict)  # for decoders other than SAM's
    value_range: Range | None = None  # given for the picture's samples

    @classmethod
    def of(
        cls,
        features: Features,
        original_size: tuple[int, int],
        input_size: tuple[int, int],
        fingerprint: str,
        value_range: Range | None = None,
    ) -> ImageEmbedding:
        """An embedding with all that ``Sam.encode_features`` returns for one image."""
        others = {name: x for name, x in features.items() if name != IMAGE_EMBEDDING}
        main = features[IMAGE_EMBEDDING]
        return cls(main, original_size, input_size, fingerprint, others, value_range)

    @property
    def named_features(self) -> Features:
        """All features by name, as ``Sam.predict_masks`` takes them."""
        return {IMAGE_EMBEDDING: self.features, **self.other_features}

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return sum(x.nbytes for x in self.named_features.values())

    def __repr__(self) -> str:
        height, width = self.original_size
        others = "".join(f", {name} {x.shape}" for name, x in self.other_features.items())
        return (
            f"ImageEmbedding(picture {height} x {width}, features {self.features.shape}{others}, "
            f"{str(self.features.dtype).removeprefix('mlx.core.')}, encoder {self.fingerprint[:8]})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageEmbedding):
            return NotImplemented
        return self._texts() == other._texts() and are_equal(
            self.named_features, other.named_features
        )

    def __hash__(self) -> int:
        return hash(tuple(self._texts().values()))

    def _texts(self) -> dict[str, str]:
        texts = {
            "original_size": json.dumps([int(side) for side in self.original_size]),
            "input_size": json.dumps([int(side) for side in self.input_size]),
            "fingerprint": self.fingerprint,
        }
        if self.value_range is not None:
            texts["value_range"] = json.dumps(self.value_range)
        return texts

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        check_parts(self)
        version = {"version": str(VERSION)} if self.other_features else {}
        save_tagged(path, "ImageEmbedding", self._write, self._texts() | version)

    @at_work
    def _write(self, name: str, metadata: dict[str, str]) -> None:
        others = {f"{OTHER}{name}": x for name, x in self.other_features.items()}
        with open(name, "wb") as file:  # to a name, MLX would add an ending
            mx.save_safetensors(file, {"features": self.features, **others}, metadata)

    @classmethod
    @escaping()
    def load(cls, path: str | Path) -> ImageEmbedding:
        """Read an embedding that ``save`` of this or an older version of the package wrote.

        Raises FileNotFoundError, or ValueError if the file is not an embedding.
        """
        try:
            tensors, texts = load_tagged(path, "ImageEmbedding", "image embedding", _read)
            check_version(texts.get("version", "1"))
            check_features(tensors)
            return cls(
                tensors.pop("features"),
                size_of(texts["original_size"]),
                size_of(texts["input_size"]),
                texts["fingerprint"],
                {name.removeprefix(OTHER): x for name, x in tensors.items()},
                check_range(parse_json(texts.get("value_range", "null"))),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is not an image embedding: {error}") from error


def check_version(version: str) -> None:
    """Raise ValueError for a file that a newer version of the package wrote."""
    if version not in [str(known + 1) for known in range(VERSION)]:
        raise ValueError(
            f"its format has version {short(version)}; this sam_mlx reads up to {VERSION}: "
            "install a newer sam_mlx, or embed the image again"
        )


def check_parts(embedding: object) -> None:
    """Raise ValueError for what is not an embedding, and for one whose parts are not what ``of``
    gets: it may have been made by hand.
    """
    if not isinstance(embedding, ImageEmbedding):
        raise ValueError(f"{short(embedding)} is not an ImageEmbedding, which embed returns")
    check_size(embedding.original_size, "original_size")
    check_size(embedding.input_size, "input_size")
    if not isinstance(embedding.fingerprint, str):
        raise ValueError(f"fingerprint is {short(embedding.fingerprint)}; expected an encoder's")
    if not isinstance(embedding.other_features, dict):
        raise ValueError(f"other_features are {short(embedding.other_features)}; expected a dict")
    check_range(embedding.value_range)
    check_features(embedding.named_features)


def check_fits(embedding: ImageEmbedding, config: SamConfig) -> None:
    """Raise ValueError for an embedding of other sizes than a model with this config makes."""
    shape = 1, config.grid, config.grid, config.prompt_dim
    frame = input_size(embedding.original_size, config)
    if embedding.features.shape != shape or embedding.input_size != frame:
        raise ValueError(
            f"the embedding has features {embedding.features.shape} and input size "
            f"{embedding.input_size}; expected {shape} and {frame}"
        )


@at_work
def check_features(features: Features) -> None:
    """Raise ValueError for what is not (B, G, G, C) of floats, and for NaN and infinities."""
    for name, x in features.items():
        if not isinstance(x, mx.array):
            raise ValueError(f"{short(name)} are of type {type(x).__name__}; expected mx.array")
        if x.ndim != 4 or not mx.issubdtype(x.dtype, mx.floating):
            raise ValueError(f"{shown(name)} are {x.dtype} {x.shape}")
        if not are_finite([x]):
            raise ValueError(f"{shown(name)} hold NaN or infinite values; embed the image again")


def size_of(text: str) -> tuple[int, int]:
    """Height and width from JSON. Raises ValueError for anything else."""
    size = parse_json(text)
    if type(size) is not list or any(type(n) is not int for n in size):
        raise ValueError(f"{short(text)} is not a height and width in pixels")
    return check_size(size, "the size")


@at_work
def are_equal(a: Features, b: Features) -> bool:
    """True if both have the same features, to the bit."""
    return a.keys() == b.keys() and all(mx.array_equal(a[name], b[name]).item() for name in a)


@at_work
def _read(file: TensorFile) -> dict[str, mx.array]:
    tensors = {name: file.tensor(name) for name in file.places}
    mx.eval(tensors)
    return tensors


@at_work
def fingerprint(config: SamConfig, weights: Weights) -> str:
    """A digest of a config and 64 values of every tensor; the same on every machine. Thresholds are
    left out: they change no answer of the model, but choose among them.
    """
    values = {name: v for name, v in config.to_dict().items() if name not in THRESHOLDS}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, w in sorted(weights.items()):
        sample = w.flatten()[:: max(1, w.size // 64)]
        digest.update(f"{name} {w.shape} {w.dtype}".encode())
        digest.update(np.array(sample.astype(mx.float32)).tobytes())
    return digest.hexdigest()[:32]


def encoder_fingerprint(model: Sam) -> str:
    """The fingerprint of everything that a model's embeddings depend on.

    ``SamPredictor`` computes it once: later changes to weights in place go unnoticed.
    """
    weights = weights_of(model.image_encoder)
    for kind in decoders_of(model.config):
        if kind.prepare is not None:
            part = weights_of(getattr(model, kind.part))
            weights |= {f"{kind.part}.{name}": w for name, w in part.items()}
    return fingerprint(model.config, weights)
