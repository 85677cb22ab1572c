"""From a path, or from tensors in memory, to a model: every step is a line of ``load``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig, check
from ..files import user_path
from ..machine.worker import apart, long_work
from ..messages import naming, printable, shown
from ..modeling.layers import quantize_linears, weights_of
from ..registry import Weights, encoder_of
from . import adapters, files, layouts
from .adjust import adjust
from .families import micro_sam, prepared, read_config, rename
from .options import LoadOptions
from .sizes import infer
from .unwrap import other_model, unwrap

MAX_LISTED = 20
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """A model as it is stored: tensors by name, and its sizes if a config.json gives them."""

    tensors: Mapping[str, files.Stored]
    config: SamConfig | None = None  # None: inferred from the tensors
    native: bool = False  # names and layout are this package's; otherwise any known ones
    source: str = "the checkpoint"  # for messages
    folder: Path | None = None  # where other packages' files say how pictures are prepared


@long_work
def load(
    build: Callable[[SamConfig], Model],
    where: Path | Checkpoint,
    options: LoadOptions,
    adapter: Path | None = None,
) -> Model:
    """A model with the weights of a folder, a file or a checkpoint in memory, all evaluated.

    build: makes an empty model of given sizes. adapter: the folder that ``options.adapter`` stands
    for. Raises FileNotFoundError, or ValueError naming the source and every misfit.
    """
    with opened(where) as found:
        native, source = found.native, found.source
        with naming(source):
            tensors = found.tensors if native else unwrap(found.tensors, source)
            files.check_size(tensors)
        weights: Weights = files.values(tensors)
    with naming(source):
        weights = weights if native else rename(weights)
        config = found.config or check(infer(weights))
    if found.folder is not None and not native and options.preprocess is None:
        config = prepared(found.folder, config)
    config, weights = adjust(config, weights, options)
    model = apart(partial(build, config))
    if not native:
        weights = encoder_of(config).fit(layouts.to_mlx(weights, model), config)
    quantize_linears(model, lambda path: f"{path}.scales" in weights)
    check_fit(weights_of(model), weights, config, source)
    if adapter is not None:
        check_finite(weights, source)
        weights = merge(weights, adapter, model, config, options)
    weights = cast(weights, options.mlx_dtype)
    check_finite(weights, source if options.dtype is None else f"{source} in {options.dtype}")
    fill(model, weights, options)
    return model


@contextmanager
def opened(where: Path | Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint at a path, whose tensors can be read within the context."""
    if isinstance(where, Checkpoint):
        yield where
        return
    where = user_path(where)
    adapters.refuse(where)
    folder = None if where.is_file() else where
    config, native = (None, False) if folder is None else read_config(folder)
    with ExitStack() as stack:
        tensors: Mapping[str, files.Stored] = stack.enter_context(files.opened(where))
        tensors = with_decoder(tensors, where, stack)
        yield Checkpoint(tensors, config, native, printable(where), folder)


def with_decoder(
    tensors: Mapping[str, files.Stored], where: Path, stack: ExitStack
) -> Mapping[str, files.Stored]:
    """A file's tensors, and those of micro-sam's second decoder if it lies beside."""
    second = micro_sam.decoder_beside(where)
    if second is None or micro_sam.decoder_apart(tensors)[0]:
        return tensors
    try:
        more = stack.enter_context(files.opened(second))
    except ValueError as error:
        warnings.warn(f"{error}; {printable(where)} is read without it", stacklevel=2)
        return tensors
    if not micro_sam.is_decoder(more):
        return tensors
    more = {name.removeprefix(f"{micro_sam.DECODER_STATE}."): x for name, x in more.items()}
    return {**tensors, **{f"{micro_sam.DECODER_STATE}.{name}": x for name, x in more.items()}}


def merge(
    weights: Weights, adapter: Path, model: nn.Module, config: SamConfig, options: LoadOptions
) -> Weights:
    """Weights with an adapter merged in. They keep their types, unless a cast follows anyway."""
    merged = adapters.merge(weights, adapter, model, config)
    if options.dtype is not None:
        return merged
    return {name: w.astype(weights[name].dtype) for name, w in merged.items()}


def fill(model: nn.Module, weights: Weights, options: LoadOptions) -> None:
    """Put weights into a model that has exactly these; each lies row by row in memory.

    Some come as views, with their axes permuted, and products of such are rounded differently.
    """
    model.load_weights([(name, mx.contiguous(w)) for name, w in weights.items()])
    if options.quantize:
        quantize_linears(model, lambda path: path.startswith("image_encoder."))
    mx.eval(model.parameters())
    model.eval()


def check_finite(weights: Weights, source: str) -> None:
    """Raise ValueError if weights are NaN or infinite: every mask would come out empty."""
    weights = {n: w for n, w in weights.items() if mx.issubdtype(w.dtype, mx.floating)}
    finite = [mx.isfinite(w).all() for w in weights.values()]
    mx.eval(finite)
    wrong = [name for name, fine in zip(weights, finite) if not fine.item()]
    if wrong:
        raise ValueError(
            f"{source} holds NaN or infinite values in {len(wrong)} tensors, such as {wrong[0]}"
        )


def check_fit(expected: Weights, weights: Weights, config: SamConfig, source: str) -> None:
    """Raise ValueError naming each tensor that is missing, unknown, or of another shape or type."""
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
        is_that = f"is a checkpoint of {other}" if other else ""
        rest = [f"and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
        raise ValueError(
            f"{source} "
            + (is_that or f"does not fit a SAM {config.variant}")
            + f"; {len(problems)} tensors differ:\n  "
            + "\n  ".join(problems[:MAX_LISTED] + rest)
        )


def cast(weights: Weights, dtype: mx.Dtype | None) -> dict[str, mx.array]:
    """Weights in another precision, except the frequencies that encode coordinates."""

    def wanted(name: str, stored: mx.Dtype) -> mx.Dtype:
        if "gaussian_matrix" in name:
            return mx.float32
        return dtype or stored if mx.issubdtype(stored, mx.floating) else stored

    return {name: w.astype(wanted(name, w.dtype)) for name, w in weights.items()}
