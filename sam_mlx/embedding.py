"""An encoded image as a value, and what tells the encoders apart that make them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from .config import SamConfig
from .files import load_safetensors, load_tagged, parse_json, save_tagged
from .machine.worker import at_work
from .messages import short
from .modeling.layers import weights_of


@dataclass(frozen=True, eq=False)
class ImageEmbedding:
    """An encoded image: all that prompts need, without the picture or the encoder.

    Two are equal when every value is.
    """

    features: mx.array  # (1, G, G, C)
    original_size: tuple[int, int]  # height, width of the picture, pixels
    input_size: tuple[int, int]  # height, width in the model's input frame, pixels
    fingerprint: str  # of the encoder that made it

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageEmbedding):
            return NotImplemented
        same = self._texts() == other._texts()
        return same and bool(mx.array_equal(self.features, other.features))

    def __hash__(self) -> int:
        return hash(tuple(self._texts().values()))

    def _texts(self) -> dict[str, str]:
        return {
            "original_size": json.dumps(self.original_size),
            "input_size": json.dumps(self.input_size),
            "fingerprint": self.fingerprint,
        }

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        save_tagged(path, "ImageEmbedding", self._write, self._texts())

    def _write(self, name: str, metadata: dict[str, str]) -> None:
        with open(name, "wb") as file:  # to a name, MLX would add an ending
            mx.save_safetensors(file, {"features": self.features}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> ImageEmbedding:
        """Raises FileNotFoundError, or ValueError when the file is not an embedding."""
        try:
            tensors, texts = load_tagged(path, "ImageEmbedding", "image embedding", _read)
            features = tensors["features"]
            if features.ndim != 4 or not mx.issubdtype(features.dtype, mx.floating):
                raise ValueError(f"features are {features.dtype} {features.shape}")
            return cls(
                features,
                size_of(texts["original_size"]),
                size_of(texts["input_size"]),
                texts["fingerprint"],
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is not an image embedding: {error}") from error


def size_of(text: str) -> tuple[int, int]:
    """Height and width in JSON. Raises ValueError for anything else."""
    size = parse_json(text)
    if type(size) is not list or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
        raise ValueError(f"{short(text)} is no height and width in pixels")
    return size[0], size[1]


@at_work
def _read(name: str) -> dict[str, mx.array]:
    tensors = load_safetensors(name)
    mx.eval(tensors)
    return tensors


@at_work
def fingerprint(config: SamConfig, model: nn.Module) -> str:
    """Tells models apart by 64 values of every tensor; the same on every machine.

    ``SamPredictor`` takes it once: weights changed in place afterwards are not seen.
    """
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for name, w in sorted(weights_of(model).items()):
        sample = w.flatten()[:: max(1, w.size // 64)]
        digest.update(f"{name} {w.shape} {w.dtype}".encode())
        digest.update(np.array(sample.astype(mx.float32)).tobytes())
    return digest.hexdigest()[:32]
