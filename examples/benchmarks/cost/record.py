"""What a function would have a GPU do: its evaluations, and the graph behind each, none computed.

MLX hands over a graph with shapes while it exports a function (``mx.export_function``), but lets
nothing be evaluated meanwhile. So evaluations are noted instead, and what the function reads into
numpy comes from a rehearsal: a run on this machine that computes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from sam_mlx.machine import budget, streams
from sam_mlx.machine.budget import Budget
from sam_mlx.modeling import ops

ALIAS = "alias"  # a marker that stands for its input
READERS = ((np, "array"), (np, "asarray"), (mx.array, "item"), (mx.array, "tolist"))


@dataclass
class Recording:
    """The exported graph, and the evaluations in order, each as the names of its arrays there."""

    events: list[dict]
    evaluations: list[Evaluation]
    names: list[str] = field(init=False)  # of all arrays that are evaluated

    def __post_init__(self) -> None:
        outputs = next(event for event in self.events if event["type"] == "outputs")["outputs"]
        self.names = [name for name, *_ in outputs]

    def ends(self, evaluation: Evaluation) -> list[str]:
        return [self.names[i] for i in evaluation.arrays]


@dataclass(frozen=True)
class Evaluation:
    arrays: range  # of the exported function's outputs
    waits: bool  # until they are computed
    reads: bool  # one array into numpy


@contextmanager
def patched(*changes: tuple[object, str, Any]) -> Iterator[None]:
    """Attributes replaced, each given as its owner, its name and the new value."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@contextmanager
def as_on_a_gpu(memory: int) -> Iterator[None]:
    """The forms and the budget of a GPU that may use that many bytes."""
    plain = ops.plain_forms_only()
    info = {"max_recommended_working_set_size": memory, "memory_size": memory * 3 // 2}
    gpu = mx.Device(mx.gpu)
    streams.enter()
    with patched((mx, "device_info", lambda *_: info), (streams, "on_cpu", lambda: False)):
        ops.use_plain_forms()
        budget.use(Budget.of(gpu))
        try:
            yield
        finally:
            budget.use(None)
            ops.use_plain_forms(plain)


class Notes:
    """Evaluations and reads of a function that is rehearsed, or recorded with values to replay."""

    def __init__(self, values: list[Any] | None = None):
        self.rehearsed: list[Any] = []
        self.values = None if values is None else iter(values)
        self.arrays: list[mx.array] = []
        self.evaluations: list[Evaluation] = []

    def note(self, arrays: Any, waits: bool = True, reads: bool = False) -> None:
        start = len(self.arrays)
        self.arrays += [x for _, x in tree_flatten(arrays) if isinstance(x, mx.array)]
        self.evaluations.append(Evaluation(range(start, len(self.arrays)), waits, reads))

    def reader(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """``read`` that keeps what it reads of an MLX array, or replays it."""

        def run(x: Any, *rest: Any, **named: Any) -> Any:
            if not isinstance(x, mx.array):
                return read(x, *rest, **named)
            if self.values is None:
                value = read(x, *rest, **named)
                self.rehearsed.append(value.copy() if isinstance(value, np.ndarray) else value)
                return value
            self.note([x], reads=True)
            value = next(self.values)
            if isinstance(value, np.ndarray):
                assert value.shape == x.shape, "the recording differs from its rehearsal"
                return value.copy()
            return value

        return run

    @contextmanager
    def listening(self) -> Iterator[None]:
        changes = [(owner, name, self.reader(getattr(owner, name))) for owner, name in READERS]
        if self.values is not None:
            changes += [(mx, "eval", lambda *x: self.note(list(x)))]
            changes += [(mx, "async_eval", lambda *x: self.note(list(x), waits=False))]
            changes += markers()
        with patched(*changes):
            yield


def rehearse(function: Callable[[], object]) -> list[Any]:
    """Compute it here; returns what it reads into numpy, in order."""
    notes = Notes()
    with notes.listening():
        function()
    return notes.rehearsed


def record(function: Callable[..., object], *arrays: mx.array, values: list[Any]) -> Recording:
    """Record ``function(*arrays)``: of the arrays only shapes and types count, and they are not
    computed. What it returns is evaluated last.

    values: of its rehearsal; empty if it reads nothing.
    """
    notes = Notes(values)

    def run(*inputs: mx.array) -> list[mx.array]:
        with notes.listening():
            notes.note(function(*inputs))
        return notes.arrays

    events: list[dict] = []
    mx.export_function(events.append, run, *arrays)
    return Recording(events, notes.evaluations)


_numbers = count()


def marker(name: str, inputs: list[mx.array], shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """One primitive in the graph, never run. Numbered, as MLX would merge equal ones."""
    names = [f"x{i}" for i in range(len(inputs))]
    kernel = mx.fast.metal_kernel(
        name=f"{name}_{next(_numbers)}_",
        input_names=names,
        output_names=["out"],
        source="out[0] = 0;",
        ensure_row_contiguous=False,
    )
    size = {"grid": (1, 1, 1), "threadgroup": (1, 1, 1)}
    return kernel(inputs=inputs, output_shapes=[shape], output_dtypes=[dtype], **size)[0]


def alias(x: mx.array) -> mx.array:
    """The same array under another name, so that MLX merges nothing that is computed from it."""
    return marker(ALIAS, [x], x.shape, x.dtype)


def markers() -> list[tuple[object, str, Any]]:
    """Functions that are one kernel on a GPU, and whose graph elsewhere is of several."""

    def layer_norm(x, weight, bias, eps, stream=None):
        return marker(
            "layer_norm", [x, *(w for w in (weight, bias) if w is not None)], x.shape, x.dtype
        )

    def attention(q, k, v, *, scale, mask=None, stream=None):
        inputs = [q, k, v]
        if mask is not None:
            inputs.append(mx.broadcast_to(mask.astype(q.dtype), (*q.shape[:3], k.shape[2])))
        return marker("attention", inputs, (*q.shape[:3], v.shape[-1]), q.dtype)

    def one_kernel(name: str) -> Callable[..., mx.array]:
        return lambda x, *_, **__: marker(name, [x], x.shape, x.dtype)

    return [
        (mx.fast, "layer_norm", layer_norm),
        (mx.fast, "scaled_dot_product_attention", attention),
        (mx, "contiguous", one_kernel("contiguous")),
        (nn, "gelu", one_kernel("gelu")),
    ]
