"""Prompts through the model's decoder, as many at a time as the budget of memory allows.

Prompts of one kind are put together, each kind goes to the decoder in parts, and the answers come
back in the prompts' order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import mlx.core as mx
import numpy as np

from .arrays import are_finite
from .config import SamConfig
from .machine.budget import budget, even_parts
from .machine.streams import spread, width
from .machine.worker import at_work
from .modeling.layers import weights_of
from .prompts import Prompt, stack
from .registry import IMAGE_EMBEDDING, Features, mask_decoder_of
from .sam import Sam

Answers = tuple[mx.array, mx.array]  # logits (B, M, n, n) and predicted IoU (B, M)


def decode_prompts(
    model: Sam,
    features: Features,
    prompts: Sequence[Prompt],
    multimask_output: bool | None,
    hq_token_only: bool = False,
) -> Answers:
    """Answers to B prompts of any kinds on an image with these features (1, G, G, C)."""
    if not prompts:
        M = mask_decoder_of(model.config).masks(model.config, multimask_output)
        return no_answers(model.config, M)
    kinds: dict[tuple[int, bool, bool], list[int]] = {}
    for i, prompt in enumerate(prompts):
        kinds.setdefault(prompt.kind, []).append(i)
    answers: dict[int, Answers] = {}
    for kind, members in kinds.items():
        asked = members if any(kind) else members[:1]  # empty prompts share one answer
        stacked = stack([prompts[i] for i in asked])
        found = zip(*decode_in_parts(model, features, *stacked, multimask_output, hq_token_only))
        answers |= zip(members, found if any(kind) else cycle(found))
    logits, scores = zip(*(answers[i] for i in range(len(prompts))))
    return mx.stack(list(logits)), mx.stack(list(scores))


def check_finite(model: Sam, features: Features | None, *answers: np.ndarray | mx.array) -> None:
    """Raise ValueError, with the likeliest reason, for answers with NaN or infinite values.

    features: those of the image to which the answers belong; None for answers of the encoder.
    """
    if not all_finite(answers):
        raise ValueError(not_finite(model, features))


def all_finite(answers: Iterable[np.ndarray | mx.array]) -> bool:
    """True if no array holds NaN or an infinity."""
    # A sum is finite if all values are, and overflows for none that a model gives.
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(float(total(x))) for x in answers)


def not_finite(model: Sam, features: Features | None) -> str:
    """What is wrong, and the likeliest reason."""
    return f"the model's answer holds NaN or infinite values: {why(model, features)}"


def total(x: np.ndarray | mx.array) -> Any:
    """The sum of all values; NaN or infinite if one of them is."""
    return x.astype(mx.float32).sum().item() if isinstance(x, mx.array) else x.sum()


@at_work
def why(model: Sam, features: Features | None) -> str:
    """The likeliest reason for NaN and infinities in a model's answers."""
    if not are_finite(weights_of(model).values()):
        return "so do its weights; load a sound file"
    if features and not are_finite(features.values()):
        return "so does the image embedding; embed the image again"
    if model.dtype == mx.float16:
        return "float16 is too small for it; load the model with dtype='float32' or 'bfloat16'"
    if features is None:
        return "the model's preprocessing is likely out of proportion"
    return "the prompt is likely out of proportion, as a mask_input of other values than logits"


def no_answers(config: SamConfig, M: int) -> Answers:
    """The answers to no prompts, with M masks each."""
    n = config.mask_size
    return mx.zeros((0, M, n, n)), mx.zeros((0, M))


def decode_in_parts(
    model: Sam,
    features: mx.array | Features,
    points: tuple[mx.array, mx.array] | None = None,
    boxes: mx.array | None = None,
    masks: mx.array | None = None,
    multimask_output: bool | None = True,
    hq_token_only: bool = False,
) -> Answers:
    """``Sam.decode``, evaluated a few prompts at a time."""
    B = next((len(p) for p in (points and points[0], boxes, masks) if p is not None), 1)
    features = model.features_of(features)
    image_pe = model.prompt_encoder.kept_dense_pe()

    def decode(part: slice) -> Answers:
        return model.decode(
            features,
            points and (points[0][part], points[1][part]),
            None if boxes is None else boxes[part],
            None if masks is None else masks[part],
            multimask_output,
            image_pe,
            hq_token_only,
        )

    tokens = 0 if points is None else points[1].shape[1]
    embedding = features[IMAGE_EMBEDDING]
    cells = embedding.shape[1] * embedding.shape[2]
    scores = 4 * model.config.decoder_heads * tokens * (tokens + cells)  # of attention, bytes
    bytes_per_value = mask_decoder_of(model.config).bytes_per_value
    return in_parts(decode, B, bytes_per_value * embedding.size + scores)


def in_parts(decode: Callable[[slice], Answers], B: int, bytes_each: int) -> Answers:
    """Answers to B prompts, evaluated as many at a time as fit the budget of the decoder.

    decode: answers a part of the prompts. bytes_each: memory that a prompt takes.
    """
    at_once = budget().decoder_bytes // width() // bytes_each
    at_once = min(at_once, -(-B // width()))
    if width() == 1:
        parts = even_parts(B, at_once)
    else:  # as ever: on a CPU the last bits depend on how many there are
        at_once = max(1, at_once)
        parts = [slice(i, i + at_once) for i in range(0, B, at_once)]
    tasks = [partial(decode, part) for part in parts]
    logits, scores = zip(*spread(tasks, evaluate=True))
    return mx.concatenate(list(logits)), mx.concatenate(list(scores))
