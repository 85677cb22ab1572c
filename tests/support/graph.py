"""The shapes of everything a function computes."""

from collections.abc import Callable

import mlx.core as mx


def traced_shapes(function: Callable, *arrays: mx.array) -> list[tuple[str, tuple[int, ...]]]:
    """(primitive, shape) of every array in the graph of ``function(*arrays)``; evaluates none."""
    shapes = []

    def record(event: dict) -> None:
        kind = event["type"]
        if kind == "constants":
            shapes.extend(("Constant", value.shape) for _, value in event["constants"])
        elif kind in ("inputs", "outputs", "primitive"):
            name = event.get("name", kind)
            ends = event.get("inputs", []) + event.get("outputs", [])
            shapes.extend((name, tuple(shape)) for _, shape, _ in ends)

    mx.export_function(record, function, *arrays)
    return shapes


def above_rank(
    shapes: list[tuple[str, tuple[int, ...]]], rank: int = 5
) -> list[tuple[str, tuple[int, ...]]]:
    """Shapes with more than ``rank`` axes: Core ML and iOS 17 accept five."""
    return [(name, shape) for name, shape in shapes if len(shape) > rank]
