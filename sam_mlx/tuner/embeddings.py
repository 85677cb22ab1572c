"""Embeddings of examples, kept in a folder in half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from ..embedding import ImageEmbedding
from ..predictor import SamPredictor
from .examples import Example


class Embeddings:
    """Made when they are asked for first. A file's name follows from the pixels and the encoder."""

    def __init__(self, folder: Path, predictor: SamPredictor):
        self.folder, self.predictor = folder, predictor
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, example: Example, view: int = 0) -> mx.array:
        """(1, G, G, C), float32, rounded to float16."""
        fingerprint = self.predictor.fingerprint[:16]
        path = self.folder / f"{example.digest[:32]}-{view}-{fingerprint}.safetensors"
        if not path.exists():
            made = self.predictor.embed(example.pixels(view))
            replace(made, features=made.features.astype(mx.float16)).save(path)
        return ImageEmbedding.load(path).features.astype(mx.float32)
