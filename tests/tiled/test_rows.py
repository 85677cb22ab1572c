"""Pieces are joined, duplicates dropped, and rows finished in order: without a model."""

import numpy as np
import pytest

from sam_mlx.large import Window
from sam_mlx.tiled.found import Found, coarser, iou, iou_within, meeting
from sam_mlx.tiled.layout import TileOptions, Tiles, scales_of, starts
from sam_mlx.tiled.passes import Coarse
from sam_mlx.tiled.rows import Rows
from sam_mlx.tiled.seams import count_cut, is_cut
from sam_mlx.tiled.search import reaches_edge
from sam_mlx.tiled.store import MaskStore, key_of_pieces, key_of_tile

OPTIONS = TileOptions(300, 120)
SMALL = TileOptions(200, 60)


def disc(x, y, radius, tile=(0, 0, 10_000, 10_000), score=0.9, scale=1, clip=True) -> Found:
    """A disc as a tile sees it."""
    left, top = int(x - radius) - 1, int(y - radius) - 1
    side = int(2 * radius) + 4
    yy, xx = np.mgrid[top : top + side, left : left + side]
    mask = (xx + 0.5 - x) ** 2 + (yy + 0.5 - y) ** 2 <= radius**2
    x0, y0, x1, y1 = tile
    mask &= ((xx >= x0) & (xx < x1) & (yy >= y0) & (yy < y1)) | (not clip)
    return Found.of(
        mask, (left, top), predicted_iou=score, stability_score=0.95, point=(float(x), float(y)),
        tile=tile, scale=scale,
    )  # fmt: skip


def seen_by_tiles(discs, size, options=OPTIONS):
    """What perfect tiles see: rows of masks, cut where an edge of a tile cuts them."""
    tiles = Tiles(Window(0, 0, size[1], size[0]), 1, options)
    rows = []
    for row in range(len(tiles.rows)):
        found = []
        for column in range(len(tiles.columns)):
            rect = tiles.rect(row, column)
            for number, (x, y, radius) in enumerate(discs):
                if (
                    rect[0] < x + radius
                    and x - radius < rect[2]
                    and rect[1] < y + radius
                    and (y - radius < rect[3])
                ):
                    try:
                        one = disc(x, y, radius, rect, 0.9 - number / 1000)
                    except ValueError:
                        continue
                    if one.area > 12:
                        found.append(cut_or_not(one, tiles))
        rows.append(found)
    return tiles, rows


def cut_or_not(one, tiles):
    from dataclasses import replace

    return replace(one, is_cut=reaches_edge(one, one.tile, tiles))


def run(discs, size, ask=None):
    tiles, rows = seen_by_tiles(discs, size)
    asked = []

    def answer(pieces):
        asked.append(pieces)
        x, y = pieces[0].point
        (known,) = [d for d in discs if d[:2] == (x, y)]
        return [disc(*known, score=0.95)]

    made = Rows(ask or answer, 225, 0.7)
    tops = [*tiles.rows[1:], None]
    finished = [made.add(found, top) for found, top in zip(rows, tops)]
    return tiles, finished, asked, made


@pytest.mark.slow
def test_every_object_once_and_none_cut():
    rng = np.random.default_rng(0)
    discs = [
        (x + rng.uniform(-8, 8), y + rng.uniform(-8, 8), rng.uniform(6, 25))
        for x in range(40, 700, 60) for y in range(40, 900, 60)
    ]  # fmt: skip
    tiles, finished, asked, made = run(discs, (940, 740))
    found = [one for row in finished for one in row]
    assert len(found) == len(discs) and made.unresolved == 0
    for x, y, radius in discs:
        assert max(iou(disc(x, y, radius), one) for one in found) > 0.999
    assert count_cut(found, *tiles.borders()) == 0
    assert len(asked) == 0  # each is whole in some tile
    assert not made.whole.waiting and not made.groups and not made.whole.links


def test_objects_larger_than_the_overlap_are_joined():
    discs = [(240.3, 80.2, 62), (420.3, 420.7, 65)]  # the second lies in four tiles
    tiles, finished, asked, _ = run(discs, (660, 660))
    assert sorted(len(pieces) for pieces in asked) == [2, 4]
    found = [one for row in finished for one in row]
    assert [iou(one, disc(*d)) for one, d in zip(found, discs)] == [1, 1]
    seen = [one for row in seen_by_tiles(discs, (660, 660))[1] for one in row if one.is_cut]
    assert count_cut(seen, *tiles.borders()) >= 4  # the counter sees what tiles alone give


def test_what_is_too_large_waits_for_a_coarser_search_and_holds_up_nothing():
    discs = [(330, 330, 270), (50, 50, 20), (50, 610, 20)]
    _, finished, asked, made = run(discs, (660, 660))
    found = [[one.point for one in row] for row in finished]
    assert asked == [] and found == [[(50, 50)], [], [(50, 610)]] and not made.groups


def test_rows_are_finished_in_order_and_nothing_is_held():
    """The number of masks in memory does not grow with the height."""

    def most_held(height):
        discs = [(x, y, 18) for x in range(30, 500, 50) for y in range(30, height, 50)]
        tiles, rows = seen_by_tiles(discs, (height, 520))
        made, held, bottoms = Rows(lambda pieces: [], 225, 0.7), [], []
        for found, top in zip(rows, [*tiles.rows[1:], None]):
            bottoms += [one.box[3] for one in made.add(found, top)]
            held.append(len(made.whole.waiting) + sum(len(group.members) for group in made.groups))
        assert len(bottoms) == len(discs) and held[-1] == 0
        return max(held)

    assert most_held(1800) == most_held(3600) < 200


def test_duplicates_are_found_by_masks_not_by_boxes():
    tile = (0, 0, 400, 400)
    ring = disc(100, 100, 40, tile).mask
    ring &= ~np.pad(disc(100, 100, 30, tile).mask, 10)[: ring.shape[0], : ring.shape[1]]
    more = dict(stability_score=1, point=(0, 0), tile=tile)
    hollow = Found.of(ring, (59, 59), predicted_iou=0.8, **more)
    full, again = disc(100, 100, 40, tile, 0.9), disc(100.5, 100, 40, tile, 0.95)
    made = Rows(lambda pieces: [], 150, 0.7)
    assert set(made.add([full, hollow, again], None)) == {hollow, again}


def test_of_a_chain_of_duplicates_the_best_stay():
    a, b, c = (disc(100 + 9 * i, 100, 40, score=s) for i, s in enumerate((0.7, 0.9, 0.8)))
    assert iou(a, b) > 0.7 and iou(b, c) > 0.7 and iou(a, c) < 0.7
    assert Rows(lambda pieces: [], 150, 0.7).add([a, b, c], None) == [b]
    b = disc(109, 100, 40, score=0.6)
    assert Rows(lambda pieces: [], 150, 0.7).add([a, b, c], None) == [a, c]


def test_pieces_without_an_answer_are_counted():
    discs = [(240, 80, 62)]
    _, finished, _, made = run(discs, (660, 660), ask=lambda pieces: [])
    assert made.unresolved == 1 and not any(finished)


def test_coarse_masks_stay_where_no_fine_one_repeats_them():
    small, large = disc(30, 30, 20, scale=4), disc(70, 90, 25, scale=4)
    coarse = Coarse([small, large], 1)
    fine = disc(120, 120, 81)
    assert coarse.after([fine], np.array([[0, 0, 9, 9]]), 300) == []
    assert coarse.after([], np.array([[250, 300, 280, 310]]), 800) == []
    assert coarse.after([], np.zeros((0, 4)), 800) == [large]


def test_masks():
    a = disc(50, 60, 20)
    assert a.area == a.mask.sum() and a.box == (30, 40, 70, 80) and a.extent == 40
    again = Found.from_json(a.to_json())
    assert (again.mask == a.mask).all() and again.rank == a.rank and again.tile == a.tile
    assert iou(a, again) == 1 and iou_within(a, again, (0, 0, 10, 10)) == 0
    half = coarser(disc(101, 101, 40), 4)
    assert half.scale == 4 and iou(half, disc(101 / 4, 101 / 4, 10)) > 0.9
    assert coarser(disc(5.5, 5.5, 1), 8).area == 1
    many = [disc(x, 30, 5) for x in range(20, 9000, 8)]
    pairs = set(meeting(many, many))
    assert {(i, i) for i in range(len(many))} < pairs and len(pairs) == 3 * len(many) - 2
    with pytest.raises(ValueError, match="empty"):
        Found.of(np.zeros((3, 3), bool), (0, 0), predicted_iou=1)


def test_the_counter_of_cuts():
    whole = disc(100, 100, 40)
    x, y = whole.x, whole.y
    assert not is_cut(whole.mask, (x, y), [100, 90], [100])
    for line in (62, 75, 100, 130):
        cut = whole.mask.copy()
        cut[:, : line - x] = False
        assert is_cut(cut, (x, y), [line], []) and not is_cut(cut, (x, y), [line + 1], [line])
        assert is_cut(cut.T, (y, x), [], [line])
    for radius in range(5, 200, 3):  # the ends of discs that touch a border are round
        for shift in (0, 0.3, 0.6):
            one = disc(300 + shift, 300, radius)
            lines = [one.x - 1, one.x, one.x + 1, one.box[2] - 1, one.box[2], one.box[2] + 1]
            assert not is_cut(one.mask, (one.x, one.y), lines, lines)


def test_what_an_edge_has_cut():
    """The last tiles are moved, and may end a few pixels before those in front of them."""
    tiles = Tiles(Window(0, 0, 304, 400), 1, OPTIONS)
    assert tiles.columns == [0, 4] and tiles.rows == [0, 100]
    first, last = tiles.rect(0, 0), tiles.rect(0, 1)
    beside = disc(290, 150, 30, first)  # cut at 300, and the picture ends at 304
    assert beside.box[2] == 300 and reaches_edge(beside, first, tiles)
    again = disc(290, 150, 30, last)
    assert again.box[2] == 304 and not reaches_edge(again, last, tiles)
    assert not reaches_edge(disc(50, 20, 30, first), first, tiles)
    assert reaches_edge(disc(50, 260, 30, first), first, tiles)
    made = Rows(lambda pieces: [], 225, 0.7)
    found = [cut_or_not(one, tiles) for one in (beside, again)]
    assert made.add(found, None) == [found[1]]


def test_layout():
    assert starts(100, SMALL) == [0] and starts(200, SMALL) == [0]
    assert starts(520, SMALL) == [0, 140, 280, 320] and starts(201, SMALL) == [0, 1]
    region = Window(1000, 2000, 503, 301)
    tiles = Tiles(region, 4, SMALL)
    assert tiles.size == (76, 126) and tiles.rect(0, 0) == (0, 0, 126, 76)
    assert tiles.window((0, 0, 126, 76)) == Window(1000, 2000, 503, 301, 4)
    assert Tiles(region, 1, SMALL).borders() == ([140, 200, 280, 303, 340, 480], [101, 200])
    assert scales_of(region, SMALL) == [1, 4] and scales_of(Window(0, 0, 9, 9), SMALL) == [1]
    for tile, overlap in ((200, 100), (200, 0), (200, 250)):
        with pytest.raises(ValueError, match=f"overlap is {overlap} and tile 200; expected"):
            TileOptions(tile, overlap)
    with pytest.raises(ValueError, match="tile is 9000"):
        TileOptions(9000, 100)


def test_what_is_kept_in_a_folder(tmp_path):
    store, found = MaskStore(tmp_path / "tiles"), [disc(50, 60, 20), disc(9, 9, 3)]
    key = key_of_tile(1, (0, 0, 200, 200))
    assert store.get(key) is None
    store.put(key, found)
    assert store.has(key) and [one.box for one in store.get(key)] == [one.box for one in found]
    (tmp_path / "tiles" / f"{key}.json").write_text('[{"x": 3')
    assert store.get(key) is None
    assert key_of_pieces(found) != key_of_pieces(found[::-1])
