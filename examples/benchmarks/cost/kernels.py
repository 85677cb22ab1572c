"""The kernels that a recorded graph becomes on Metal, with the bytes and products of each.

Views cost nothing, every other primitive is one kernel or a few. Which is which, and which layouts
a primitive accepts without a copy, follows MLX's Metal backend (read in 0.32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

from .record import ALIAS, Recording

HEAD_DIMS = (64, 72, 80, 96, 128)  # of MLX's fused attention
MAX_VECTOR_QUERIES = 8  # up to which it takes another kernel
TILE = 16  # of products whose sum is split among groups
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Array:
    """A view of a buffer. Strides are in elements; 0 where an axis is broadcast."""

    shape: Shape
    strides: Shape
    itemsize: int
    buffer: str

    @classmethod
    def new(cls, name: str, shape: Sequence[int], itemsize: int) -> Array:
        return cls(tuple(shape), row_major(shape), itemsize, name)

    @property
    def stored(self) -> int:
        """How many elements are in memory."""
        return prod(n for n, step in zip(self.shape, self.strides) if step != 0 or n == 1)

    @property
    def nbytes(self) -> int:
        return self.stored * self.itemsize

    @property
    def is_row_major(self) -> bool:
        steps = zip(self.shape, self.strides, row_major(self.shape))
        return all(n == 1 or step == expected for n, step, expected in steps)

    def view(self, shape: Sequence[int], strides: Sequence[int]) -> Array:
        return Array(tuple(shape), tuple(strides), self.itemsize, self.buffer)


@dataclass(frozen=True)
class Kernel:
    kind: str  # a key of ``chips.EFFICIENCY``
    name: str
    inputs: tuple[Array, ...]
    result: Array
    read: int  # bytes
    written: int
    flops: int = 0
    launches: int = 1
    product: tuple[int, int, int, int] | None = None  # number, rows, columns, terms
    rows: tuple[int, int] | None = None  # number and length, of a softmax


@dataclass(frozen=True)
class Step:
    """One evaluation: the kernels that it adds, and the buffers that it is for."""

    kernels: list[Kernel]
    ends: list[str]
    waits: bool
    reads: bool


def row_major(shape: Sequence[int]) -> Shape:
    return tuple(accumulate(reversed(tuple(shape)[1:]), lambda a, b: a * b, initial=1))[::-1]


def reshaped(x: Array, shape: Sequence[int]) -> Array | None:
    """The view that a reshape is, or None if it has to copy."""
    if x.is_row_major:
        return x.view(shape, row_major(shape))
    axes: list[list[int]] = []  # of x, neighbours that are one axis in memory joined
    for n, step in zip(x.shape, x.strides):
        if axes and step * n == axes[-1][1]:
            axes[-1] = [axes[-1][0] * n, step]
        elif n != 1:
            axes.append([n, step])
    strides: list[int] = []
    for n in shape:
        if axes and axes[0][0] % n == 0:
            axes[0][0] //= n
            strides.append(axes[0][0] * axes[0][1])
            if axes[0][0] == 1:
                axes.pop(0)
        elif n == 1:
            strides.append(strides[-1] if strides else 1)
        else:
            return None
    return x.view(shape, strides)


def broadcast(x: Array, shape: Sequence[int]) -> Array:
    missing = len(shape) - len(x.shape)
    strides = [
        0 if i < missing or x.shape[i - missing] != n else x.strides[i - missing]
        for i, n in enumerate(shape)
    ]
    return x.view(shape, strides)


def expanded(x: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    rest = iter(x.strides)
    return x.view(shape, [1 if i in axes else next(rest) for i in range(len(shape))])


def squeezed(x: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    return x.view(shape, [step for i, step in enumerate(x.strides) if i not in axes])


# By primitive, from its first input, the result's shape and the primitive's arguments.
VIEWS: dict[str, Callable[[Array, Shape, list], Array | None]] = {
    "Broadcast": lambda x, shape, _: broadcast(x, shape),
    "BroadcastAxes": lambda x, shape, _: broadcast(x, shape),
    "Transpose": lambda x, shape, given: x.view(shape, [x.strides[i] for i in given[0]]),
    "Reshape": lambda x, shape, _: reshaped(x, shape),
    "Flatten": lambda x, shape, _: reshaped(x, shape),
    "Unflatten": lambda x, shape, _: reshaped(x, shape),
    "ExpandDims": lambda x, shape, given: expanded(x, shape, given[0]),
    "Squeeze": lambda x, shape, given: squeezed(x, shape, given[0]),
    "Slice": lambda x, shape, given: x.view(shape, [a * b for a, b in zip(x.strides, given[2])]),
    "Split": lambda x, shape, _: x.view(shape, x.strides),
    "Copy": lambda x, shape, _: x,
    "StopGradient": lambda x, shape, _: x,
    ALIAS: lambda x, shape, _: x,
}

Found = tuple[list[Kernel], Array]


def simple(kind: str) -> Callable[[str, list[Array], Array, list], Found]:
    """A kernel that reads its inputs once and writes its result once."""

    def kernels(name: str, inputs: list[Array], out: Array, given: list) -> Found:
        read = sum(x.nbytes for x in inputs if x.stored > 1)
        return [Kernel(kind, name, tuple(inputs), out, read, out.nbytes)], out

    return kernels


def elementwise(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    """Flat over memory if all inputs have one layout, which is then the result's, too."""
    large = [x for x in inputs if x.stored > 1]
    layouts = {x.strides for x in large}
    scattered = [x for x in large if not x.is_row_major]
    whole = all(step for x in scattered for step, n in zip(x.strides, x.shape) if n > 1)
    flat = not scattered or (len(layouts) == 1 and whole)
    if scattered and flat:
        out = out.view(out.shape, scattered[0].strides)
    return simple("flat" if flat else "strided")(name, inputs, out, given)


def copies(name: str, inputs: list[Array], wanted: Callable[[Array], bool]) -> list[Kernel]:
    """Of the inputs whose layout a kernel cannot read."""
    found = []
    for x in inputs:
        if not wanted(x):
            copy = Array.new(f"{x.buffer}, for {name}", x.shape, x.itemsize)
            found.append(Kernel("strided", f"copy for {name}", (x,), copy, x.nbytes, copy.nbytes))
    return found


def product(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    a, b = inputs[:2]
    (M, K), N, batch = a.shape[-2:], b.shape[-1], prod(out.shape[:-2])
    before = copies(name, [a, b], lambda x: 1 in x.strides[-2:])
    is_shared = len(b.shape) == 2 or not any(b.strides[:-2]) or prod(b.shape[:-2]) == 1
    rows, number = (M * batch, 1) if is_shared and a.is_row_major else (M, batch)
    tiles = -(-rows // TILE) * -(-N // TILE)
    is_split = number == 1 and tiles <= 1024 and max(8 * TILE, rows, N) <= K
    kernel = Kernel(
        "product",
        name,
        tuple(inputs),
        out,
        sum(x.nbytes for x in inputs),
        out.nbytes,
        2 * batch * M * N * K,
        launches=2 if is_split else 1,
        product=(number, rows, N, K),
    )
    return [*before, kernel], out


def convolution(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    x, weight = inputs[:2]
    channels, height, width, terms = weight.shape
    flops = 2 * prod(out.shape) * height * width * terms
    kind = "depthwise" if terms == 1 and channels == x.shape[-1] else "convolution"
    read = x.nbytes + weight.nbytes
    return [Kernel(kind, name, tuple(inputs), out, read, out.nbytes, flops)], out


def softmax(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    rows = prod(out.shape[:-1]), out.shape[-1]
    (x,) = inputs
    return [Kernel("softmax", name, (x,), out, x.nbytes, out.nbytes, rows=rows)], out


def normalised(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    before = copies(name, inputs[:1], lambda x: x.is_row_major)
    return [*before, Kernel("norm", name, tuple(inputs), out, out.nbytes, out.nbytes)], out


def attention(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    q, k, v, *mask = inputs
    N, heads, T, d = q.shape
    keys = k.shape[2]
    if d not in HEAD_DIMS or T <= MAX_VECTOR_QUERIES:
        return unfused_attention(inputs, out)
    padded = -(-T // 32) * 32 * -(-keys // 32) * 32
    read = sum(x.nbytes for x in inputs)
    flops = 4 * N * heads * padded * d
    # Its result is laid out as (N, T, heads, d).
    out = out.view(out.shape, (T * heads * d, d, heads * d, 1))
    return [
        Kernel("attention", f"{name}, {d} a head", tuple(inputs), out, read, out.nbytes, flops)
    ], out


def unfused_attention(inputs: list[Array], out: Array) -> Found:
    q, k, v, *mask = inputs
    N, heads, T, d = q.shape
    keys = k.shape[2]
    scaled = Array.new(f"{out.buffer}, scaled", q.shape, q.itemsize)
    scores = Array.new(f"{out.buffer}, scores", (N, heads, T, keys), q.itemsize)
    shape, flops = (N * heads, T, keys, d), 2 * N * heads * T * keys * d
    reads = scaled.nbytes + k.nbytes
    found = [Kernel("flat", "scaled queries", (q,), scaled, q.nbytes, scaled.nbytes)]
    found += [
        Kernel("product", "scores", (scaled, k), scores, reads, scores.nbytes, flops, product=shape)
    ]
    for x in mask:
        read = scores.nbytes + x.nbytes
        found.append(Kernel("strided", "mask", (scores, x), scores, read, scores.nbytes))
    found += softmax("softmax of scores", [scores], scores, [])[0]
    reads, shape = scores.nbytes + v.nbytes, (N * heads, T, d, keys)
    last = Kernel("product", "values", (scores, v), out, reads, out.nbytes, flops, product=shape)
    return [*found, last], out


def pad(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    x = inputs[0]
    fill = Kernel("strided", "fill of Pad", (), out, 0, out.nbytes)
    return [fill, Kernel("strided", name, (x,), out, x.nbytes, x.nbytes)], out


def concatenate(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    parts = [x for x in inputs if prod(x.shape)]
    found = [
        Kernel("strided", name, (x,), out, x.nbytes, prod(x.shape) * x.itemsize) for x in parts
    ]
    return found, out


def gather(name: str, inputs: list[Array], out: Array, given: list) -> Found:
    return [Kernel("strided", name, tuple(inputs), out, out.nbytes, out.nbytes)], out


COSTS: dict[str, Callable[[str, list[Array], Array, list], Found]] = {
    "Matmul": product,
    "AddMM": product,
    "Convolution": convolution,
    "Softmax": softmax,
    "Pad": pad,
    "Concatenate": concatenate,
    "Gather": gather,
    "GatherAxis": gather,
    "Reduce": simple("reduce"),
    "ArgReduce": simple("reduce"),
    "layer_norm": normalised,
    "attention": attention,
    "contiguous": simple("strided"),
}


class Graph:
    """Arrays of a recording by name, found primitive after primitive."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.arrays: dict[str, Array] = {}
        self.makers: dict[str, dict] = {}
        self.given: set[str] = set()  # buffers that are not made by a kernel
        self.order: dict[int, int] = {}
        self.done: set[int] = set()
        for i, event in enumerate(recording.events):
            self.add(i, event)

    def add(self, i: int, event: dict) -> None:
        if event["type"] == "primitive":
            self.order[id(event)] = i
            self.makers |= {name: event for name, *_ in event["outputs"]}
        for name, shape, dtype in event["inputs"] if event["type"] == "inputs" else ():
            self.arrays[name] = Array.new(name, shape, dtype.size)
            self.given.add(name)
        for name, value in event.get("constants", ()):
            self.arrays[name] = Array.new(name, value.shape, value.dtype.size)
            self.given.add(name)

    def steps(self) -> list[Step]:
        found = []
        for evaluation in self.recording.evaluations:
            ends = self.recording.ends(evaluation)
            kernels = [kernel for event in self.needed(ends) for kernel in self.kernels(event)]
            buffers = [self.arrays[name].buffer for name in ends]
            found.append(Step(kernels, buffers, evaluation.waits, evaluation.reads))
        return found

    def needed(self, names: list[str]) -> list[dict]:
        """Primitives behind these arrays that no earlier evaluation needed, in their order."""
        found, left = [], list(names)
        while left:
            event = self.makers.get(left.pop())
            if event is not None and id(event) not in self.done:
                self.done.add(id(event))
                found.append(event)
                left += [name for name, *_ in event["inputs"]]
        return sorted(found, key=lambda event: self.order[id(event)])

    def kernels(self, event: dict) -> list[Kernel]:
        given = event.get("arguments", [])
        name = event["name"] if event["name"] != "CustomKernel" else marker_name(given)
        inputs = [self.arrays[name] for name, *_ in event["inputs"]]
        if name == "Depends":
            self.arrays |= {out: x for (out, *_), x in zip(event["outputs"], inputs)}
            return []
        found = []
        for out, shape, dtype in event["outputs"]:
            kernels, array = made(name, inputs, Array.new(out, shape, dtype.size), given)
            self.arrays[out] = array
            found += kernels
        return found


def made(name: str, inputs: list[Array], out: Array, given: list[Any]) -> Found:
    if name in VIEWS:
        view = VIEWS[name](inputs[0], out.shape, given)
        return ([], view) if view is not None else simple("strided")(name, inputs, out, given)
    return COSTS.get(name, elementwise)(name, inputs, out, given)


def marker_name(given: list[Any]) -> str:
    """``record.marker``'s name, from the arguments of MLX's primitive."""
    text = next(x for x in given if isinstance(x, str))
    return next(
        name for name in (ALIAS, "gelu", *COSTS) if text.startswith(f"custom_kernel_{name}_")
    )
