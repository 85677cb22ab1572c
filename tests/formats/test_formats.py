"""What every output format keeps to; what is in the files: test_batch.py."""

import json
import re
import sys
import zipfile
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sam_mlx import masks as M
from sam_mlx.formats import ALL, FORMATS, KEYED, Format, Result, apart
from sam_mlx.overlay import palette
from tests.support.masks import filled

COUNTED = {".svg": "<path ", ".geojson": '"Feature"', ".txt": "\n", ".json": '"segmentation"'}


def result(count: int) -> Result:
    masks = np.zeros((count, 12, 20), bool)
    for i in range(count):
        masks[i, i : i + 6, 2 * i : 2 * i + 9] = True
    rles = M.compress_rle(M.encode_rle(masks))
    records = [M.record_of(rle, 0.9, 0.95, [[1.5, 2.5]]) for rle in rles]
    return Result("picture.png", 1, np.full((12, 20, 3), 90, np.uint8), records)


def test_names_are_unique_and_so_are_paths_of_formats_together():
    assert list(FORMATS) == [format.name for format in ALL] and len(FORMATS) == len(ALL)
    same = {(a.name, b.name) for a, b in combinations(ALL, 2) if a.pattern == b.pattern}
    in_json = {("sa1b", "rle"), ("sa1b", "labelme"), ("rle", "labelme")}
    assert same == in_json | {("tiff16", "tiff32")}
    for count in (2, 3, len(ALL)):
        for some in combinations(ALL, count):
            together = apart(some)
            assert len({format.pattern for format in together}) == count
            for format, usual in zip(together, some):
                shares = any(usual.pattern == o.pattern for o in some if o is not usual)
                assert shares or format is usual
                assert KEYED[format.key].pattern == format.pattern
    assert all(format.help for format in ALL)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_every_format_writes_what_it_is_given(format: Format, count: int, tmp_path: Path):
    path = format.path(tmp_path, "picture")
    path.parent.mkdir(exist_ok=True)
    format.write(result(count), str(path))
    if path.is_dir():
        assert len(list(path.glob("*.png"))) == count
    elif path.suffix == ".zip":
        assert len(zipfile.ZipFile(path).namelist()) == count
    elif path.suffix in COUNTED:
        mark = '"shape_type"' if format.name == "labelme" else COUNTED[path.suffix]
        assert path.read_text().count(mark) == count
    else:
        assert format.name == "crop" or Image.open(path).size == (20, 12)
    if format.joined:
        format.finish({"picture": path}, str(tmp_path / "joined.json"))
        dataset = json.loads((tmp_path / "joined.json").read_text())
        assert len(dataset["annotations"]) == count and len(dataset["images"]) == 1
    else:
        with pytest.raises(NotImplementedError, match=format.name):
            format.finish({}, "")
    assert path.exists()
    for _ in range(2):
        format.remove(path)
        assert not path.exists()


@pytest.mark.parametrize("name", ["coco", "sa1b", "rle", "geojson"])
def test_scores_that_are_none_are_null(name: str, tmp_path: Path):
    """NaN, as of a mask without pixels, which no other language reads."""
    format, found = FORMATS[name], result(2)
    found.records[0] |= {"predicted_iou": np.nan, "stability_score": np.nan}
    found.records[1] |= {"predicted_iou": np.inf}
    path = tmp_path / "part.json"
    format.write(found, str(path))
    texts = [path.read_text()]
    if format.joined:
        path.write_text(texts[0].replace("null", "NaN"))  # as an earlier version has left it
        format.finish({"picture": path}, str(tmp_path / "joined.json"))
        texts.append((tmp_path / "joined.json").read_text())
    for text in texts:
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert text.count("null") == 3


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_one_picture_has_its_whole_result(format: Format, tmp_path: Path):
    path = format.path_of_one(tmp_path, "picture")
    format.write_one(result(2), str(path))
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    if format.joined:
        (image,) = json.loads(path.read_text())["images"]
        assert path.name == format.joined and image["file_name"] == "picture.png"


def test_a_folder_with_something_else_is_not_removed(tmp_path: Path):
    path = tmp_path / "picture"
    FORMATS["masks"].write(result(2), str(path))
    (path / "mine.png").touch()
    with pytest.raises(OSError, match=r"mine\.png"):
        FORMATS["masks"].remove(path)
    assert len(list(path.iterdir())) == 4


def test_masks_are_decoded_one_at_a_time():
    masks = result(3).masks
    assert len(masks) == 3 and [int(mask.sum()) for mask in masks] == [54, 54, 54]


def rings_of(text: str) -> list[np.ndarray]:
    """The closed lines of an SVG's path, by its letters."""
    rings = []
    for ring in text.strip("Mz").split("zM"):
        start, *steps = re.findall(r"^[\d]+ [\d]+|[hv]-?\d+", ring)
        corners = [np.array(start.split(), int)]
        for step in steps:
            corners.append(corners[-1] + np.array([step[0] == "h", step[0] == "v"]) * int(step[1:]))
        rings.append(np.array(corners))
    return rings


def turns(ring: list[list[int]]) -> int:
    """Twice the area of a closed ring, below 0 if it goes round the other way."""
    x, y = np.array(ring).T
    return int(x[:-1] @ y[1:] - x[1:] @ y[:-1])


def test_strict_readers_take_geojson(tmp_path: Path):
    shapely = pytest.importorskip("shapely")
    masks = np.random.default_rng(0).random((3, 17, 23)) < [[[0.3]], [[0.6]], [[0.9]]]
    rles = M.compress_rle(M.encode_rle(masks))
    records = [{**r, "segmentation": rle} for r, rle in zip(result(3).records, rles)]
    given = Result("x.png", 1, np.zeros((17, 23, 3), np.uint8), records)
    FORMATS["geojson"].write(given, str(tmp_path / "x.geojson"))
    for found, mask in zip(json.loads((tmp_path / "x.geojson").read_text())["features"], masks):
        shape = shapely.geometry.shape(found["geometry"])
        assert shape.is_valid and shape.area == mask.sum()


@pytest.mark.parametrize("seed", range(4))
def test_drawn_outlines_give_the_masks_back(seed: int, tmp_path: Path):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 17, 23)) < [[[0.5]], [[0.9]], [[0.0]]]
    base = result(3)
    rles = M.compress_rle(M.encode_rle(masks))
    records = [{**r, "segmentation": rle, "name": 'a <"&'} for r, rle in zip(base.records, rles)]
    given = Result("x.png", 1, np.zeros((17, 23, 3), np.uint8), records)
    for name in ("svg", "geojson", "cutout", "roi"):
        FORMATS[name].write(given, str(FORMATS[name].path(tmp_path, "x")))
    svg = ElementTree.parse(tmp_path / "x.svg").getroot()
    for path, mask in zip(svg, masks):
        drawn = rings_of(path.get("d")) if mask.any() else []
        np.testing.assert_array_equal(filled(drawn, mask.shape), mask)
        assert path[0].text == 'a <"&'
    for found, mask in zip(json.loads((tmp_path / "x.geojson").read_text())["features"], masks):
        regions = found["geometry"]["coordinates"]
        regions = [regions] if found["geometry"]["type"] == "Polygon" else regions
        rings = [np.array(ring) for region in regions for ring in region]
        assert all((ring[0] == ring[-1]).all() for ring in rings)
        for first, *holes in regions:  # RFC 7946: the outline one way round, holes the other
            assert turns(first) > 0 and all(turns(hole) < 0 for hole in holes)
        np.testing.assert_array_equal(filled([r[:-1] for r in rings], mask.shape), mask)
        for first, *holes in regions:  # each region alone: within its first ring
            alone = filled([np.array(r)[:-1] for r in (first, *holes)], mask.shape)
            assert (mask | ~alone).all() and alone.any()
    alpha = np.asarray(Image.open(tmp_path / "x_cutout.png"))[..., 3]
    np.testing.assert_array_equal(alpha > 0, masks.any(axis=0))


@pytest.mark.parametrize("seed", range(4))
def test_imagejs_regions_give_the_masks_back(seed: int, tmp_path: Path):
    """With their holes, and of several parts; regions without pixels are left out."""
    roifile = pytest.importorskip("roifile")
    rng = np.random.default_rng(seed)
    masks = rng.random((4, 17, 23)) < [[[0.5]], [[0.9]], [[0.0]], [[0.0]]]
    masks[3, 4:9, 5:20] = True
    rles = M.compress_rle(M.encode_rle(masks))
    base = result(3).records[0]
    records = [{**base, "segmentation": rle, "name": f"a/{i}"} for i, rle in enumerate(rles)]
    given = Result("x.png", 1, np.zeros((17, 23, 3), np.uint8), records)
    FORMATS["roi"].write(given, str(tmp_path / "x.zip"))
    regions = roifile.roiread(tmp_path / "x.zip")
    assert [region.name for region in regions] == ["a/0", "a/1", "a/3"]
    assert regions[2].roitype == roifile.ROI_TYPE.TRACED and regions[0].composite
    for region, mask in zip(regions, masks[[0, 1, 3]]):
        rings = [ring.astype(int) for ring in region.coordinates(multi=True)]
        np.testing.assert_array_equal(filled(rings, mask.shape), mask)
        y, x = np.nonzero(mask)
        box = x.min(), y.min(), x.max() + 1, y.max() + 1
        found = region.left, region.top, region.right, region.bottom
        assert found == box or regions[2] is region


def test_label_maps_of_more_bits(tmp_path: Path):
    tifffile = pytest.importorskip("tifffile")
    for name, dtype in (("tiff16", np.uint16), ("tiff32", np.int32)):
        path = FORMATS[name].path(tmp_path, "x")
        FORMATS[name].write(result(3), str(path))
        labels = tifffile.imread(path)
        assert labels.dtype == dtype
        np.testing.assert_array_equal(labels, M.label_map(result(3).masks, (12, 20)))


def test_roifile_is_asked_for(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(ImportError, match="needs the package roifile: pip install"):
        FORMATS["roi"].write(result(1), str(tmp_path / "x.zip"))


def test_cut_outs_hide_nothing_and_may_be_cropped(tmp_path):
    """What is transparent was the picture, and showed in editors that ignore transparency."""
    mask = np.zeros((17, 23), bool)
    mask[4:9, 5:12] = True
    mask[5, 6] = False
    image = np.random.default_rng(0).integers(1, 256, (17, 23, 3), np.uint8)
    (rle,) = M.compress_rle(M.encode_rle(mask[None]))
    given = Result("x.png", 1, image, [M.record_of(rle, 1, 1)])
    for name in ("cutout", "crop"):
        FORMATS[name].write(given, str(FORMATS[name].path(tmp_path, "x")))
    whole = np.asarray(Image.open(tmp_path / "x_cutout.png"))
    assert not whole[~mask].any() and np.array_equal(whole[mask][:, :3], image[mask])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x_crop.png")), whole[4:9, 5:12])
    empty = Result("x.png", 1, image, [])
    FORMATS["crop"].write(empty, str(tmp_path / "empty.png"))
    assert Image.open(tmp_path / "empty.png").size == (1, 1)


def test_a_palette_shows_labels(tmp_path):
    given = result(3)
    FORMATS["palette"].write(given, str(tmp_path / "x.png"))
    FORMATS["labelmap"].write(given, str(tmp_path / "labels.png"))
    picture = Image.open(tmp_path / "x.png")
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(tmp_path / "labels.png")))
    colours = np.array(picture.getpalette()).reshape(-1, 3)
    assert not colours[0].any() and np.array_equal(colours[1:4], palette(3))
    many = Result("x.png", 1, given.image, [given.records[0]] * 256)
    with pytest.raises(ValueError, match="256 masks; a palette has 255 colours"):
        FORMATS["palette"].write(many, str(tmp_path / "y.png"))
