"""One step of training on one picture: prompts, corrective clicks, losses, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from ..machine.streams import lazily
from ..registry import IMAGE_EMBEDDING
from ..sam import Sam
from .losses import actual_iou, dice_loss, mask_loss
from .prompts import Prompts, corrections, first_prompts
from .targets import Frame, resized, shares

Arrays = dict[str, mx.array]

MAX_CELLS = 1 << 18  # of the logits of objects at once: 1.8 GB in ViT-B, all 8 of nano's
MASK_PROBABILITY = 0.5  # with which a round is given the mask of the one before


@dataclass(frozen=True)
class Truth:
    """Objects of a picture, as masks are compared with them."""

    frame: Frame
    masks: np.ndarray  # (B, H, W), bool, at the frame's size

    cells: np.ndarray  # (B, n, n): the share of each cell of the logits that is set

    @classmethod
    def of(cls, masks: np.ndarray, frame: Frame) -> Truth:
        """Masks (B, H, W) of the picture's size."""
        return cls(frame, resized(masks, frame), shares(masks, frame))


def answer(
    model: Sam,
    features: mx.array,
    image_pe: mx.array,
    prompts: Prompts,
    frame: Frame,
    masks: mx.array | None,
) -> tuple[mx.array, mx.array]:
    """All outputs for prompts on one picture: logits (B, 1 + M, n, n), predicted IoU (B, 1 + M).

    features: (1, G, G, C); masks: logits (B, 1, n, n) of an earlier answer.
    """
    coords, labels = prompts.tokens()
    tokens = mx.array(frame.to_input(coords)), mx.array(labels)
    sparse, valid = model.prompt_encoder.embed_tokens(*tokens)
    dense = model.prompt_encoder.embed_masks(masks)
    return model.mask_decoder(
        {IMAGE_EMBEDDING: features}, image_pe, sparse, valid, dense, multimask_output=None
    )


def counted(prompts: Prompts, outputs: int) -> mx.array:
    """Which outputs count, (B, 1 + M): the M of an ambiguous prompt, the single one otherwise."""
    is_multimask = np.arange(outputs) > 0
    return mx.array(prompts.are_ambiguous[:, None] == is_multimask)


def round_loss(
    answers: tuple[mx.array, mx.array], allowed: mx.array, truth: tuple[mx.array, mx.array],
    frame: Frame,
) -> tuple[mx.array, mx.array]:  # fmt: skip
    """The loss of a round, and the logits (B, 1, n, n) of the best of the outputs that count.

    Only the best one's mask is trained (SAM paper, section 3), and the predicted IoU of all.
    """
    (logits, predicted), (cells, masks) = answers, truth
    known = mx.stop_gradient(logits)
    best = mx.where(allowed, mask_loss(known, cells), mx.inf).argmin(axis=1, keepdims=True)
    chosen = mx.take_along_axis(logits, best[..., None, None], axis=1)  # (B, 1, n, n)
    coarse = mask_loss(chosen, cells)[:, 0]
    fine = dice_loss(mx.sigmoid(frame.enlarge(chosen[:, 0])).flatten(1), masks.flatten(1))
    found = frame.enlarge(known) > Sam.mask_threshold
    actual = actual_iou(found.flatten(2), masks.flatten(1)[:, None])
    errors = mx.where(allowed, (predicted - actual) ** 2, 0).sum(axis=1) / allowed.sum(axis=1)
    return (coarse + fine + errors).mean(), chosen


@dataclass(frozen=True)
class Outcome:
    """What one picture gives a step: means over its rounds."""

    loss: float
    gradients: Arrays  # of the decoder's weights
    cotangent: mx.array  # the gradient of the features

    def plus(self, loss: mx.array, gradients: Arrays, cotangent: mx.array, share: float) -> Outcome:
        """With another round, which counts for a share."""
        total = {name: g + share * gradients[name] for name, g in self.gradients.items()}
        cotangent = self.cotangent + share * cotangent
        mx.eval(loss, total, cotangent)
        return Outcome(self.loss + float(np.array(share * loss)), total, cotangent)


def train_on(
    model: Sam,
    parameters: Arrays,
    features: mx.array,
    truth: Truth,
    clicks: int,
    rng: np.random.Generator,
) -> Outcome:
    """A first prompt for each object, then corrective clicks, some with the mask fed back.

    parameters: the decoder's weights by name, which gradients are wanted of.
    """
    frame, B = truth.frame, len(truth.masks)
    most = max(1, MAX_CELLS // model.config.mask_size**2)
    parts = [slice(i, min(i + most, B)) for i in range(0, B, most)]
    image_pe = model.prompt_encoder.get_dense_pe()

    def run(
        values: Arrays, features: mx.array, prompts: Prompts, masks: mx.array | None, part: slice
    ) -> tuple[mx.array, mx.array]:
        model.update(tree_unflatten(list(values.items())))
        answers = answer(model, features, image_pe, prompts, frame, masks)
        given = mx.array(truth.cells[part]), mx.array(truth.masks[part])
        return round_loss(answers, counted(prompts, answers[1].shape[1]), given, frame)

    differentiate = mx.value_and_grad(run, argnums=(0, 1))
    prompts, masks = first_prompts(truth.masks, rng), None
    outcome = Outcome(
        0.0, {name: mx.zeros_like(w) for name, w in parameters.items()}, mx.zeros_like(features)
    )
    for number in range(1 + clicks):
        best = []
        for part in parts:
            given = prompts.part(part), None if masks is None else masks[part], part
            with lazily():
                (loss, some), (weights, cotangent) = differentiate(parameters, features, *given)
            share = (part.stop - part.start) / B / (1 + clicks)
            outcome = outcome.plus(loss, weights, cotangent, share)
            best.append(some)
        chosen = mx.concatenate(best)
        if number < clicks:
            found = np.array(frame.enlarge(chosen[:, 0]) > Sam.mask_threshold)
            prompts = prompts.with_points(*corrections(found, truth.masks, rng))
            masks = chosen if rng.random() < MASK_PROBABILITY else None
    model.update(tree_unflatten(list(parameters.items())))
    return outcome
