"""nano with an instance decoder of random weights, and the comparison of instances."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from sam_mlx import Sam
from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import with_decoder


def nano_with_decoder(width: int = 4, seed: int = 0) -> Sam:
    """Its maps are noise; those of ``tests.support.drawn`` are not."""
    nano = Sam.from_pretrained("nano")
    mx.random.seed(seed)
    model = Sam(with_decoder(nano.config, InstanceDecoderConfig(width)))
    model.load_weights(list(weights_of(nano).items()), strict=False)
    mx.eval(model.parameters())
    return model


def matched(ours: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The best IoU of each expected instance with one of ours; there are as many of both."""
    assert len(np.unique(ours)) == len(np.unique(expected))
    found = []
    for label in np.unique(expected)[1:]:
        mask = expected == label
        ids, counts = np.unique(ours[mask], return_counts=True)
        best = ids[counts.argmax()]
        assert best != 0
        found.append((mask & (ours == best)).sum() / (mask | (ours == best)).sum())
    return np.array(found)
