"""Training of the instance decoder: its targets and its loss, which are micro-sam's.

Originals: ``PerObjectDistanceTransform`` and ``DiceBasedDistanceLoss`` of torch-em.
"""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten

from ..instances.maps import needed
from ..instances.segmenter import has_decoder
from ..machine.streams import lazily
from ..modeling.instance_decoder import PART, InstanceDecoderConfig
from ..modeling.layers import weights_of
from ..registry import IMAGE_EMBEDDING, with_decoder
from ..sam import Sam
from .step import Outcome
from .targets import Frame, resized

Arrays = dict[str, mx.array]

PREFIX = f"{PART}."
EPS = 1e-7  # of distances and denominators
RATE = 10  # times the learning rate of the rest: a new decoder knows nothing


def with_new_decoder(model: Sam, seed: int) -> Sam:
    """The model with an instance decoder of random weights, if it has none."""
    if has_decoder(model):
        return model
    mx.random.seed(seed)
    sizes = InstanceDecoderConfig(width=model.config.prompt_dim // 4)
    made = Sam(with_decoder(model.config, sizes))
    made.load_weights(list(weights_of(model).items()), strict=False)
    mx.eval(made.parameters())
    return made


def maps_of(masks: np.ndarray) -> np.ndarray:
    """What the decoder is to answer for objects (N, H, W): (H, W, 3), from 0 to 1.

    Foreground, the distance from the centre, and the inverted one from the boundary. Both are 1 at
    most in each object and 1 outside. Objects that touch stay apart, the smaller ones on top.
    """
    ndimage, segmentation = needed()
    labels = parts_of(masks)
    edges = segmentation.find_boundaries(labels, mode="inner")
    found = np.ones((*labels.shape, 3), np.float32)
    found[..., 0] = labels > 0
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == number
        to_edge = np.where(inside, ndimage.distance_transform_edt(~edges[box]), 0)
        innermost = np.unravel_index(to_edge.argmax(), to_edge.shape)
        y, x = np.nonzero(inside)
        centre = round(float(y.mean())), round(float(x.mean()))
        row, column = centre if inside[centre] else innermost
        far = np.hypot(y - row, x - column)
        depth = to_edge[innermost] - to_edge[inside]
        found[box][inside, 1:] = np.stack([d / (d.max() + EPS) for d in (far, depth)], axis=-1)
    return found


def parts_of(masks: np.ndarray) -> np.ndarray:
    """Labels (H, W) of the connected parts of objects (N, H, W)."""
    from skimage.measure import label

    painted = np.zeros(masks.shape[1:], np.int32)
    for number, i in enumerate(np.argsort(-masks.sum(axis=(1, 2)), kind="stable"), 1):
        painted[masks[i]] = number
    parts: np.ndarray = label(painted, connectivity=1)
    return parts


def maps_loss(maps: mx.array, truth: mx.array) -> mx.array:
    """The sum of Dice errors of three maps (3, H, W), of distances within objects alone."""
    inside = mx.concatenate([mx.ones_like(truth[:1]), truth[:1], truth[:1]])
    a, b = (inside * maps).flatten(1), (inside * truth).flatten(1)
    size = mx.maximum((a * a).sum(axis=1) + (b * b).sum(axis=1), EPS)
    return (1 - 2 * (a * b).sum(axis=1) / size).sum()


def loss_of(model: Sam, features: mx.array, masks: np.ndarray, frame: Frame) -> mx.array:
    """The loss for all objects (N, H, W) of a picture, at the frame's size."""
    truth = mx.array(maps_of(resized(masks, frame)).transpose(2, 0, 1))
    decoder: nn.Module = getattr(model, PART)
    with lazily():
        maps = decoder({IMAGE_EMBEDDING: features})[0].transpose(2, 0, 1)
    return maps_loss(frame.enlarge(maps), truth)


def train_along(
    model: Sam, parameters: Arrays, features: mx.array, masks: np.ndarray, frame: Frame
) -> Outcome:
    """The loss of the decoder, and gradients of its weights, which are given by name, and of the
    features (1, G, G, C).
    """

    def run(values: Arrays, features: mx.array) -> mx.array:
        model.update(tree_unflatten(list(values.items())))
        return loss_of(model, features, masks, frame)

    loss, (weights, cotangent) = mx.value_and_grad(run, argnums=(0, 1))(parameters, features)
    mx.eval(loss, weights, cotangent)
    model.update(tree_unflatten(list(parameters.items())))
    return Outcome(float(np.array(loss)), weights, cotangent)


def both(prompts: Outcome, maps: Outcome) -> Outcome:
    return replace(
        prompts,
        loss=prompts.loss + maps.loss,
        gradients=prompts.gradients | maps.gradients,
        cotangent=prompts.cotangent + maps.cotangent,
    )
