"""What ``mx.compile`` would save a GPU: kernels of the decoder and of an encoder's blocks, counted.

    python -m examples.benchmarks.compiled --model vit_b

MLX fuses element-wise operations alone. The graphs are those of the form for GPUs, with and without
``mx.compile``, and are put together here but not run; the time that takes is the host's. What is a
view costs nothing, and copies, which both have, are not counted.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sam_mlx import Sam  # before mlx.core

# isort: split
import mlx.core as mx
import mlx.nn as nn

from sam_mlx.registry import VARIANTS

from .cost.kernels import VIEWS
from .cost.record import as_on_a_gpu, patched
from .cost.work import Setting, embedding_of, points_of

MEMORY = 16 << 30


@dataclass(frozen=True)
class Work:
    """A function of a module's weights and of arrays, which puts its graph together."""

    module: nn.Module
    function: Callable[..., Any]
    arrays: tuple[mx.array, ...]

    def __call__(self, weights: dict[str, Any], *arrays: mx.array) -> Any:
        """With weights as inputs: what has been compiled would keep its own for ever."""
        before = self.module.parameters()
        self.module.update(weights)
        try:
            return self.function(*arrays)
        finally:
            self.module.update(before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", choices=[n for n in VARIANTS if n != "vit_t"], default="vit_b")
    args = parser.parse_args()
    print("| work | kernels | compiled | graph, ms | compiled, ms |\n|---|---|---|---|---|")
    with as_on_a_gpu(MEMORY):
        for name, work in works(args.model).items():
            before, after = (sum(kernels(work, on).values()) for on in (False, True))
            times = " | ".join(f"{host_ms(work, on):.2f}" for on in (False, True))
            print(f"| {name} | {before} | {after} | {times} |")


def works(name: str) -> dict[str, Work]:
    found = {}
    setting = Setting(VARIANTS[name], mx.float32)
    model = Sam(setting.config)
    mx.eval(model.prompt_encoder.parameters(), model.mask_decoder.parameters())
    model.image_encoder = nn.Module()  # not needed, nor computed
    pe = model.prompt_encoder.get_dense_pe()
    for B in (1, 8):
        arrays = embedding_of(setting), pe, *points_of(B)
        mx.eval(arrays)
        found[f"decoder, {B}"] = Work(model, decoder_of(model), arrays)
    config = setting.config
    for kind in ("windows", "whole grid"):
        blocks = Sam(config).image_encoder.blocks
        block = next(b for b in blocks if (b.window > 0) == (kind == "windows"))
        block.set_dtype(mx.float16)
        x = mx.zeros((1, config.grid, config.grid, config.encoder.dim), mx.float16)
        mx.eval(x, block.parameters())
        found[f"encoder's block, {kind}, float16"] = Work(block, block, (x,))
    return found


def decoder_of(model: Sam) -> Callable[..., Any]:
    def decode(features: mx.array, pe: mx.array, *points: mx.array) -> list[mx.array]:
        return list(model.decode(features, points, None, None, True, pe))

    return decode


def kernels(work: Work, is_compiled: bool) -> Counter[str]:
    """Kernels of the graph by name."""

    def one(x: mx.array, *others: mx.array | None) -> mx.array:
        return mx.depends([x], [other for other in others if other is not None])[0]

    stand_ins = (
        # One kernel each on a GPU, and several elsewhere.
        (mx.fast, "layer_norm", lambda x, weight, bias, eps: one(x, weight, bias)),
        (
            mx.fast,
            "scaled_dot_product_attention",
            lambda q, k, v, *, scale, mask=None: one(q, k, v, mask),
        ),
    )
    with patched(*stand_ins):
        outputs = build(work, is_compiled)()
    text = io.StringIO()
    mx.export_to_dot(text, *(outputs if isinstance(outputs, list) else [outputs]))
    names = re.findall(r'label ?= ?"([^"]*)", shape=rectangle', text.getvalue())
    return Counter(name for name in names if name not in VIEWS)


def build(work: Work, is_compiled: bool) -> Callable[[], Any]:
    run = mx.compile(work.__call__) if is_compiled else work
    return lambda: run(work.module.parameters(), *work.arrays)


def host_ms(work: Work, is_compiled: bool, repeats: int = 30) -> float:
    """Milliseconds in which the graph is put together, when it was before."""
    put_together = build(work, is_compiled)
    put_together()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        put_together()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    main()
