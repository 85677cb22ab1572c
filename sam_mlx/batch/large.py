"""Automatic masks of large pictures, in tiles: ``sam-mlx auto --tile``.

Every tile's masks are a file, and so are the answers about pieces: a run that was stopped continues
with them, and gives the same. Under ``mlx.launch`` each process searches its share of the tiles;
then the first joins them, writes the masks to a file one after another, and makes the results from
that file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import mlx.core as mx
from tqdm import tqdm

from ..files import read_json, user_path, write_json, write_whole
from ..formats.large import LARGE_FORMATS, LargeFormat, LargeResult, Spool
from ..instances.segmenter import InstanceSegmenter
from ..instances.tile_prompts import Prompting
from ..instances.tiles import Flooding, MapStore
from ..large import LargeImage, open_large
from ..messages import some
from ..terminal import say
from ..tiled.found import Found
from ..tiled.layout import TileOptions, region_of
from ..tiled.passes import Everything
from ..tiled.seams import is_cut
from ..tiled.store import MaskStore, key_of_tile
from .checks import check_settings
from .processes import SETTINGS, SOURCE, folder_of_run, wait_for_all_processes, workspace_of
from .work import Generator, remarks_of, settings_of

InTiles = Everything | Flooding | Prompting
TILES = ".tiles"  # the folder of what tiles gave
MASKS = "masks.jsonl"


@dataclass(frozen=True)
class LargeRun:
    """What a run over large pictures is given."""

    output: Path
    formats: Sequence[LargeFormat]
    tiles: TileOptions
    region: Sequence[int] | None
    opening: dict[str, Any]  # arguments of ``open_large``
    workspace: Path  # where this process writes unfinished files

    def write_json(self, path: Path, values: Any) -> None:
        write_whole(path, lambda name: write_json(name, values, indent=2), self.workspace)

    def result_path(self, picture: LargeImage, format: LargeFormat) -> Path:
        return self.output / f"{Path(picture.name).stem}{format.ending}"

    def tile_folder(self, picture: LargeImage) -> Path:
        return self.output / TILES / picture.name


def run_large(
    sources: Sequence[str],
    output: str | Path,
    formats: Sequence[LargeFormat],
    generator: Callable[[], Generator],
    settings: dict[str, Any],
    tiles: TileOptions,
    region: Sequence[int] | None = None,
    opening: dict[str, Any] | None = None,
) -> int:
    """Segment large pictures into the folder ``output``; returns the exit code, 0.

    formats: none stands for GeoPackage, or GeoJSON for pictures without a reference system.
    settings: what the results depend on, beside the tiles; a folder with results of others is
    refused. Raises ValueError or OSError before any work.
    """
    output, group = user_path(output), mx.distributed.init()
    opened = [open_named(path, region, opening or {}) for path in found(sources)]
    for picture in opened:
        for format in formats or [default_format(picture)]:
            format.check()
    check_stems(opened)
    settings = {**settings, "tile": tiles.tile, "overlap": tiles.overlap, "region": region}
    settings |= opening or {}
    check_settings(output / SETTINGS, settings)
    with folder_of_run(output, group), workspace_of(output) as workspace:
        run = LargeRun(output, formats, tiles, region, opening or {}, workspace)
        model = generator()
        settings |= settings_of(model)
        check_settings(output / SETTINGS, settings)
        run.write_json(output / SETTINGS, settings)
        for picture in opened:
            segment(run, model, picture, group)
        for remark in remarks_of(model) if group.rank() == 0 else ():
            say(remark)
    return 0


def found(sources: Sequence[str]) -> list[Path]:
    """The pictures that paths and globs name. Raises FileNotFoundError for one that names none."""
    paths: list[Path] = []
    for source in sources:
        path = user_path(source)
        if path.exists() or not has_magic(str(path)):
            paths.append(path)
            continue
        matches = sorted(glob(str(path), recursive=True))
        if not matches:
            raise FileNotFoundError(f"no picture is called {source}")
        paths += map(Path, matches)
    return paths


def open_named(path: Path, region: Sequence[int] | None, opening: dict[str, Any]) -> LargeImage:
    """A picture, once the region is found to be in it. Errors name it: it may be one of many."""
    try:
        picture = open_large(path, **opening)
        region_of(picture, region)
    except ValueError as error:
        is_named = path.name in str(error)
        raise ValueError(str(error) if is_named else f"{path.name}: {error}") from None
    return picture


def check_stems(pictures: Sequence[LargeImage]) -> None:
    """Raise ValueError where results of two pictures would share a name."""
    stems = [Path(picture.name).stem for picture in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ValueError(
                f"two pictures are called {stem}; write their results to folders of their own"
            )


def segment(
    run: LargeRun,
    model: Generator,
    picture: LargeImage,
    group: mx.distributed.Group,
) -> None:
    """Make the results of one picture that are missing."""
    picture = picture.read_by(model.predictor.model.config.value_range)
    folder, first = run.tile_folder(picture), group.rank() == 0
    about = {**picture.describe(), "region": run.region}
    if first:
        forget_other(run, folder, picture, about)
    wait_for_all_processes()
    search = search_of(model, run, picture)
    search_share(search, group)
    wait_for_all_processes()
    if first:
        spool = join(run, search, folder, about)
        write_results(run, LargeResult(picture, search.region, spool))
    wait_for_all_processes()


def search_of(model: Generator, run: LargeRun, picture: LargeImage) -> InTiles:
    """The search of a picture, which keeps what tiles give in a folder."""
    folder = run.tile_folder(picture)
    if isinstance(model, InstanceSegmenter):
        maps, masks = MapStore(folder, run.workspace), MaskStore(folder, run.workspace)
        return model.search_large(picture, run.tiles, run.region, maps, answers=masks)
    return model.search_large(picture, run.tiles, run.region, MaskStore(folder, run.workspace))


def forget_other(run: LargeRun, folder: Path, picture: LargeImage, about: dict[str, Any]) -> None:
    """Remove what is there of another content of the picture, and note this one's."""
    source = folder / SOURCE
    try:
        before = read_json(source)
    except (OSError, ValueError):
        before = None
    same = isinstance(before, dict) and before.get("digest") == about["digest"]
    if same:
        return
    if before is not None:
        say(f"{picture.name} has changed: it is segmented again")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run.write_json(source, about)


def search_share(search: InTiles, group: mx.distributed.Group) -> None:
    """Search this process's tiles that are not there yet."""
    share = search.tiles[group.rank() :: group.size()]
    disable = None if group.rank() == 0 else True  # None: only on a terminal
    with tqdm(total=len(share), unit="tile", disable=disable) as bar:
        for scale, rect in share:
            if not search.store.has(key_of_tile(scale, rect)):
                search.tile(scale, rect)
            bar.update()


def join(run: LargeRun, search: InTiles, folder: Path, about: dict[str, Any]) -> Spool:
    """The masks of all tiles, joined, in a file; and a report of how it went."""
    stem = Path(search.picture.name).stem
    path, counts = folder / MASKS, {"masks": 0, "cut_by_a_border": 0}
    write_whole(
        path,
        lambda name: Spool.write(Path(name), counted(search, counts)),
        run.workspace,
    )
    report = {**about, "tiles": len(search.tiles), **counts, **search.counts}
    run.write_json(run.output / f"{stem}.report.json", report)
    remarks = [
        f"{some(counts['masks'], 'mask')} in {search.picture.name}, "
        f"{some(len(search.tiles), 'tile')}",
        f"{counts['cut_by_a_border']} with a straight edge on a tile's border",
        *(f"{words}: {search.counts[name]}" for name, words in search.REMARKS.items()),
    ]
    if not counts["masks"] and not search.has_values():
        remarks.append("no pixel that was searched has a value: all are nodata or NaN")
    say("; ".join(remarks))
    return Spool(path)


def counted(search: InTiles, counts: dict[str, int]) -> Iterator[Found]:
    """The masks of a search, and how many of them a border of tiles has cut."""
    borders = {scale: search.borders(scale) for scale in search.scales}
    for one in search:
        counts["masks"] += 1
        counts["cut_by_a_border"] += is_cut(one.mask, (one.x, one.y), *borders[one.scale])
        yield one


def write_results(run: LargeRun, result: LargeResult) -> None:
    for format in run.formats or [default_format(result.picture)]:
        path = run.result_path(result.picture, format)
        write_whole(path, partial(format.write, result), run.workspace)
        say(path)


def default_format(picture: LargeImage) -> LargeFormat:
    return LARGE_FORMATS["geojson" if picture.place is None else "gpkg"]
