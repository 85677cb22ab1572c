"""The instance decoder beside torch-em's, and instances of large pictures: time and memory.

    python -m examples.benchmarks.instances
    python -m examples.benchmarks.instances tiles

The first runs both decoders on an embedding of ViT-B's size, with random weights, each in a process
of its own and in turns, and sam_mlx's once more with the encoder before it. Times are of the
process's threads together, and on the clock; memory is the largest resident size beyond that before
the first run, and with the encoder that of the whole process. The second floods drawn maps of three
heights, in tiles of 1024.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

GRID, RUNS = 64, 3
WIDTH, HEIGHTS = 8192, (2560, 5120, 10240)
CELL, RADIUS = 64, 20  # of drawn discs, pixels

Figures = dict[str, float]


def resident() -> int:
    """The largest resident size so far, in bytes (Linux counts KiB, macOS bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def decoder_config():
    from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig
    from sam_mlx.registry import VARIANTS, with_decoder

    return with_decoder(VARIANTS["vit_b"], InstanceDecoderConfig())


def ours() -> Callable[[], object]:
    import sam_mlx  # noqa: F401, I001  before mlx.core

    import mlx.core as mx

    from sam_mlx.machine.linux import own_memory
    from sam_mlx.modeling.instance_decoder import InstanceDecoder
    from sam_mlx.registry import IMAGE_EMBEDDING

    config = decoder_config()
    decoder = InstanceDecoder(config)
    features = {IMAGE_EMBEDDING: mx.random.normal((1, GRID, GRID, config.prompt_dim))}
    mx.eval(decoder.parameters(), features)
    return own_memory()(lambda: mx.eval(decoder(features)))


def original() -> Callable[[], object]:
    import torch

    from tests.support.micro_sam import original_decoder, segmentation

    config = decoder_config()
    decoder = segmentation.DecoderAdapter(original_decoder(config))
    embedding = torch.randn(1, config.prompt_dim, GRID, GRID)
    return torch.no_grad()(lambda: decoder._forward_impl(embedding))


def with_encoder() -> Callable[[], object]:
    from sam_mlx import InstanceSegmenter, Sam

    segmenter = InstanceSegmenter(Sam(decoder_config()))
    picture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    return lambda: segmenter.predict(picture)


SIDES = {"ours": ours, "original": original, "with_encoder": with_encoder}


def answer(side: str) -> None:
    """Run a side whenever a line comes, and print what each run took."""
    run = SIDES[side]()
    before = 0 if side == "with_encoder" else resident()
    for _ in sys.stdin:
        clock, cpu = time.perf_counter(), time.process_time()
        run()
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        print(json.dumps({"clock": clock, "cpu": cpu, "memory": resident() - before}), flush=True)


class Side:
    """A process that runs a side when asked."""

    def __init__(self, name: str):
        command = [sys.executable, "-m", "examples.benchmarks.instances", name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.runs: list[Figures] = []

    def ask(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.runs.append(json.loads(self.process.stdout.readline()))

    def middle(self, name: str) -> float:
        return statistics.median(run[name] for run in self.runs)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare() -> None:
    sides = [Side("ours"), Side("original")]
    for _ in range(RUNS):
        for side in sides:
            side.ask()
    print("| | sam_mlx | torch-em | ratio |\n|---|---|---|---|")
    for name, unit, scale in (("clock", "s", 1), ("cpu", "s of CPU", 1), ("memory", "GB", 1e-9)):
        a, b = (side.middle(name) * scale for side in sides)
        print(f"| {name} | {a:.2f} {unit} | {b:.2f} {unit} | {a / b:.2f} |")
    for side in sides:
        side.end()
    whole = Side("with_encoder")
    whole.ask()
    print(f"\nViT-B and the maps of 1024 x 1024: {whole.middle('memory') / 1e9:.2f} GB at most")
    whole.end()


def drawn(pixels: np.ndarray) -> np.ndarray:
    """Maps of discs on a grid, of pixels that say where they lie in their cell."""
    y, x = (pixels[..., i].astype(np.float32) - CELL / 2 + 0.5 for i in (0, 1))
    share = np.hypot(x, y) / RADIUS
    foreground, inner = np.float32(share <= 1), np.minimum(share, 1)
    return np.stack([foreground, inner, inner**1.5])


class Grid:
    """A picture, drawn where it is read, of which each pixel says where it lies in its cell."""

    dtype = np.dtype(np.uint8)

    def __init__(self, height: int):
        self.shape = height, WIDTH, 3

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        rows, columns = (np.arange(*part.indices(n)) for part, n in zip(where[:2], self.shape))
        picture = np.zeros((len(rows), len(columns), 3), np.uint8)
        picture[..., 0], picture[..., 1] = rows[:, None] % CELL, columns % CELL
        return picture[..., where[2]] if len(where) > 2 else picture


def flood(height: int) -> None:
    """Print what one height takes."""
    from sam_mlx.instances.options import InstanceOptions
    from sam_mlx.instances.tiles import Flooding
    from sam_mlx.large import open_large
    from sam_mlx.tiled.layout import TileOptions, region_of

    picture, start = open_large(Grid(height)), time.process_time()
    search = Flooding(
        picture=picture, region=region_of(picture, None), tile_options=TileOptions(),
        predict=drawn, options=InstanceOptions(),
    )  # fmt: skip
    count = sum(1 for _ in search)
    seconds = time.process_time() - start
    expected = (WIDTH // CELL) * (height // CELL)
    assert count == expected, (count, expected)
    peak = resident() / 1e9
    print(f"| {height} | {len(search.tiles)} | {count} | {seconds:.0f} s | {peak:.2f} |")


def main() -> None:
    match sys.argv[1:]:
        case []:
            compare()
        case ["tiles"]:
            print(f"| height, {WIDTH} wide | tiles | instances | CPU time | peak, GB |")
            print("|---|---|---|---|---|", flush=True)
            for height in HEIGHTS:
                command = [sys.executable, "-m", "examples.benchmarks.instances", str(height)]
                subprocess.run(command, check=True)
        case [name]:
            answer(name) if name in SIDES else flood(int(name))


if __name__ == "__main__":
    main()
