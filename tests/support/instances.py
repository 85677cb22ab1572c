"""nano with an instance decoder of random weights, and the comparison of instances."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from PIL import Image

from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.instances.maps import InstanceMaps
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


def coin_maps(model: Sam, coins: np.ndarray) -> InstanceMaps:
    """Maps of the coins as a trained decoder would make them, from nano's own masks."""
    from scipy import ndimage

    generator = SamAutomaticMaskGenerator(model, points_per_side=12, pred_iou_thresh=0.85)
    generator.stability_score_thresh = 0.9
    embedding = SamPredictor(model).embed(coins)
    inner = np.zeros(coins.shape[:2])
    for record in generator.generate(embedding):
        if record["area"] < 5000:
            distance = ndimage.distance_transform_edt(record["segmentation"])
            inner = np.maximum(inner, distance / distance.max())
    foreground = (inner > 0).astype(np.float32)
    return InstanceMaps(foreground, *(np.float32(1 - inner),) * 2, embedding)


class Drawing(nn.Module):
    """A decoder that draws the maps of one picture, whatever it is given."""

    def __init__(self, maps: InstanceMaps, image_size: int):
        super().__init__()
        drawn = (maps.foreground, maps.center_distances, maps.boundary_distances)
        square = (image_size, image_size)
        scaled = [Image.fromarray(m).resize(square, Image.Resampling.BILINEAR) for m in drawn]
        self._maps = mx.array(np.stack([np.array(m) for m in scaled], axis=2))[None]

    def __call__(self, features: object) -> mx.array:
        return self._maps


def nano_that_knows_coins(coins: np.ndarray) -> Sam:
    """nano with a decoder that draws the maps of the coins, a square picture."""
    model = nano_with_decoder()
    model.instance_decoder = Drawing(coin_maps(model, coins), model.config.image_size)
    mx.eval(model.instance_decoder._maps)
    return model


class Seeing(nn.Module):
    """A decoder that draws the maps of the discs in the picture that it was shown last."""

    def __init__(self, image_size: int, ground: int):
        super().__init__()
        self._size, self._ground = image_size, ground

    def see(self, pixels: np.ndarray) -> None:
        """Take a picture (H, W, 3) of discs on a ground of one value."""
        from scipy import ndimage

        height, width = (
            max(1, round(n * self._size / max(pixels.shape))) for n in pixels.shape[:2]
        )
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        inside = np.pad(
            (np.array(small).astype(int) - self._ground).max(axis=2) > 25,
            ((0, self._size - height), (0, self._size - width)),
        )
        distance = ndimage.distance_transform_edt(inside)
        labels, count = ndimage.label(inside)
        most = np.array([1, *ndimage.maximum(distance, labels, range(1, count + 1))])
        far = 1 - distance / most[labels]
        self._maps = mx.array(np.stack([inside, far, far], axis=2).astype(np.float32))[None]

    def __call__(self, features: object) -> mx.array:
        return self._maps


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
