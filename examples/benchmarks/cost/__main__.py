"""What the model costs a GPU, counted without one: its form for GPUs is traced, not run.

    python -m examples.benchmarks.cost --model vit_b --dtype float16

Prints launches, evaluations, bytes, and the times that named chips would take at least. The same on
every machine. See ``record``, ``kernels``, ``memory`` and ``chips`` for how it is counted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import mlx.core as mx

from sam_mlx.registry import VARIANTS

from .chips import CHIPS, Chip, floors, total_seconds
from .kernels import Graph, Step
from .memory import bytes_alive
from .record import as_on_a_gpu
from .work import Setting, Work, works

WORKING_SHARE = 2 / 3  # of a Mac's memory that its GPU may use


@dataclass(frozen=True)
class Cost:
    """Counts of one row. Bytes and operations as they are, not in millions."""

    launches: int
    evaluations: int
    reads: int  # arrays into numpy
    flops: int
    read: int
    written: int
    largest: int  # array that a kernel writes
    alive: int
    steps: list[Step]

    @classmethod
    def of(cls, steps: list[Step], alive: int) -> Cost:
        kernels = [kernel for step in steps for kernel in step.kernels]
        return cls(
            sum(kernel.launches for kernel in kernels),
            sum(bool(step.kernels) for step in steps),
            sum(step.reads for step in steps),
            sum(kernel.flops for kernel in kernels),
            sum(kernel.read for kernel in kernels),
            sum(kernel.written for kernel in kernels),
            max((kernel.result.nbytes for kernel in kernels), default=0),
            alive,
            steps,
        )

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost.of(self.steps + other.steps, max(self.alive, other.alive))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", nargs="+", choices=VARIANTS, default=["vit_b"])
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="rows that begin with one of these"
    )
    parser.add_argument("--memory", type=float, default=8, help="of the Mac, in GB")
    parser.add_argument("--points-per-side", type=int, default=32, help="of automatic masks")
    parser.add_argument(
        "--kernels", type=int, default=0, help="also the costliest kernels, so many"
    )
    args = parser.parse_args()
    for model in args.model:
        dtype = getattr(mx, args.dtype)
        setting = Setting(VARIANTS[model], dtype, args.points_per_side)
        wanted = tuple(args.only or [""])
        found = costs(setting, int(args.memory * 1e9 * WORKING_SHARE), wanted)
        show(f"{model}, {args.dtype}, a Mac of {args.memory:g} GB:", counts(found))
        show(
            "Predicted milliseconds, and the floors of arithmetic and memory:", times(found, dtype)
        )
        for name, cost in found.items() if args.kernels else ():
            show(f"{name}, by bytes:", costliest(cost, args.kernels))
    print("\n".join(f"* {chip.name}: {about(chip)}" for chip in CHIPS))


def show(title: str, lines: list[str]) -> None:
    print("\n".join([title, "", *lines, ""]))


def costs(setting: Setting, memory: int, wanted: tuple[str, ...] = ("",)) -> dict[str, Cost]:
    """The cost of each row whose name begins with one of ``wanted``.

    memory: bytes that the GPU may use, from which the package finds its budget.
    """
    rows = {work.name: work for work in works(setting)}
    made: dict[str, Cost] = {}

    def cost(work: Work) -> Cost:
        if work.name not in made:
            graph = Graph(work.record(setting))
            steps = graph.steps()
            made[work.name] = Cost.of(steps, bytes_alive(steps, graph.given))
        own = made[work.name]
        return own if work.also is None else cost(rows[work.also]) + own

    with as_on_a_gpu(memory):
        return {name: cost(work) for name, work in rows.items() if name.startswith(wanted)}


def counts(found: dict[str, Cost]) -> list[str]:
    head = [
        "work", "launches", "evaluations", "arrays to numpy", "GFLOP", "GB read", "GB written",
        "largest, MB", "alive, MB",
    ]  # fmt: skip
    rows = []
    for name, cost in found.items():
        row = [cost.launches, cost.evaluations, cost.reads]
        row += [f"{x / 1e9:.3g}" for x in (cost.flops, cost.read, cost.written)]
        row += [f"{x / 1e6:.0f}" for x in (cost.largest, cost.alive)]
        rows.append([name, *row])
    return table(head, rows)


def times(found: dict[str, Cost], dtype: mx.Dtype) -> list[str]:
    rows = []
    for name, cost in found.items():
        row = [name]
        for chip in CHIPS:
            lowest = ", ".join(f"{1e3 * x:.3g}" for x in floors(cost.steps, chip, dtype))
            row.append(f"{1e3 * total_seconds(cost.steps, chip, dtype):.3g} ({lowest})")
        rows.append(row)
    return table(["work", *(chip.name for chip in CHIPS)], rows)


def costliest(cost: Cost, number: int) -> list[str]:
    """Kinds of kernels by the bytes that they move."""
    moved, launches, flops = Counter(), Counter(), Counter()
    for step in cost.steps:
        for kernel in step.kernels:
            shape = " x ".join(map(str, kernel.result.shape))
            key = kernel.name, shape
            moved[key] += kernel.read + kernel.written
            launches[key] += kernel.launches
            flops[key] += kernel.flops
    rows = [
        [*key, launches[key], f"{flops[key] / 1e9:.3g}", f"{size / 1e9:.3g}"]
        for key, size in moved.most_common(number)
    ]
    return table(["kernel", "result", "launches", "GFLOP", "GB"], rows)


def table(head: list[str], rows: list[list]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


def about(chip: Chip) -> str:
    return f"{chip.peak / 1e12:g} TFLOP/s, {chip.bandwidth / 1e9:g} GB/s; {chip.source}"


if __name__ == "__main__":
    main()
