"""The page's server on large pictures: tiles, windows, exports, sessions."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS  # isort: skip  first: it skips all where it must

rasterio = pytest.importorskip("rasterio", reason="rasterio is missing (extra geo)")

from sam_mlx.large import Window, open_large
from sam_mlx.masks import (
    brush,
    compress_rle,
    decode_part,
    decode_rle,
    encode_rle,
    record_of,
    run_lengths,
)
from sam_mlx.web.errors import Refusal
from sam_mlx.web.large import LargeContent, is_large
from sam_mlx.web.strokes import with_strokes
from tests.support import large
from tests.support.large import Drawn, geotiff

SCENE = Drawn(1500, 4400, cell=400, seed=3)
PLACE = Window(20, 10, 70, 40)
DISC = next(disc for disc in SCENE.discs() if disc[0] > 2000 and 60 < disc[2] < 130)


@pytest.fixture(scope="module")
def ortho(tmp_path_factory):
    return geotiff(tmp_path_factory.mktemp("scene") / "ortho.tif", SCENE.whole())


@pytest.fixture
def server(nano, ortho):
    from sam_mlx.web.backend import Backend

    server = Backend(nano, "nano", [ortho, COINS], max_pixels=1_000_000)
    yield server
    server.close()


@pytest.fixture
def content(server):
    return server.sessions.first_pictures[0][1]


def iou_with(disc, found):
    return large.iou_with(disc, found["mask"], found["mask_scale"])


def click_on(disc, scale=1, **more):
    point = [int(disc[0]), int(disc[1])]
    return {"points": [point], "labels": [1], "scale": scale} | more


def test_which_files_are_drawn_in_tiles(tmp_path, ortho):
    assert is_large(ortho, 6_000_000) and not is_large(ortho, 7_000_000)
    pyramid = geotiff(tmp_path / "p.tif", np.zeros((300, 4096), np.uint8), overviews=(2, 4))
    small = geotiff(tmp_path / "s.tif", np.zeros((300, 4000), np.uint8), overviews=(2, 4))
    assert is_large(pyramid, 10**9) and not is_large(small, 10**9)
    assert not is_large(COINS, 1) and not is_large(tmp_path / "none.tif", 1)
    assert is_large(tmp_path / "slide.svs", 10**9)
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{}")
    assert is_large(tmp_path / "a.zarr", 10**9)


def test_a_range_is_for_samples_of_more_than_8_bits(tmp_path, ortho):
    """As in ordinary pictures; a trained model brings one, whatever pictures it is shown."""
    eight = LargeContent(ortho, (100, 9000))
    assert eight.value_range is None and eight.key == LargeContent(ortho, None).key
    np.testing.assert_array_equal(eight.part(PLACE), SCENE.whole()[10:50, 20:90])
    deep = geotiff(tmp_path / "deep.tif", SCENE.whole().astype(np.uint16) * 256)
    content = LargeContent(deep, (0, 65536))
    assert content.value_range == (0, 65536)
    np.testing.assert_array_equal(content.part(PLACE), eight.part(PLACE))


def test_what_a_page_is_told(client, page):
    found = client.get(page.picture).json()
    assert (found["width"], found["height"], found["ready"]) == (4400, 1500, True)
    assert found["tiles"]["side"] == 512 and found["tiles"]["levels"] == 2
    assert {"gpkg", "geojson", "labelmap", "coco"} <= set(found["tiles"]["formats"])
    assert client.get(f"{page.session}/pictures/p2").json()["tiles"] is None
    assert client.post(f"{page.picture}/encode").json()["ready"]


@pytest.mark.parametrize(
    ("level", "column", "row", "size"),
    [(0, 3, 1, (512, 512)), (1, 4, 1, (238, 152)), (0, 8, 2, (476, 304))],
)
def test_tiles_are_the_picture(client, page, level, column, row, size):
    answer = client.get(f"{page.picture}/tiles/{level}/{column}/{row}")
    assert answer.headers["content-type"] == "image/jpeg"
    tile = np.array(Image.open(io.BytesIO(answer.content)))
    assert tile.shape == (*size, 3)
    side = 512 << level
    x, y = column * side, row * side
    part = SCENE[y : y + side, x : x + side].astype(float)
    n = 1 << level
    part = np.pad(part, ((0, -len(part) % n), (0, -part.shape[1] % n), (0, 0)), mode="edge")
    means = part.reshape(len(part) // n, n, -1, n, 3).mean(axis=(1, 3))
    assert abs(tile - means).mean() < 2  # JPEG; discs differ from the ground by 50 and more


def test_the_overview(client, page):
    for kind, size in (("image", (1100, 375)), ("thumbnail", (160, 55))):
        answer = client.get(f"{page.picture}/{kind}")
        assert Image.open(io.BytesIO(answer.content)).size == size


@pytest.mark.parametrize("place", ["2/0/0", "0/9/0", "0/0/3", "-1/0/0", "0/x/0", "9999999/0/0"])
def test_tiles_that_are_not_there(client, page, place):
    answer = client.get(f"{page.picture}/tiles/{place}")
    assert (answer.status_code, answer.json()) == (404, {"error": "the picture has no such tile"})
    assert client.get(f"{page.session}/pictures/p2/tiles/0/0/0").status_code == 404


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_click_is_answered_in_a_window_of_the_level(client, page, scale):
    body = click_on(DISC, scale)
    answer = client.post(f"{page.picture}/predict", json=body).json()
    x, y, width, height = answer["window"]
    assert max(width, height) == min(320 * scale, 4400) and x % scale == y % scale == 0
    assert x < DISC[0] < x + width and y < DISC[1] < y + height
    if DISC[2] * 2 < width / 3:
        area = answer["masks"][answer["best"]]["area"]
        assert area == pytest.approx(np.pi * DISC[2] ** 2, rel=0.15)
        found = client.post(f"{page.picture}/objects", json=body).json()
        assert found["mask_scale"] == scale
        assert found["mask"]["size"] == [-(-1500 // scale), -(-4400 // scale)]
        assert iou_with(DISC, found) > 0.9


def test_a_box_larger_than_its_window_gets_a_larger_one(client, page):
    x, y, r = DISC
    box = [x - r, y - r, x + r, y + r]
    answer = client.post(f"{page.picture}/predict", json={"box": box}).json()
    assert answer["window"][2] >= 4 * 2 * r
    found = client.post(f"{page.picture}/objects", json={"box": box}).json()
    assert found["scale"] == 1 < found["mask_scale"] and iou_with(DISC, found) > 0.9
    renamed = client.put(f"{page.picture}/objects/{found['id']}", json={"name": "a", "scale": 1})
    assert renamed.json() == found | {"name": "a", "version": found["version"] + 1}


GIVEN = compress_rle([run_lengths(np.ones((90, 120), bool), (700, 2100), (1500, 4400))])[0]
STROKES = [
    {"erase": False, "radius": 30.5, "path": [[2100, 700], [2300.5, 760]]},
    {"erase": True, "radius": 12, "path": [[2200, 740]]},
]


@pytest.mark.parametrize(
    "given",
    [
        click_on(DISC, 2),
        click_on(DISC, 4, choice=1, multimask=True),
        {"box": [2000, 600, 2400, 1000], "min_mask_region_area": 400},
        click_on(DISC, 2, edits=STROKES),
        {"edits": STROKES, "scale": 4},
        {"start": GIVEN},
        {"start": GIVEN, "edits": STROKES, "min_mask_region_area": 9},
        click_on(DISC, 4, start=GIVEN),
    ],
)
def test_the_python_lines_give_the_mask(client, page, given, ortho, monkeypatch):
    found = client.post(f"{page.picture}/objects", json=given).json()
    lines = client.get(f"{page.picture}/python?object={found['id']}").text
    monkeypatch.chdir(ortho.parent)
    names: dict = {}
    exec(lines, names)
    s = found["mask_scale"]
    words = lines.splitlines()[-1].replace(",", "").split()
    x, y = (int(words[words.index(axis) + 1]) // s for axis in "xy")
    h, w = names["mask"].shape
    part = decode_part(found["mask"], (x, y, x + w, y + h))
    assert part.any() and (part == names["mask"]).all()
    assert part.sum() == found["area"]


def test_exports_are_at_the_pictures_size(client, page, tmp_path):
    pytest.importorskip("pyogrio", reason="pyogrio is missing (extra geo)")
    import shapely
    from rasterio.features import rasterize

    for scale in (2, 4):
        client.post(f"{page.picture}/objects", json=click_on(DISC, scale, name=f"at {scale}"))
    first, second = client.get(page.picture).json()["objects"]
    wanted = np.kron(decode_rle([first["mask"]])[0], np.ones((2, 2), bool))

    labels = page.export("labelmap", first["id"])
    assert labels.headers["content-type"] == "image/tiff"
    assert "ortho.labels.tif" in labels.headers["content-disposition"]
    with rasterio.MemoryFile(labels.content) as memory, memory.open() as file:
        found, transform, crs = file.read(1), file.transform, file.crs
    assert found.dtype == np.uint32 and crs.to_epsg() == 32633
    assert ((found > 0) == wanted).all()

    (tmp_path / "a.gpkg").write_bytes(page.export("gpkg").content)
    import pyogrio

    _, _, geometry, values = pyogrio.raw.read(tmp_path / "a.gpkg")
    shapes = [shapely.from_wkb(wkb) for wkb in geometry]
    assert values[1].tolist() == ["at 2", "at 4"]
    assert (rasterize([shapes[0]], (1500, 4400), transform=transform) == wanted).all()

    coco = page.export("coco").json()["annotations"]
    assert (decode_rle([coco[0]["segmentation"]])[0] == wanted).all()
    assert [annotation["name"] for annotation in coco] == ["at 2", "at 4"]
    features = page.export("geojson", second["id"]).json()["features"]
    assert len(features) == 1 and features[0]["properties"]["name"] == "at 4"
    assert page.export("svg").json()["error"].startswith("a large picture has no format svg")

    everything = zipfile.ZipFile(io.BytesIO(client.get(f"{page.session}/export").content))
    assert "ortho_large/objects.gpkg" in everything.namelist()


def test_an_object_without_a_pixel_is_not_exported(client, page):
    client.post(f"{page.picture}/objects", json={"edits": []})
    assert page.export("geojson").json()["features"] == []


def test_a_session_is_saved_without_the_picture_and_opened_where_it_is(client, page, server):
    added = client.post(f"{page.picture}/objects", json=click_on(DISC, 2, edits=STROKES)).json()
    saved = client.get(f"{page.session}/file").content
    assert len(saved) < 200_000  # coins, and the object
    opened = client.post("/api/sessions/file", content=saved).json()["session"]
    again = client.get(f"/api/sessions/{opened}/pictures/p1").json()
    assert again["objects"] == [added] and again["tiles"]
    server.store.large.clear()
    answer = client.post("/api/sessions/file", content=saved)
    assert answer.status_code == 400 and "ortho.tif, which the file does not hold" in answer.text


VIEW = [1500, 0, 1800, 1500]  # x, y, width, height


def in_view(disc, scale, space=12):
    """Whether a view shows all of a disc, which nano knows at the scale."""
    (x, y, radius), (left, top, width, height) = disc, VIEW
    inside = left + space < x - radius and x + radius < left + width - space
    return inside and top <= y - radius and y + radius <= top + height and radius / scale > 12


@pytest.mark.slow
def test_everything_in_a_view(page, server):
    """Whole discs, at the scale of the view; what its edges cut is left out."""
    searched = page.automatic(points_per_side=16, window=VIEW, scale=2)
    kept = set(page.select(pred_iou_thresh=0.85, stability_score_thresh=0.9).json()["ids"])
    found = [mask for mask in searched if mask["id"] in kept]
    discs = [disc for disc in SCENE.discs() if in_view(disc, 2)]
    assert len(discs) >= 6
    for disc in discs:
        assert max(iou_with(disc, mask) for mask in found) > 0.9
    cut = [d for d in SCENE.discs() if not in_view(d, 2, 0) and 1500 - d[2] < d[0] < 3300 + d[2]]
    assert cut and all(iou_with(disc, mask) < 0.3 for disc in cut for mask in searched)
    for mask in searched:
        x0, y0, x1, y1 = mask["box"]
        assert mask["mask_scale"] == 2 and mask["mask"]["size"] == [750, 2200]
        whole = decode_rle([mask["mask"]])[0]
        assert mask["area"] == 4 * whole.sum() and 1500 < x0 < x1 < 3299
        inner = whole[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2]
        assert inner.sum() == whole.sum() and inner[0].any() and inner[:, -1].any()


@pytest.mark.slow
def test_a_mask_of_a_view_becomes_an_object(client, page, ortho, monkeypatch, server):
    searched = page.automatic(points_per_side=8, window=VIEW, scale=2)
    mask = max(searched, key=lambda mask: iou_with(DISC, mask))
    given = {"automatic": mask["id"]}
    added = client.post(f"{page.picture}/objects", json=given).json()
    assert added["mask"] == mask["mask"] and (added["mask_scale"], added["score"]) == (
        2,
        mask["score"],
    )
    page.automatic(points_per_side=4, window=[0, 0, 400, 400], scale=1)  # another search
    edits = [{"erase": True, "radius": 9, "path": [[int(DISC[0]), int(DISC[1])]]}]
    hole = client.put(f"{page.picture}/objects/{added['id']}", json={"edits": edits}).json()
    assert 0 < added["area"] - hole["area"] < 150 and hole["mask_scale"] == 2
    lines = client.get(f"{page.picture}/python?object={added['id']}").text
    monkeypatch.chdir(ortho.parent)
    names: dict = {}
    exec(lines, names)
    assert names["mask"].sum() == hole["area"]
    saved = client.get(f"{page.session}/file").content
    opened = client.post("/api/sessions/file", content=saved).json()["session"]
    assert client.get(f"/api/sessions/{opened}/pictures/p1").json()["objects"] == [hole]


def test_small_regions_of_a_view_are_in_pixels_of_the_picture(client, page, server):
    """A disc with a hole of 5 x 5 and an island of 4 x 4 pixels of the view."""
    page.automatic(points_per_side=8, window=VIEW, scale=2)
    run = server.sessions.get(page.session.split("/")[-1]).pictures["p1"].automatic
    mask = np.zeros((750, 900), bool)
    mask[100:160, 200:260] = True
    mask[120:125, 220:225] = False
    mask[100:104, 270:274] = True
    run.records = [record_of(compress_rle(encode_rle(mask[None]))[0], 0.9, 0.95)]
    for least, pixels in ((0, 3591), (4 * 17, 3575), (4 * 26, 3600)):
        (found,) = page.select(min_mask_region_area=least).json()["changed"] or run.show()
        assert found["area"] == 4 * pixels
        given = {"automatic": found["id"], "min_mask_region_area": least}
        added = client.post(f"{page.picture}/objects", json=given).json()
        assert added["area"] == pixels and added["mask"] == found["mask"]


def test_which_views_are_refused(client, page, monkeypatch):
    def search(picture, **given):
        answer = client.post(f"{page.session}/pictures/{picture}/automatic", json=given)
        return answer.status_code, answer.json().get("error", "")

    status, error = search("p1")
    assert status == 400 and "sam-mlx auto ortho.tif -o out --tile 1024" in error
    for window in ([4400, 0, 9, 9], [0, 1500, 9, 9], [-9, 0, 9, 9], [0, 0, 0, 5], [9, 9, -3, 5]):
        status, error = search("p1", window=window, scale=2)
        assert status == 400 and "beside the picture" in error
    assert search("p2", window=[0, 0, 9, 9])[0] == 400
    monkeypatch.setattr("sam_mlx.web.large.MAX_VIEW", 1000)
    status, error = search("p1", window=VIEW, scale=4)
    assert status == 400 and "more than 1000 pixels at scale 4" in error
    assert search("p1", window=[1, 2, 3], scale=1)[0] == 400
    assert client.get(f"{page.picture}/automatic").status_code == 404


def test_a_session_with_a_refined_mask_is_opened_again(client, page):
    """Whose given mask is of the picture's size, and whose mask is of a coarser scale."""
    added = client.post(f"{page.picture}/objects", json=click_on(DISC, 4, start=GIVEN)).json()
    assert added["mask_scale"] == 4
    saved = client.get(f"{page.session}/file").content
    opened = client.post("/api/sessions/file", content=saved)
    again = client.get(f"/api/sessions/{opened.json()['session']}/pictures/p1").json()
    assert again["objects"] == [added]
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        assert json.loads(archive.read("session.json"))["format"] == "sam_mlx.web 5"


def test_a_picture_that_changed_is_told(client, server, tmp_path, nano):
    path = geotiff(tmp_path / "b.tif", SCENE[:1100, :1100])
    with pytest.raises(Refusal, match="no such tile"):
        LargeContent(path, None).tile(0, 0, 0)  # its overview is as fine
    content = server.content_of(path)
    session = server.sessions.create()
    picture = session.add("b.tif", content)
    url = f"/api/sessions/{session.id}/pictures/{picture.id}/predict"
    body = {"points": [[300, 300]], "labels": [1]}
    assert client.post(url, json=body).status_code == 200
    geotiff(path, SCENE[:1100, 1:1101])
    body["points"] = [[900, 900]]  # in another window
    answer = client.post(url, json=body)
    assert answer.status_code == 404 and "b.tif has changed, or is gone" in answer.json()["error"]


def test_damaged_pictures_are_left_out(nano, tmp_path):
    from sam_mlx.web.backend import Backend

    (tmp_path / "a.svs").write_bytes(b"no slide")
    server = Backend(nano, "nano", [tmp_path / "a.svs", COINS])
    assert len(server.left_out) == 1 and "a.svs" in server.left_out[0]
    server.close()


def test_strokes_on_a_part_equal_strokes_on_the_whole(monkeypatch):
    size, edits = (90, 120), [
        {"erase": False, "radius": 9.5, "path": [[10, 12], [61.5, 40]]},
        {"erase": True, "radius": 4, "path": [[30, 25]]},
        {"erase": False, "radius": 30, "path": [[119, 89], [130, 100]]},
    ]  # fmt: skip
    whole = with_strokes(None, edits, size)
    mask = np.zeros(size, bool)
    for edit in edits:
        mask = brush(mask, edit["path"], edit["radius"], edit["erase"])
    assert (decode_rle([whole])[0] == mask).all()
    monkeypatch.setattr("sam_mlx.web.strokes.WHOLE", 0)
    assert with_strokes(None, edits, size) == whole
    first = with_strokes(None, edits[:1], size)
    assert with_strokes(first, edits[1:], size) == whole
    assert with_strokes(first, [], size) is first
    monkeypatch.setattr("sam_mlx.web.strokes.MAX_PART", 5000)
    with pytest.raises(Refusal, match="too large to be painted on"):
        with_strokes(None, edits, size)


def test_an_object_of_a_coarse_level_takes_little(client, page):
    """However large the picture: as many run lengths as its window has columns, twice."""
    x, y, width, height = open_window(client, page, 4)
    found = client.post(f"{page.picture}/objects", json=click_on(DISC, 4)).json()
    assert len(found["mask"]["counts"]) <= 2 * width // 4 + 3
    assert len(json.dumps(found)) < 20_000


def open_window(client, page, scale):
    return client.post(f"{page.picture}/predict", json=click_on(DISC, scale)).json()["window"]


def test_the_same_picture_by_its_reader(ortho, content):
    assert content.size == open_large(ortho).size
