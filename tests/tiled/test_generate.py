"""Everything in a large picture with nano: each object once, whole, whatever the tiles."""

from concurrent.futures import CancelledError
from itertools import pairwise
from threading import Event

import numpy as np
import pytest

from sam_mlx import SamAutomaticMaskGenerator
from sam_mlx.large import open_large
from sam_mlx.masks import decode_rle
from sam_mlx.tiled.found import Found, iou
from sam_mlx.tiled.layout import TileOptions
from sam_mlx.tiled.seams import count_cut
from sam_mlx.tiled.store import MaskStore
from tests.support.large import Drawn, geotiff

pytestmark = pytest.mark.slow

TILES = TileOptions(256, 96)
THRESHOLDS = dict(pred_iou_thresh=0.8, stability_score_thresh=0.85)


class Scene(Drawn):
    """Small discs, one larger than the overlap, and one larger than a tile."""

    EXTRA = ((205.0, 85.0, 55.0), (360.0, 320.0, 140.0))

    def __init__(self):
        super().__init__(480, 520, cell=80, most=0.35)

    def discs(self):
        kept = [
            (x, y, r) for x, y, r in super().discs()
            if r > 14  # nano misses smaller ones
            and all((x - a) ** 2 + (y - b) ** 2 > (r + c + 6) ** 2 for a, b, c in self.EXTRA)
        ]  # fmt: skip
        return [*kept, *self.EXTRA]

    def __getitem__(self, where):
        rows, columns = (range(*part.indices(n)) for part, n in zip(where[:2], self.shape))
        y, x = np.mgrid[rows.start : rows.stop, columns.start : columns.stop]
        picture = np.full((*x.shape, 3), 40, np.uint8)
        for i, (cx, cy, radius) in enumerate(self.discs()):
            colour = np.random.default_rng(i).integers(110, 256, 3)
            picture[(x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 <= radius**2] = colour
        return picture


@pytest.fixture(scope="module")
def generator():
    return SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=13, **THRESHOLDS)


@pytest.fixture(scope="module")
def search(generator, tmp_path_factory):
    """A finished search, with what it found, and the folder that keeps its tiles."""
    store = MaskStore(tmp_path_factory.mktemp("tiles"))
    search = generator.search_large(open_large(Scene()), TILES, store=store)
    search.found = list(search)
    return search


def best_iou(disc, found):
    """The best IoU of a disc with masks of any scale."""
    x, y, radius = disc
    best = 0.0
    for one in found:
        left, top, right, bottom = (n * one.scale for n in one.box)
        if left - 5 < x < right + 5 and top - 5 < y < bottom + 5:
            yy, xx = np.mgrid[top:bottom, left:right]
            inside = (xx + 0.5 - x) ** 2 + (yy + 0.5 - y) ** 2 <= radius**2
            mask = one.mask.repeat(one.scale, 0).repeat(one.scale, 1)
            both = int((mask & inside).sum())
            best = max(best, both / (int(mask.sum()) + np.pi * radius**2 - both))
    return best


def test_every_object_is_found_once_and_none_is_cut(search):
    tiles = [one for scale, rect in search.tiles if scale == 1 for one in search.tile(1, rect)]
    # nano misses one in twenty of the small ones; what a tile has seen of the others is not lost.
    seen = [disc for disc in Scene().discs() if best_iou(disc, tiles) > 0.5]
    assert len(seen) >= 0.9 * len(Scene().discs())
    assert min(best_iou(disc, search.found) for disc in [*seen, *Scene.EXTRA]) > 0.9
    small = [one for one in search.found if one.scale == 1]
    assert count_cut(small, *search.layouts[1].borders()) == 0
    assert [one.scale for one in search.found].count(4) == 1  # larger than a tile
    for i, one in enumerate(small):
        assert all(iou(one, other) <= 0.7 for other in small[:i])
    tops = [one.y * one.scale for one in search.found]
    assert max(before - after for before, after in pairwise(tops)) < 2 * TILES.tile


def test_without_joining_objects_are_lost_or_cut(search):
    """What the same tiles give if each is searched alone: the counter sees it."""
    alone = [one for scale, rect in search.tiles if scale == 1 for one in search.tile(1, rect)]
    cut = [one for one in alone if one.is_cut]
    assert count_cut(cut, *search.layouts[1].borders()) > 10
    whole = [one for one in alone if not one.is_cut]
    assert best_iou(Scene.EXTRA[1], whole) < 0.5


def test_a_search_that_was_stopped_gives_the_same(search, generator, tmp_path):
    store, event, reports = MaskStore(tmp_path / "tiles"), Event(), []
    again = generator.search_large(open_large(Scene()), TILES, store=store, cancel=event)
    again.report = lambda done, total: (reports.append((done, total)), done == 3 and event.set())
    with pytest.raises(CancelledError):
        list(again)
    assert reports == [(i, len(search.tiles)) for i in (1, 2, 3)]
    assert len(list((tmp_path / "tiles").iterdir())) == 3
    for file in search.store.folder.iterdir():  # the tiles that a second run would make
        (tmp_path / "tiles" / file.name).write_bytes(file.read_bytes())
    asked = generator.search_large(open_large(Scene()), TILES, store=store)
    asked.find = asked.searcher = None  # nothing is searched any more
    values = [[one.to_json() for one in found] for found in (search.found, list(asked))]
    assert values[0] == values[1]


def test_records(generator, search):
    kept = generator.search_large(open_large(Scene()), TILES, store=search.store)
    from sam_mlx.tiled.passes import record_of_found

    for one in search.found:
        record = record_of_found(one, kept.region, "coco_rle")
        x, y, w, h = record["window"]
        s = record["scale"]
        mask = decode_rle([record["segmentation"]])[0]
        assert mask.shape == (h // s, w // s) and (mask == one.mask).all()
        assert record["area"] == mask.sum() * s * s and record["bbox"] == [x, y, w - 1, h - 1]
        assert set(record) > {"predicted_iou", "stability_score", "point_coords", "crop_box"}


def test_a_region_in_pixels_of_the_picture(generator):
    reports = []
    records = generator.generate_large(
        Scene(), 256, 96, region=(140, 20, 130, 130), progress=lambda *r: reports.append(r)
    )
    records = list(records)
    assert reports == [(1, 1)]
    found = [
        Found.of(record["segmentation"], record["window"][:2], predicted_iou=1.0,
                 stability_score=1.0, point=(0, 0), tile=(0, 0, 1, 1))
        for record in records
    ]  # fmt: skip
    assert best_iou(Scene.EXTRA[0], found) > 0.9
    assert all(record["crop_box"] == [140, 20, 130, 130] for record in records)
    with pytest.raises(ValueError, match="the region 500 0 100 50 .* is not within the picture"):
        next(generator.generate_large(Scene(), region=(500, 0, 100, 50)))
    with pytest.raises(ValueError, match="under half a tile"):
        next(generator.generate_large(Scene(), 256, 128))


def test_nodata_is_neither_encoded_nor_prompted(generator, tmp_path, monkeypatch):
    values = Scene()[0:480, 0:520]
    values[:, 200:] = 0
    picture = open_large(geotiff(tmp_path / "a.tif", values, nodata=0))
    search = generator.search_large(picture, TILES, region=(150, 0, 370, 250))
    asked, find = [], search.searcher.find
    object.__setattr__(
        search.searcher, "find",
        lambda pixels, options: asked.append(options.grids[0]) or find(pixels, options),
    )  # fmt: skip
    found = [one for scale, rect in search.tiles for one in search.tile(scale, rect)]
    assert len(search.tiles) == 3 and len(asked) == 2 and all(len(g) < 169 for g in asked)
    assert found and all(one.box[0] * one.scale < 60 for one in found)
