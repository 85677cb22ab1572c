"""A large picture in tiles: this package beside micro-sam's tiled AMG and samgeo's batch mode.

    pip install -e ".[test,geo]" && pip install --no-deps -r tests/compat/clients.txt
    python -m tests.compat.clients.large_tiles

All have nano's weights, the others in Meta's classes, the same points and thresholds, and search
the same windows: 384 x 384 pixels with 128 around them; our tiles are 640 with an overlap of 256.
The picture is drawn: discs of 48 to 160 pixels across, smaller than the overlap. Each tool runs in
a process of its own. Seconds are the processor's, for the search alone; memory is the process's.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks.drawn import Drawn
from examples.benchmarks.large import THRESHOLDS, Mask, average_precision, iou, of_discs
from sam_mlx.tiled.seams import is_cut

SIDE, INNER, HALO, POINTS = 1000, 384, 128, 14
SCENE = Drawn(SIDE, SIDE, cell=200, seed=5)
Lines = list[int]  # borders of tiles along an axis


def nano_in_metas_classes() -> Any:
    """nano's weights as Meta's state, and its builders made to make nano where ViT-B is asked."""
    from functools import partial

    import torch

    from convert.meta import build_meta
    from convert.reference import ensure_torchvision, import_segment_anything
    from sam_mlx import Sam
    from sam_mlx.checkpoints import layouts
    from sam_mlx.modeling.layers import weights_of
    from sam_mlx.registry import VARIANTS
    from tests.compat.clients.stand_ins import stand_in

    ensure_torchvision()
    if not hasattr(sys.modules["torchvision"], "__version__"):  # one that does not match torch
        stand_in("torchvision.utils", "torchvision.datasets", "torchvision.transforms.v2")
    package = import_segment_anything()
    model, config = Sam.from_pretrained("nano"), VARIANTS["nano"]
    VARIANTS["vit_b"] = config
    state = layouts.to_torch(weights_of(model), model)
    weights = {name: torch.tensor(np.array(w)) for name, w in state.items()}
    builders = sys.modules["segment_anything.build_sam"]
    builders._build_sam = lambda checkpoint=None, **sizes: build_meta(
        config, None if checkpoint is None else torch.load(checkpoint)
    )
    return package, partial(torch.save, weights)


def ours() -> tuple[list[Mask], Lines, float]:
    from examples.benchmarks.large import nano
    from sam_mlx.large import open_large
    from sam_mlx.tiled.layout import TileOptions

    generator, start = nano(POINTS), time.process_time()
    search = generator.search_large(open_large(SCENE), TileOptions(INNER + 2 * HALO, 2 * HALO))
    masks = [(one.x, one.y, one.mask, one.predicted_iou) for one in search if one.scale == 1]
    return masks, search.layouts[1].borders()[0], time.process_time() - start


def of_micro_sam() -> tuple[list[Mask], Lines, float]:
    _, save = nano_in_metas_classes()
    import micro_sam.models.build_sam
    from micro_sam import inference, util
    from micro_sam.automatic_segmentation import get_predictor_and_segmenter

    micro_sam.models.build_sam._validate_model_type = lambda state: "vit_b"
    resize = inference.ResizeLongestSide
    inference.ResizeLongestSide = lambda side: resize(
        320
    )  # where ViT-B's size is taken for granted
    save("vit_b.pt")
    predictor, segmenter = get_predictor_and_segmenter(
        "vit_b", "vit_b.pt", device="cpu", segmentation_mode="amg", is_tiled=True,
        points_per_side=POINTS,
    )  # fmt: skip
    image, start = SCENE.whole(), time.process_time()
    embeddings = util.precompute_image_embeddings(
        predictor, image, ndim=2, tile_shape=(INNER, INNER), halo=(HALO, HALO), verbose=False
    )
    segmenter.initialize(image, image_embeddings=embeddings)
    records = segmenter.generate(output_mode="binary_mask", **THRESHOLDS)
    seconds = time.process_time() - start
    masks = [cropped(np.asarray(r["segmentation"]), r["predicted_iou"]) for r in records]
    inner = range(INNER, SIDE, INNER)
    return masks, sorted({*(n - HALO for n in inner), *inner, *(n + HALO for n in inner)}), seconds


def of_samgeo() -> tuple[list[Mask], Lines, float]:
    """Its batch mode writes foreground without numbers; its objects are the connected regions of
    that, as its ``raster_to_vector`` makes them.
    """
    _, save = nano_in_metas_classes()
    import rasterio
    from samgeo.samgeo import SamGeo
    from scipy.ndimage import find_objects, label

    save("vit_b.pth")
    options = dict(driver="GTiff", width=SIDE, height=SIDE, count=3, dtype="uint8")
    with rasterio.open("scene.tif", "w", **options) as file:
        file.write(np.moveaxis(SCENE.whole(), -1, 0))
    settings = dict(points_per_side=POINTS, **THRESHOLDS)
    sam = SamGeo("vit_b", checkpoint="vit_b.pth", device="cpu", sam_kwargs=settings)
    start = time.process_time()
    sam.generate("scene.tif", "masks.tif", batch=True, batch_sample_size=(INNER, INNER))
    seconds = time.process_time() - start
    with rasterio.open("masks.tif") as file:
        labels, _ = label(file.read(1) > 0)
    masks = [
        (columns.start, rows.start, labels[rows, columns] == i, 1.0)
        for i, (rows, columns) in enumerate(find_objects(labels), 1)
    ]
    return masks, list(range(INNER, SIDE, INNER)), seconds


TOOLS: dict[str, Callable[[], tuple[list[Mask], Lines, float]]] = {
    "sam_mlx": ours, "micro-sam 1.8.14, tiled AMG": of_micro_sam, "samgeo 1.4.2, batch": of_samgeo,
}  # fmt: skip


def cropped(mask: np.ndarray, score: float) -> Mask:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return int(x0), int(y0), mask[y0:y1, x0:x1], float(score)


def table_row(name: str) -> str:
    """What a tool makes of the discs: how many it loses, how often it gives one twice."""
    masks, lines, seconds = TOOLS[name]()
    discs = of_discs(SCENE)
    near_border = [i for i, disc in enumerate(discs) if crosses(disc, lines)]
    overlaps = [[iou(mask, disc) for mask in masks] for disc in discs]
    best = [max(row, default=0.0) for row in overlaps]
    twice = sum(sum(value > 0.5 for value in row) > 1 for row in overlaps)
    cut = sum(is_cut(mask, (x, y), lines, lines) for x, y, mask, _ in masks)
    lost = [i for i, value in enumerate(best) if value < 0.5]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    values = (
        len(masks), len(lost), len(set(lost) & set(near_border)), cut, twice,
        f"{average_precision(masks, discs, 0.9):.3f}", f"{seconds:.0f}", f"{peak:.2f}",
    )  # fmt: skip
    return f"| {name} | {' | '.join(map(str, values))} |"


def crosses(disc: Mask, lines: Sequence[int]) -> bool:
    x, y, mask, _ = disc
    h, w = mask.shape
    return any(x < line < x + w or y < line < y + h for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", nargs="?", choices=list(TOOLS), help="only this one, here")
    args = parser.parse_args()
    if args.tool:
        print(table_row(args.tool))
        return
    discs = len(of_discs(SCENE))
    print(f"{SIDE} x {SIDE} pixels, {discs} discs\n")
    print("| tool | masks | discs lost | of them on a border | masks cut | discs twice | AP at 0.9 "
          "| seconds | peak, GB |")  # fmt: skip
    print("|---" * 9 + "|")
    root = Path(__file__).parents[3]
    for name in TOOLS:
        with tempfile.TemporaryDirectory() as folder:
            program = [sys.executable, "-W", "ignore", "-m", "tests.compat.clients.large_tiles"]
            done = subprocess.run(
                [*program, name], cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
                env=environment(root, folder),
            )  # fmt: skip
        print(done.stdout.strip().splitlines()[-1], flush=True)


def environment(root: Path, folder: str) -> dict[str, str]:
    import os

    more = {"PYTHONPATH": str(root), "HOME": folder, "MPLBACKEND": "agg", "PIP_NO_INDEX": "1"}
    return os.environ | more


if __name__ == "__main__":
    main()
