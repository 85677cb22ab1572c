"""Formats of large pictures, read back by their own readers and by GDAL's programs."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam_mlx.formats.large import LARGE_FORMATS, LargeResult, Spool
from sam_mlx.formats.large.geometry import regions_of, signed_area, whole_rle
from sam_mlx.large import Window, open_large
from sam_mlx.masks import decode_rle
from sam_mlx.tiled.found import Found
from tests.support.large import geotiff

SIZE = 400, 520


def found(mask, corner, **more):
    values = dict(predicted_iou=0.9, stability_score=0.95, point=(0.0, 0.0), tile=(0, 0, 9, 9))
    return Found.of(mask, corner, **values | more)


def drawn_masks():
    """A ring with a hole, two regions in one mask, a coarse one, one beneath the ring."""
    y, x = np.mgrid[:80, :80] + 0.5
    distance = np.hypot(x - 40, y - 40)
    parts = np.zeros((30, 50), bool)
    parts[:10, :10] = parts[20:, 30:] = True
    coarse = np.zeros((12, 9), bool)
    coarse[2:, 1:8] = True
    return [
        found((distance < 38) & (distance > 20), (100, 60)),
        found(parts, (300, 200)),
        found(coarse, (70, 75), scale=4),
        found(distance < 39, (102, 63), predicted_iou=0.5),
    ]


@pytest.fixture(scope="module")
def scene():
    return np.zeros((*SIZE, 3), np.uint8)


def made(folder, source, masks=None, region=None):
    masks = drawn_masks() if masks is None else masks
    picture = open_large(source)
    region = region or Window(0, 0, SIZE[1], SIZE[0])
    return LargeResult(picture, region, Spool.write(folder / "masks.jsonl", masks))


@pytest.fixture
def result(tmp_path, scene):
    return made(tmp_path, geotiff(tmp_path / "a.tif", scene))


def pixels_of(result):
    """Each mask in the whole picture."""
    masks = []
    for one in result.masks:
        x0, y0, x1, y1 = result.box(one)
        mask = np.zeros(result.picture.size, bool)
        mask[y0:y1, x0:x1] = result.pixels(one)
        masks.append(mask)
    return masks


def burnt(shapes, transform, size=SIZE):
    """Shapes as masks, by GDAL."""
    from rasterio.features import rasterize

    return [
        rasterize([shape], size, transform=transform, dtype="uint8").astype(bool)
        for shape in shapes
    ]


def write(name, result, folder):
    path = folder / f"out{LARGE_FORMATS[name].ending}"
    LARGE_FORMATS[name].write(result, str(path))
    return path


def test_geopackage(result, tmp_path):
    import pyogrio
    import shapely

    path = write("gpkg", result, tmp_path)
    meta, _, geometry, values = pyogrio.raw.read(path)
    assert meta["crs"] == "EPSG:32633" and meta["geometry_type"] == "MultiPolygon"
    shapes = shapely.from_wkb(geometry)
    assert shapely.is_valid(shapes).all()
    table = dict(zip(meta["fields"], values))
    masks = pixels_of(result)
    assert table["id"].tolist() == [1, 2, 3, 4]
    assert table["area_px"].tolist() == [mask.sum() for mask in masks]
    assert table["area"] == pytest.approx([mask.sum() / 4 for mask in masks])  # half a metre
    assert shapely.area(shapes) == pytest.approx(table["area"])
    assert set(table["area_unit"]) == {"square metre"} and table["predicted_iou"][3] == 0.5
    assert len(shapely.get_parts(shapes[1])) == 2
    assert len(shapely.get_parts(shapes[0])[0].interiors) == 1
    transform = rasterio_transform(result)
    assert all((a == b).all() for a, b in zip(burnt(shapes, transform), masks))


def rasterio_transform(result):
    import rasterio

    return rasterio.Affine(*result.picture.place.transform)


def test_geopackage_of_many_and_of_none(tmp_path, scene):
    import pyogrio

    masks = [found(np.ones((3, 3), bool), (x % 500, x // 5)) for x in range(1500)]
    path = write("gpkg", made(tmp_path, geotiff(tmp_path / "a.tif", scene), masks), tmp_path)
    meta, _, geometry, values = pyogrio.raw.read(path)
    assert values[0].tolist() == list(range(1, 1501))
    path.unlink()
    path = write("gpkg", made(tmp_path, scene, []), tmp_path)
    meta, _, geometry, _ = pyogrio.raw.read(path)
    assert len(geometry) == 0 and list(meta["fields"]) == [
        "id", "area_px", "predicted_iou", "stability_score",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="needs GDAL's programs (gdal-bin)")
def test_gdals_programs_open_what_is_written(result, tmp_path):
    said = subprocess.run(
        ["ogrinfo", "-al", "-so", write("gpkg", result, tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Feature Count: 4" in said and "Multi Polygon" in said and "UTM zone 33N" in said
    # The extent of the masks, in the map: pixels 100 to 352 across, 60 to 348 down, at 0.5 m.
    masks = np.any(pixels_of(result), axis=0)
    x, y = np.flatnonzero(masks.any(axis=0)), np.flatnonzero(masks.any(axis=1))
    west, east = 500000 + x[0] / 2, 500000 + (x[-1] + 1) / 2
    north, south = 5400000 - y[0] / 2, 5400000 - (y[-1] + 1) / 2
    assert f"Extent: ({west:.6f}, {south:.6f}) - ({east:.6f}, {north:.6f})" in said
    said = subprocess.run(
        ["gdalinfo", "-stats", write("labelmap", result, tmp_path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Type=UInt32" in said and "Block=256x256" in said and "COMPRESSION=DEFLATE" in said
    assert "Origin = (500000.000000000000000,5400000.000000000000000)" in said
    assert "Maximum=4.000" in said
    burn = tmp_path / "burnt.tif"
    shutil.copy(tmp_path / "a.tif", burn)
    subprocess.run(
        ["gdal_rasterize", "-q", "-b", "1", "-burn", "255", tmp_path / "out.gpkg", burn], check=True
    )
    import rasterio

    with rasterio.open(burn) as file:
        assert ((file.read(1) == 255) == masks).all()


@pytest.mark.parametrize("name", ["gpkg", "labelmap"])
def test_a_rotated_raster(name, tmp_path, scene):
    import rasterio

    turned = rasterio.Affine(0.4, 0.3, 500000, 0.3, -0.4, 5400000)
    result = made(tmp_path, geotiff(tmp_path / "a.tif", scene, transform=turned))
    path = write(name, result, tmp_path)
    if name == "labelmap":
        with rasterio.open(path) as file:
            assert tuple(file.transform) == pytest.approx(tuple(turned))
        return
    import pyogrio
    import shapely

    _, _, geometry, values = pyogrio.raw.read(path)
    masks = pixels_of(result)
    found = burnt([shapely.from_wkb(wkb) for wkb in geometry], turned)
    # Outlines run between pixels, whose middles are half a pixel away.
    assert all((a == b).all() for a, b in zip(found, masks))
    assert values[2].tolist() == pytest.approx([mask.sum() * 0.25 for mask in masks])


def test_geojson_is_in_longitude_and_latitude(result, tmp_path):
    import shapely
    from rasterio.warp import transform_geom

    values = json.loads(write("geojson", result, tmp_path).read_text())
    features = values["features"]
    assert len(features) == 4 and features[0]["properties"]["area"] > 0
    longitude, latitude = features[0]["geometry"]["coordinates"][0][0]
    assert 14.9 < longitude < 15.1 and 48.7 < latitude < 48.8
    back = [transform_geom("EPSG:4326", "EPSG:32633", f["geometry"]) for f in features]
    masks = burnt(back, rasterio_transform(result))
    for mask, wanted in zip(masks, pixels_of(result)):
        # Rounding may move an edge across the middles that it runs beside by half a pixel.
        assert (mask == wanted).all()
    outer = np.array(features[0]["geometry"]["coordinates"][0])
    hole = np.array(features[0]["geometry"]["coordinates"][1])
    assert signed_area(outer[:-1]) > 0 > signed_area(hole[:-1])  # RFC 7946
    assert all(shapely.from_geojson(json.dumps(f["geometry"])).is_valid for f in features)


def test_pixels_without_a_reference_system(tmp_path, scene):
    result = made(tmp_path, scene)
    import pyogrio
    import rasterio

    values = json.loads(write("geojson", result, tmp_path).read_text())
    assert "area" not in values["features"][0]["properties"]
    shapes = [feature["geometry"] for feature in values["features"]]
    masks = burnt(shapes, rasterio.Affine.identity())
    assert all((a == b).all() for a, b in zip(masks, pixels_of(result)))
    meta, _, _, _ = pyogrio.raw.read(write("gpkg", result, tmp_path))
    assert meta["crs"] is None or "Undefined" in meta["crs"]


def test_label_raster(result, tmp_path, monkeypatch):
    import rasterio

    from sam_mlx.formats.large import raster

    masks = pixels_of(result)
    wanted = np.zeros(SIZE, np.uint32)
    for i in sorted(range(4), key=lambda i: -masks[i].sum()):
        wanted[masks[i]] = i + 1
    for rows in (512, 64, 33):
        monkeypatch.setattr(raster, "ROWS", rows)
        with rasterio.open(write("labelmap", result, tmp_path)) as file:
            assert (file.read(1) == wanted).all() and file.crs.to_epsg() == 32633
            assert file.transform == rasterio_transform(result)
    part = replace(result, region=Window(90, 50, 300, 333), masks=Spool(tmp_path / "part"))
    moved = [replace(one, x=one.x - 90, y=one.y - 50) for one in drawn_masks() if one.scale == 1]
    Spool.write(tmp_path / "part", moved)
    with rasterio.open(write("labelmap", part, tmp_path)) as file:
        labels = file.read(1)
        assert file.transform == rasterio_transform(result) * rasterio.Affine.translation(90, 50)
    assert labels.shape == (333, 300) and ((labels > 0) == np.any(
        [masks[i] for i in (0, 1, 3)], axis=0
    )[50:383, 90:390]).all()  # fmt: skip


def test_coco(result, tmp_path):
    from pycocotools.coco import COCO

    path = write("coco", result, tmp_path)
    dataset = COCO(path)
    (image,) = dataset.dataset["images"]
    assert (image["height"], image["width"]) == SIZE and image["file_name"] == "a.tif"
    for entry, mask in zip(dataset.dataset["annotations"], pixels_of(result)):
        assert (coco_mask.decode(entry["segmentation"]).astype(bool) == mask).all()
        assert entry["area"] == mask.sum()
        assert entry["bbox"] == coco_mask.toBbox(entry["segmentation"]).tolist()


def test_run_lengths_of_masks_at_the_pictures_edge(tmp_path, scene):
    full = found(np.ones((100, 130), bool), (0, 0), scale=4)
    beyond = found(np.ones((9, 9), bool), (125, 95), scale=4)  # to 536, 416
    result = made(tmp_path, scene, [full, beyond])
    for one, mask in zip(result.masks, pixels_of(result)):
        assert (decode_rle([whole_rle(result, one)])[0] == mask).all()
        regions = regions_of(result, one, lambda points: points)
        assert abs(sum(signed_area(ring[:-1]) for r in regions for ring in r)) == mask.sum()


def test_qupath(tmp_path, scene):
    import rasterio

    path = geotiff(tmp_path / "a.tif", scene.repeat(2, 0).repeat(2, 1), overviews=[2])
    picture = open_large(path, level=1)
    spool = Spool.write(tmp_path / "masks", drawn_masks())
    result = LargeResult(picture, Window(0, 0, 520, 400), spool)
    values = json.loads(write("qupath", result, tmp_path).read_text())
    first = values["features"][0]
    assert first["properties"]["objectType"] == "detection" and len(first["id"]) == 36
    assert first["properties"]["classification"]["name"] == "object"
    shapes = [feature["geometry"] for feature in values["features"]]
    # In pixels of the finest level, which has twice as many.
    masks = burnt(shapes, rasterio.Affine.identity(), (800, 1040))
    for mask, wanted in zip(masks, pixels_of(result)):
        assert (mask == wanted.repeat(2, 0).repeat(2, 1)).all()


def test_imagej(result, tmp_path):
    import roifile

    rois = roifile.roiread(write("roi", result, tmp_path))
    assert [roi.name for roi in rois] == ["mask_1", "mask_2", "mask_3", "mask_4"]
    import rasterio
    import shapely

    for roi, wanted in zip(rois, pixels_of(result)):
        rings = roi.coordinates(multi=True)
        rings = rings if isinstance(rings, list) else [rings]
        # Even and odd: a ring within another is a hole.
        shape = shapely.Polygon()
        for ring in rings:
            shape = shape.symmetric_difference(shapely.Polygon(ring))
        (mask,) = burnt([shape], rasterio.Affine.identity())
        assert (mask == wanted).all()


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [("gpkg", "pyogrio.raw", "geo"), ("labelmap", "rasterio", "geo"),
     ("geojson", "rasterio.warp", "geo"), ("roi", "roifile", "microscopy")],
)  # fmt: skip
def test_a_writer_that_is_missing_is_named(name, missing, extra, result, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'pip install "sam-mlx\[{extra}\]"'):
        write(name, result, tmp_path)
