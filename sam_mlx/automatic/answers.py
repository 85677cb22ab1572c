"""The model's answers to a batch of points: begun, and waited for later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import numpy as np

from .. import transforms
from ..decoding import check_finite, decode_in_parts
from ..embedding import ImageEmbedding
from ..machine.worker import at_work
from ..modeling.prompt_encoder import FOREGROUND
from ..sam import Sam
from .selection import above

Answers = tuple[mx.array, np.ndarray, np.ndarray]  # logits, predicted IoU, index of the point


@at_work
def begin(model: Sam, embedding: ImageEmbedding, points: np.ndarray) -> Callable[[float], Answers]:
    """Have the model answer points (B, 2), x, y in pixels of the embedded picture; returns what
    waits for the answers (``answers_above``).
    """
    coords = transforms.scale_coords(points, embedding.original_size, embedding.input_size)
    logits, iou = decode_in_parts(
        model,
        embedding.named_features,
        (mx.array(coords.astype(np.float32))[:, None], mx.full((len(points), 1), FOREGROUND)),
    )
    # A sum is finite if all values are. One array, as a GPU hands each over at a price.
    figures = mx.stack([iou.astype(mx.float32), logits.astype(mx.float32).sum(axis=(-2, -1))])
    mx.async_eval(logits, figures)
    return partial(answers_above, model, embedding, logits, figures)


@at_work
def answers_above(
    model: Sam, embedding: ImageEmbedding, logits: mx.array, figures: mx.array, keep_iou: float
) -> Answers:
    """Of a model's answers (B, M, n, n), those whose predicted IoU is above a threshold: logits
    (N, n, n), predicted IoU (N,) and index of the point (N,).

    figures: (2, B, M), predicted IoU and the sum of the logits.
    """
    _, B, M = figures.shape
    scores, sums = np.array(figures).reshape(2, -1)
    keep = above(scores, keep_iou)
    logits = logits.flatten(0, 1)[mx.array(keep)]
    mx.eval(logits)
    check_finite(model, embedding.named_features, scores, sums[keep])
    return logits, scores[keep], np.repeat(np.arange(B), M)[keep]
