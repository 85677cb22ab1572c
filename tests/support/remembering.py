"""Encoding takes most of the time of a server's tests: here each picture is encoded once."""

import hashlib

import mlx.core as mx
import numpy as np

from sam_mlx import Sam


def remembering(sam: Sam) -> Sam:
    """The model, whose encoding of pictures that it has had before is that of the first time."""
    encode, known = sam.encode_features, {}

    def encode_features(images):
        key = hashlib.blake2b(np.array(images)).digest(), images.shape
        if key not in known:
            known[key] = encode(images)
            mx.eval(known[key])
        return dict(known[key])

    sam.encode_features = encode_features
    return sam
