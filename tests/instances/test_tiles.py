"""All instances in large pictures: maps tile by tile, flooded in parts, as in one piece."""

import json
import tracemalloc
from concurrent.futures import CancelledError
from functools import partial
from threading import Event

import numpy as np
import pytest

pytest.importorskip("skimage")

from PIL import Image
from scipy import ndimage

from sam_mlx import InstanceSegmenter
from sam_mlx.instances.maps import InstanceMaps
from sam_mlx.instances.options import InstanceOptions
from sam_mlx.instances.tiles import LEVELS, Flooding, MapStore
from sam_mlx.instances.watershed import flood
from sam_mlx.large import open_large
from sam_mlx.machine.worker import checkpoint
from sam_mlx.masks import decode_rle
from sam_mlx.tiled.found import Found
from sam_mlx.tiled.layout import TileOptions, Tiles, cores, region_of
from sam_mlx.tiled.seams import count_cut
from tests.support.drawn import drawn_maps
from tests.support.instances import matched, nano_with_decoder
from tests.support.large import Drawn
from tests.support.source import ROOT

TILES = TileOptions(128, 48)
COINS = ROOT / "examples" / "images" / "coins.png"
BACKGROUND = 40 * 0x010101


def flooding(picture, predict, options=None, tiles=TILES, region=None, **more):
    picture = open_large(picture, value_range=(0, 255))
    return Flooding(
        picture=picture, region=region_of(picture, region), tile_options=tiles, predict=predict,
        options=options or InstanceOptions(), **more,
    )  # fmt: skip


def labels_of(found, size):
    labels = np.zeros(size, np.uint32)
    for i, one in enumerate(found, 1):
        x0, y0, x1, y1 = one.box
        under = labels[y0:y1, x0:x1]
        assert not under[one.mask].any()  # no pixel belongs to two
        under[one.mask] = i
    return labels


def as_picture(maps: InstanceMaps) -> np.ndarray:
    """A picture whose colours are the maps."""
    values = np.stack([maps.foreground, maps.center_distances, maps.boundary_distances], axis=2)
    return np.round(values * 255).astype(np.uint8)


def from_colours(pixels):
    return np.moveaxis(pixels, 2, 0).astype(np.float32) / 255


class Cells(Drawn):
    """Discs of colours of their own, none larger than what a tile sees beyond its inner part."""

    def __init__(self, height: int, width: int = 480):
        super().__init__(height, width, cell=48, most=0.24)


def as_seen(pixels: np.ndarray) -> np.ndarray:
    """Maps of the discs that a tile shows, as a decoder draws them that sees only the tile: of
    one that the tile's edge cuts, the distances are those of the rest.
    """
    colours = pixels.astype(np.int32) @ [1 << 16, 1 << 8, 1]
    foreground, centre, boundary = np.ones((3, *colours.shape), np.float32)
    foreground[colours == BACKGROUND] = 0
    for colour in set(np.unique(colours)) - {BACKGROUND}:
        mask = colours == colour
        inner = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
        y, x = np.nonzero(mask)
        from_centre = np.hypot(y - y.mean(), x - x.mean())
        boundary[mask] = 1 - inner / inner.max()
        centre[mask] = from_centre / max(from_centre.max(), 1)
    return np.stack([foreground, centre, boundary])


@pytest.mark.slow
def test_parts_give_what_one_piece_gives():
    """On the same maps: the same instances, to the pixel, also where they touch."""
    maps = drawn_maps((700, 560), radius=13)
    picture = as_picture(maps)
    whole = InstanceMaps(*np.round(from_colours(picture) * LEVELS) / LEVELS, maps.embedding)
    for arguments in ({}, {"foreground_threshold": 0.2, "min_size": 60}):
        options = InstanceOptions(**arguments)
        expected = flood(whole, options)
        search = flooding(picture, from_colours, options)
        found = list(search)
        ours = labels_of(found, expected.shape)
        assert matched(ours, expected).min() == 1 and len(found) > 300
        assert search.counts == {"too_large": 0}
        x0, y0, x1, y1 = found[0].box
        mask = np.zeros(expected.shape, bool)
        mask[y0:y1, x0:x1] = found[0].mask
        assert found[0].predicted_iou == pytest.approx(whole.foreground[mask].mean(), abs=1e-6)
        x, y = found[0].point
        assert whole.boundary_distances[int(y), int(x)] == whole.boundary_distances[mask].min()


@pytest.mark.original
def test_parts_give_what_micro_sam_gives_in_parts():
    """Its own parts: 128 pixels and a halo of 32; labels may differ where it cuts."""
    from tests.support.micro_sam import segmentation

    maps = drawn_maps((400, 380), radius=13)
    picture = as_picture(maps)
    values = from_colours(picture)
    original = segmentation.InstanceSegmentationWithDecoder(None, None)
    names = ("foreground", "center_distances", "boundary_distances")
    original.set_state(dict(zip(names, values)))
    expected = original.generate(tile_shape=(128, 128), halo=(32, 32), n_threads=1)
    ours = labels_of(flooding(picture, from_colours), expected.shape)
    assert matched(ours, expected).min() >= 0.99


@pytest.fixture(scope="module")
def search():
    """A search in tiles whose maps know only the tile."""
    search = flooding(Cells(576), as_seen)
    search.found = list(search)
    return search


def test_objects_on_the_borders_of_tiles_are_whole(search):
    y, x = np.mgrid[:576, :480] + 0.5
    expected = np.zeros((576, 480), np.uint32)
    discs = Cells(576).discs()
    for i, (a, b, radius) in enumerate(discs, 1):
        expected[(x - a) ** 2 + (y - b) ** 2 <= radius**2] = i
    xs, ys = search.borders(1)
    on_a_border = sum(
        any(a - r < edge < a + r for edge in xs) or any(b - r < edge < b + r for edge in ys)
        for a, b, r in discs
    )
    assert len(search.tiles) > 30 and on_a_border > 20
    assert matched(labels_of(search.found, expected.shape), expected).min() > 0.9
    assert count_cut(search.found, xs, ys) == 0


def test_the_inner_parts_alone_would_cut_objects(search):
    """The counter sees it."""
    found = []
    for scale, rect in search.tiles:
        maps = search.tile(scale, rect) / LEVELS
        labels = flood(InstanceMaps(*maps, None), InstanceOptions())
        x, y, _, _ = search.layouts[1].inner(rect)
        found += [
            Found.of(labels == i, (x, y), predicted_iou=1.0, stability_score=1.0, point=(0, 0),
                     tile=rect)
            for i in range(1, labels.max() + 1)
        ]  # fmt: skip
    assert len(found) > len(search.found)
    assert count_cut(found, *search.borders(1)) > 20


def test_an_object_larger_than_half_a_tile_is_counted():
    y, x = np.mgrid[:400, :400]
    inside = (x - 200) ** 2 + (y - 200) ** 2 <= 150**2
    picture = np.full((400, 400, 3), 40, np.uint8)
    picture[inside] = 200
    search = flooding(picture, as_seen)
    found = list(search)
    assert found and search.counts["too_large"] > 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_height():
    peaks = []
    for height in (480, 960, 1920):
        search = flooding(Cells(height, 240), as_seen)
        tracemalloc.start()
        count = sum(1 for _ in search)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == height // 48 * 5
    assert max(peaks) < 1.1 * min(peaks), peaks


def test_a_search_that_was_stopped_gives_the_same(tmp_path):
    expected = [one.to_json() for one in flooding(Cells(300, 300), as_seen)]
    event, asked = Event(), []

    def stopped_at(n):
        return lambda done, total: done == n and event.set()

    def predict(pixels):
        asked.append(pixels.shape)
        return as_seen(pixels)

    store = MapStore(tmp_path / "tiles")
    search = flooding(
        Cells(300, 300), predict, store=store, report=stopped_at(4),
        pause=partial(checkpoint, event),
    )  # fmt: skip
    with pytest.raises(CancelledError):
        list(search)
    assert len(asked) == len(list(store.folder.iterdir())) == 4
    damaged = sorted(store.folder.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:200])
    again = flooding(Cells(300, 300), predict, store=store)
    found = [one.to_json() for one in again]
    assert json.dumps(found) == json.dumps(expected)
    assert len(asked) == 4 + len(again.tiles) - 3  # those missing, and the damaged one


@pytest.mark.parametrize("wrong", [b"", b"PK\x03\x04", b"\x93NUMPY", "shape", "type", "name"])
def test_damaged_maps_are_made_again(tmp_path, wrong):
    store = MapStore(tmp_path)
    if isinstance(wrong, bytes):
        (tmp_path / "a.npz").write_bytes(wrong)
    else:
        maps = np.zeros((2 if wrong == "shape" else 3, 4, 4), "u1" if wrong == "type" else "u2")
        np.savez(tmp_path / "a.npz", **{"other" if wrong == "name" else "maps": maps})
    assert store.get("a") is None
    store.put("a", np.ones((3, 4, 4), np.uint16))
    assert store.get("a").sum() == 48


def test_a_region_and_pixels_without_a_value():
    values = Cells(400, 400)[0:400, 0:400]
    values[:, 200:] = 0
    asked = []

    def predict(pixels):
        asked.append(pixels.shape)
        return np.float32(np.stack([np.ones(pixels.shape[:2])] + 2 * [np.zeros(pixels.shape[:2])]))

    picture = open_large(values, nodata=0)
    search = Flooding(
        picture=picture, region=region_of(picture, (40, 20, 350, 300)), tile_options=TILES,
        predict=predict, options=InstanceOptions(),
    )  # fmt: skip
    found = list(search)
    assert 0 < len(asked) < len(search.tiles)
    assert max(one.box[2] for one in found) == 160  # where values end, in the region


def test_cores_and_inner_parts_fill_the_region():
    assert cores([0], 128, 90) == [(0, 90)]
    assert cores([0, 80, 160, 172], 128, 300) == [(0, 104), (104, 184), (184, 230), (230, 300)]
    picture = open_large(np.zeros((330, 270, 3), np.uint8))
    layout = Tiles(region_of(picture, None), 1, TILES)
    covered = np.zeros((330, 270), int)
    for row in range(len(layout.rows)):
        for column in range(len(layout.columns)):
            rect = layout.rect(row, column)
            left, top, right, bottom = layout.inner(rect)
            assert rect[0] <= left and rect[1] <= top and right <= rect[2] and bottom <= rect[3]
            covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


@pytest.fixture(scope="module")
def model():
    return nano_with_decoder()


def test_one_tile_is_the_picture(model):
    """The decoder's own maps, in 16 bits."""
    coins = np.array(Image.open(COINS).convert("RGB").resize((180, 150)))
    segmenter = InstanceSegmenter(model, center_distance_threshold=0.55, output_mode="coco_rle")
    maps = segmenter.predict(coins)
    names = ("foreground", "center_distances", "boundary_distances")
    values = [np.round(getattr(maps, name) * LEVELS) / LEVELS for name in names]
    expected = segmenter.select(InstanceMaps(*values, maps.embedding))
    reports = []
    records = list(segmenter.generate_large(coins, 256, 64, progress=lambda *r: reports.append(r)))
    assert reports == [(1, 1)] and len(records) == len(expected) > 3
    for ours, theirs in zip(records, expected):
        x, y, w, h = ours["window"]
        mask = decode_rle([theirs["segmentation"]])[0]
        np.testing.assert_array_equal(
            decode_rle([ours["segmentation"]])[0], mask[y : y + h, x : x + w]
        )
        for name in ("area", "bbox", "seg_id", "point_coords"):
            assert ours[name] == theirs[name]
        assert ours["predicted_iou"] == pytest.approx(theirs["predicted_iou"], abs=1e-6)
        assert np.isnan(ours["stability_score"])


def test_bad_arguments(model):
    cells = np.zeros((50, 60, 3), np.uint8)
    segmenter = InstanceSegmenter(model)
    with pytest.raises(ValueError, match="the region 50 0 100 50 .* is not within the picture"):
        next(segmenter.generate_large(cells, region=(50, 0, 100, 50)))
    with pytest.raises(ValueError, match="under half a tile"):
        next(segmenter.generate_large(cells, 256, 128))
