"""A checkpoint's tensors into a module that has exactly these."""

from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..machine.worker import at_work
from ..messages import shown
from ..modeling.layers import quantize_linears, weights_of
from ..registry import Weights, encoder_of
from . import layouts, lora
from .options import LoadOptions
from .read import Checkpoint
from .wrapping import other_model

MOST_LISTED = 20
Model = TypeVar("Model", bound=nn.Module)


@at_work
def load(
    model: Model, checkpoint: Checkpoint, options: LoadOptions, adapter: Path | None = None
) -> Model:
    """Fill ``model``, made of the checkpoint's sizes; everything is evaluated.

    adapter: the folder of the one that the options name. Raises ValueError, naming every misfit,
    when the tensors are others than the model's, and for an adapter of another base.
    """
    weights = checkpoint.weights
    if checkpoint.channels_first:
        weights = layouts.to_mlx(weights, model)
        weights = encoder_of(checkpoint.config).fit(weights, checkpoint.config)
    quantize_linears(model, lambda path: f"{path}.scales" in weights)
    check_fit(weights_of(model), weights, checkpoint)
    if adapter is not None:
        merged = lora.merge(weights, adapter, model, checkpoint.config)
        in_float32 = options.dtype is not None  # for the cast that follows
        weights = {n: w if in_float32 else w.astype(weights[n].dtype) for n, w in merged.items()}
    model.load_weights(list(cast(weights, options.mlx_dtype).items()))
    if options.quantize:
        quantize_linears(model, lambda path: path.startswith("image_encoder."))
    mx.eval(model.parameters())
    check_finite(model, checkpoint.source)
    model.eval()
    return model


def check_finite(model: nn.Module, source: str) -> None:
    """Raise ValueError where weights hold NaN or infinity: every mask would come out empty."""
    weights = {n: w for n, w in weights_of(model).items() if mx.issubdtype(w.dtype, mx.floating)}
    finite = [mx.isfinite(w).all() for w in weights.values()]
    mx.eval(finite)
    wrong = [name for name, fine in zip(weights, finite) if not fine.item()]
    if wrong:
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(wrong)} tensors, as {wrong[0]}"
        )


def check_fit(expected: Weights, weights: Weights, checkpoint: Checkpoint) -> None:
    problems = [f"missing {n} {expected[n].shape}" for n in sorted(expected.keys() - weights)]
    problems += [
        f"unknown {shown(n)} {weights[n].shape}" for n in sorted(weights.keys() - expected)
    ]
    problems += [
        f"{n} has shape {weights[n].shape}, expected {expected[n].shape}"
        for n in sorted(expected.keys() & weights)
        if weights[n].shape != expected[n].shape
    ]
    problems += [
        f"{n} has type {weights[n].dtype}, expected floats"
        for n in sorted(expected.keys() & weights)
        if mx.issubdtype(expected[n].dtype, mx.floating)
        and not mx.issubdtype(weights[n].dtype, mx.floating)
    ]
    if problems:
        other = other_model(weights)
        is_that = f"is of {other}, which is another model than SAM" if other else ""
        rest = [f"and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        raise ValueError(
            f"{checkpoint.source} "
            + (is_that or f"does not fit a SAM {checkpoint.config.variant}")
            + f", {len(problems)} tensors differ:\n  "
            + "\n  ".join(problems[:MOST_LISTED] + rest)
        )


def cast(weights: Weights, dtype: mx.Dtype | None) -> dict[str, mx.array]:
    """Weights in another precision, except the frequencies that coordinates are encoded with."""

    def wanted(name: str, stored: mx.Dtype) -> mx.Dtype:
        if "gaussian_matrix" in name:
            return mx.float32
        return dtype or stored if mx.issubdtype(stored, mx.floating) else stored

    return {name: w.astype(wanted(name, w.dtype)) for name, w in weights.items()}
