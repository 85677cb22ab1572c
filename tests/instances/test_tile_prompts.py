"""All instances in large pictures by prompts of the map: points in parts, masks across tiles."""

import json
from concurrent.futures import CancelledError
from functools import partial
from threading import Event

import numpy as np
import pytest

pytest.importorskip("skimage")

from PIL import Image

from sam_mlx import InstanceSegmenter, SamPredictor
from sam_mlx.instances.layers import Layers
from sam_mlx.instances.maps import InstanceMaps
from sam_mlx.instances.options import InstanceOptions
from sam_mlx.instances.prompting import inner_points
from sam_mlx.instances.tile_prompts import Embeddings, Prompting
from sam_mlx.instances.tiles import LEVELS, MapStore
from sam_mlx.large import open_large
from sam_mlx.machine.worker import checkpoint
from sam_mlx.masks import decode_rle
from sam_mlx.sam import Sam
from sam_mlx.tiled.found import Found, iou
from sam_mlx.tiled.layout import TileOptions, region_of
from sam_mlx.tiled.seams import count_cut
from sam_mlx.tiled.store import MaskStore
from tests.instances.test_tiles import COINS, as_picture, as_seen, from_colours
from tests.support.drawn import drawn_maps
from tests.support.instances import matched, nano_with_decoder
from tests.support.large import Drawn

OPTIONS = InstanceOptions("apg")
TILES = TileOptions(256, 64)


@pytest.fixture(scope="module")
def embeddings():
    return Embeddings(SamPredictor(Sam.from_pretrained("nano")))


def prompting(picture, predict, embeddings=None, tiles=TILES, options=OPTIONS, **more):
    picture = open_large(picture, value_range=(0, 255))
    return Prompting(
        picture=picture, region=region_of(picture, None), tile_options=tiles, predict=predict,
        options=options, embeddings=embeddings, **more,
    )  # fmt: skip


def points_in_parts(maps):
    search = prompting(as_picture(maps), from_colours, tiles=TileOptions(128, 48))
    found = [
        point for band, parts, _ in search.rows_of_parts() for rect, core in parts
        for point in search._points(band, rect, core)
    ]  # fmt: skip
    whole = InstanceMaps(
        *np.round(from_colours(as_picture(maps)) * LEVELS) / LEVELS, maps.embedding
    )
    return whole, sorted(found)


@pytest.mark.slow
def test_parts_give_the_points_that_one_piece_gives():
    whole, found = points_in_parts(drawn_maps((700, 560), radius=13))
    expected, _ = inner_points(whole, OPTIONS)
    assert len(found) > 300 and found == sorted(map(tuple, expected.tolist()))


@pytest.mark.original
def test_parts_give_the_points_that_micro_sam_gives():
    """Within its tiles of 512, in which it takes distances."""
    from tests.support.micro_sam import segmentation

    whole, found = points_in_parts(drawn_maps((400, 500), radius=13))
    expected = segmentation._derive_point_prompts(
        whole.foreground, whole.center_distances, whole.boundary_distances
    )["points"][:, 0]
    assert len(found) > 100 and found == sorted(map(tuple, expected.tolist()))


SIZE, HALO = 128, 40  # the inner part of a tile, and what it sees beyond


def random_masks(seed, size=(512, 384), count=300):
    """Discs, some of them nearly repeated, in the order of tiles, each within what a tile sees."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: 2 * HALO, : 2 * HALO] - HALO + 0.5
    found = []
    for _ in range(count):
        x, y = rng.integers(HALO, np.array(size[::-1]) - HALO).tolist()
        radius = rng.uniform(3, 22)
        for shift in range(rng.integers(1, 3)):
            mask = np.hypot(xx - shift, yy) < radius
            iou, stability = rng.uniform(0.5, 1, 2).tolist()
            found.append(
                Found.of(mask, (x - HALO, y - HALO), predicted_iou=iou, stability_score=stability,
                         point=(float(x), float(y)), tile=(0, 0, *size[::-1]))
            )  # fmt: skip
    return sorted(found, key=lambda one: (one.point[1] // SIZE, one.point[0] // SIZE))


def in_layers(masks, height, options):
    """The instances, and the most masks that were held at once."""
    layers, found, held = Layers(options), [], []
    for row in range(-(-height // SIZE)):
        some = [one for one in masks if one.point[1] // SIZE == row]
        bottom = (row + 1) * SIZE
        found += layers.add(some, bottom - HALO if bottom < height else None)
        held.append(len(layers.kept) + len(layers.above) + len(layers.masks.waiting))
    assert held[-1] == 0
    return found, max(held)


ARGUMENTS = [{}, {"min_size": 0}, {"nms_threshold": 0.5}, {"intersection_over_min": True}]


@pytest.mark.original
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_masks_of_tiles_become_labels_as_in_micro_sam(seed, arguments):
    """Whose boxes are one wider and higher here: it leaves out what is beyond a box's end."""
    from tests.support.micro_sam import micro_sam_util, torch

    options, masks, size = InstanceOptions("apg", **arguments), random_masks(seed), (512, 384)
    records = []
    for one in masks:
        (x0, y0), side = np.array(one.point, int) - HALO, 2 * HALO
        mask = one.within((x0, y0, x0 + side, y0 + side))
        h, w = one.shape
        records.append({
            "segmentation": torch.tensor(mask), "predicted_iou": one.predicted_iou,
            "stability_score": one.stability_score, "bbox": [one.x - x0, one.y - y0, w, h],
            "global_bbox": [one.x, one.y, w, h],
        })  # fmt: skip
    expected = micro_sam_util.apply_nms(
        records, shape=size, min_size=options.smallest, nms_thresh=options.nms_threshold,
        intersection_over_min=options.intersection_over_min,
    )  # fmt: skip
    labels = np.zeros(size, np.uint32)
    for i, one in enumerate(in_layers(masks, size[0], options)[0], 1):
        x0, y0, x1, y1 = one.box
        assert not labels[y0:y1, x0:x1][one.mask].any()
        labels[y0:y1, x0:x1][one.mask] = i
    assert labels.max() > 100 and (matched(labels, expected) == 1).all()


def test_masks_that_are_held_do_not_grow_with_the_height():
    held = []
    for height in (1024, 2048, 4096):
        found, most = in_layers(random_masks(0, (height, 384), height // 4), height, OPTIONS)
        assert len(found) > height // 8
        held.append(most)
    assert max(held) < 1.3 * min(held), held


class Cells(Drawn):
    """Discs that nano knows, the largest of them larger than what two tiles share."""

    def __init__(self, height: int = 560, width: int = 600):
        super().__init__(height, width, cell=140, most=0.42, least=0.25)


@pytest.fixture(scope="module")
def search(embeddings):
    search = prompting(Cells(), as_seen, embeddings)
    search.found = list(search)
    return search


@pytest.mark.slow
def test_objects_on_the_borders_of_tiles_are_whole_and_found_once(search):
    y, x = np.mgrid[:560, :600] + 0.5
    xs, ys = search.borders(1)
    on_a_border, cells = 0, Cells()
    for a, b, radius in cells.discs():
        disc = Found.of(
            (x - a) ** 2 + (y - b) ** 2 <= radius**2, (0, 0), predicted_iou=1.0,
            stability_score=1.0, point=(a, b), tile=(0, 0, 600, 560),
        )  # fmt: skip
        overlaps = [iou(disc, one) for one in search.found]
        assert max(overlaps) > 0.9 and sum(value > 0.3 for value in overlaps) == 1
        on_a_border += any(a - radius < edge < a + radius for edge in xs)
        on_a_border += any(b - radius < edge < b + radius for edge in ys)
    assert len(search.tiles) == 9 and on_a_border > 8
    assert any(2 * radius > TILES.overlap for _, _, radius in cells.discs())
    assert count_cut(search.found, xs, ys) == 0 and search.counts == {"too_large": 0}
    assert any(one.tile not in [rect for _, rect in search.tiles] for one in search.found)


@pytest.mark.slow
def test_the_tiles_alone_would_cut_objects(embeddings, monkeypatch):
    """As in micro-sam, which has what the tile shows: the counter sees it."""
    monkeypatch.setattr(Prompting, "_whole", lambda self, one: one)
    search = prompting(Cells(), as_seen, embeddings)
    assert count_cut(list(search), *search.borders(1)) > 0 and search.counts["too_large"] > 0


@pytest.mark.slow
def test_a_search_that_was_stopped_gives_the_same(search, embeddings, tmp_path):
    event, asked = Event(), []

    class Stopping(MaskStore):
        def put(self, key, found):
            super().put(key, found)
            asked.append(key)
            if len(asked) == 4:
                event.set()

    stores = dict(store=MapStore(tmp_path), answers=Stopping(tmp_path))
    again = prompting(Cells(), as_seen, embeddings, pause=partial(checkpoint, event), **stores)
    with pytest.raises(CancelledError):
        list(again)
    assert len(list(tmp_path.glob("*.json"))) == 4
    again = prompting(Cells(), None, embeddings, **stores)  # maps are not made again
    found = [[one.to_json() for one in each] for each in (again, search.found)]
    assert json.dumps(found[0]) == json.dumps(found[1])
    assert len(asked) == len(set(asked))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"refine_with_box_prompts": True, "multimasking": True}])
def test_one_tile_is_the_picture(arguments):
    """The decoder's own maps, in 16 bits."""
    coins = np.array(Image.open(COINS).convert("RGB").resize((180, 150)))
    segmenter = InstanceSegmenter(
        nano_with_decoder(), "apg", center_distance_threshold=0.55, output_mode="coco_rle",
        **arguments,
    )  # fmt: skip
    maps = segmenter.predict(coins)
    names = ("foreground", "center_distances", "boundary_distances")
    values = [np.round(getattr(maps, name) * LEVELS) / LEVELS for name in names]
    expected = segmenter.select(InstanceMaps(*values, maps.embedding))
    records = list(segmenter.generate_large(coins, 256, 64))
    assert len(records) == len(expected) > 3
    where = {tuple(r["bbox"]): r for r in records}
    for theirs in expected:
        ours = where[tuple(theirs["bbox"])]
        x, y, w, h = ours["window"]
        mask = decode_rle([theirs["segmentation"]])[0][y : y + h, x : x + w]
        np.testing.assert_array_equal(decode_rle([ours["segmentation"]])[0], mask)
        assert ours["area"] == theirs["area"] and ours["point_coords"] == theirs["point_coords"]
        for name in ("predicted_iou", "stability_score"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6)
