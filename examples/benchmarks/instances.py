"""The instance decoder beside torch-em's on an embedding of ViT-B's size: time and memory.

    python -m examples.benchmarks.instances

Each side runs in a process of its own, on random weights. Memory is the largest resident size
beyond that before the first pass; times are of the process's threads together, and on the clock.
"""

import json
import resource
import subprocess
import sys
import time

GRID, RUNS = 64, 3


def measured(run) -> dict[str, float]:
    """Median times of a function, in seconds, and what it took of memory, in bytes."""
    before = resident()
    clock, cpu = [], []
    for _ in range(RUNS):
        start, used = time.perf_counter(), time.process_time()
        run()
        clock.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    middle = RUNS // 2
    memory = resident() - before
    return {"clock": sorted(clock)[middle], "cpu": sorted(cpu)[middle], "memory": memory}


def resident() -> int:
    """The largest resident size so far, in bytes (Linux counts KiB, macOS bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def ours() -> dict[str, float]:
    import sam_mlx  # noqa: F401, I001  before mlx.core

    from dataclasses import replace

    import mlx.core as mx

    from sam_mlx.machine.linux import own_memory
    from sam_mlx.modeling.instance_decoder import InstanceDecoder, InstanceDecoderConfig
    from sam_mlx.registry import IMAGE_EMBEDDING, VARIANTS

    config = VARIANTS["vit_b"]
    config = replace(config, decoders=(*config.decoders, InstanceDecoderConfig()))
    decoder = InstanceDecoder(config)
    features = {IMAGE_EMBEDDING: mx.random.normal((1, GRID, GRID, config.prompt_dim))}
    mx.eval(decoder.parameters(), features)

    @own_memory()
    def run() -> None:
        mx.eval(decoder(features))

    return measured(run)


def original() -> dict[str, float]:
    import torch

    from sam_mlx.registry import VARIANTS
    from tests.support.micro_sam import original_decoder, segmentation

    config = VARIANTS["vit_b"]
    decoder = segmentation.DecoderAdapter(original_decoder(config))
    embedding = torch.randn(1, config.prompt_dim, GRID, GRID)

    @torch.no_grad()
    def run() -> None:
        decoder._forward_impl(embedding)

    return measured(run)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "original": original}[sys.argv[1]]()))
        return
    found = {}
    for side in ("ours", "original"):
        command = [sys.executable, "-m", "examples.benchmarks.instances", side]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print("| | sam_mlx | torch-em | ratio |\n|---|---|---|---|")
    for name, unit, scale in (("clock", "s", 1), ("cpu", "s of CPU", 1), ("memory", "GB", 1e-9)):
        a, b = (found[side][name] * scale for side in ("ours", "original"))
        print(f"| {name} | {a:.2f} {unit} | {b:.2f} {unit} | {a / b:.2f} |")


if __name__ == "__main__":
    main()
