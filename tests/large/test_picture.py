"""Large pictures are opened without reading them, and windows have the pixels of the whole."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from sam_mlx.large import Window, open_large
from sam_mlx.large.readers import base
from tests.support.large import Drawn, geotiff


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return Drawn(700, 900, cell=100).whole()


PART = (301, 205, 320, 240)  # x, y, width, height


def part_of(array, scale=1):
    x, y, w, h = PART
    return array[y : y + h, x : x + w]


def write_zarr(path, levels, ome=True):
    import zarr

    group = zarr.open_group(path, mode="w")
    for i, level in enumerate(levels):
        made = group.create_array(str(i), shape=level.shape, dtype=level.dtype, chunks=(64, 64, 3))
        made[...] = level
    axes = [{"name": n, "type": "space"} for n in "yx"] + [{"name": "c", "type": "channel"}]
    datasets = [{"path": str(i)} for i in range(len(levels))]
    multiscales = [{"axes": axes, "datasets": datasets}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": multiscales}} if ome else {})
    return path


def write_tiff(path, array, **options):
    import tifffile

    tifffile.imwrite(path, array, **options)
    return path


def write_pyramid(path, levels, **options):
    import tifffile

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, tile=(64, 64), photometric="rgb", **options)
        for level in levels[1:]:
            file.write(level, tile=(64, 64), photometric="rgb", subfiletype=1)
    return path


def halves(array):
    H, W = (n // 2 for n in array.shape[:2])
    blocks = array[: 2 * H, : 2 * W].reshape(H, 2, W, 2, 3)
    return blocks.mean((1, 3)).round().astype(array.dtype)


def sources(name, folder, scene):
    """A source, of the scene, by name."""
    if name == "array":
        return scene
    if name == "memmap":
        np.save(folder / "a.npy", scene)
        return np.load(folder / "a.npy", mmap_mode="r")
    if name == "dask":
        import dask.array

        return dask.array.from_array(scene, chunks=(128, 128, 3))
    if name == "png":
        Image.fromarray(scene).save(folder / "a.png")
        return folder / "a.png"
    if name == "geotiff":
        return geotiff(folder / "a.tif", scene, overviews=[2, 4])
    if name == "cog":
        return geotiff(folder / "a.tif", scene, compress="deflate", interleave="pixel")
    if name == "ome":
        return write_pyramid(folder / "a.ome.tif", [scene, halves(scene)], metadata={"axes": "YXS"})
    if name == "imagej":
        stack = np.stack([scene, 255 - scene])
        return write_tiff(folder / "a.tif", stack, imagej=True, metadata={"axes": "ZYXS"})
    return write_zarr(folder / "a.zarr", [scene, halves(scene)])


@pytest.mark.parametrize(
    "name", ["array", "memmap", "dask", "png", "geotiff", "cog", "ome", "imagej", "zarr"]
)
def test_every_source_gives_the_same_pixels(name, scene, tmp_path):
    picture = open_large(sources(name, tmp_path, scene))
    assert picture.size == (700, 900) and picture.shape == (700, 900, 3)
    assert (picture.read(PART) == part_of(scene)).all()
    assert (picture.read((0, 0, 900, 700)) == scene).all()
    assert picture.ranges is None and picture.digest() == picture.digest()
    coarse = picture.read((0, 0, 900, 700), scale=4)
    wanted = scene.reshape(175, 4, 225, 4, 3).mean((1, 3))
    assert np.abs(coarse - wanted).mean() < 0.6 and coarse.shape == (175, 225, 3)


def test_a_slide(scene, tmp_path):
    """A file in Aperio's form: tiles, levels as pages, and a description."""
    import tifffile

    path = tmp_path / "a.svs"
    with tifffile.TiffWriter(path) as file:
        about = "Aperio Image Library v1\r\n900x700 [0,0 900x700] (256x256)|AppMag = 20|MPP = 0.5"
        more = dict(photometric="rgb", description=about, metadata=None)
        file.write(scene, tile=(256, 256), **more)
        file.write(scene[::8, ::8], **more)  # a thumbnail
        file.write(halves(scene), tile=(256, 256), **more)
    picture = open_large(path)
    assert picture.size == (700, 900) and len(picture.reader.sizes) == 2
    assert (picture.read(PART) == part_of(scene)).all()
    low = open_large(path, level=1)
    assert low.size == (350, 450) and low.scale == 2
    assert (low.read((10, 20, 100, 90)) == halves(scene)[20:110, 10:110]).all()


def test_levels(scene, tmp_path):
    path = geotiff(tmp_path / "a.tif", scene, overviews=[2, 4])
    low = open_large(path, level=2)
    assert low.size == (175, 225) and low.scale == 4
    assert low.place.transform == (2, 0, 500000, 0, -2, 5400000)
    assert (low.place.to_pixels(low.place.to_map(np.array([[7.0, 9.0]]))) == [[7, 9]]).all()
    picture = open_large(path)
    # Scale 8 is made from the level of scale 4, in which a window of the full picture is as well.
    assert (
        np.abs(picture.read((0, 0, 800, 696), 8).astype(int) - low.read((0, 0, 200, 174), 2)).max()
        <= 1
    )
    for level in (3, -1, 0.5, "1"):
        with pytest.raises(ValueError, match=r"level is .*; the picture has 0: 900 x 700, 1: 450"):
            open_large(path, level=level)


def test_nothing_is_read_that_no_window_needs():
    drawn = Drawn(3_000_000, 2_000_000)
    picture = open_large(drawn)
    assert drawn.read == 0
    picture.read((1_500_000, 2_999_000, 640, 480))
    assert drawn.read == 640 * 480


def test_16_bits_and_floats_have_one_range_in_all_windows(scene, tmp_path):
    wide = scene.astype(np.uint16) * 40 + 300
    picture = open_large(geotiff(tmp_path / "a.tif", wide))
    limits = [tuple(np.percentile(band, (0.5, 99.5))) for band in np.moveaxis(wide, -1, 0)]
    assert picture.ranges == limits
    assert json.loads(json.dumps(picture.describe()))["ranges"] == [list(r) for r in limits]
    whole = picture.read((0, 0, 900, 700))
    assert (picture.read(PART) == part_of(whole)).all() and np.ptp(whole) == 255
    fixed = open_large(wide, value_range=(300, 300 + 255 * 40 + 40))
    assert (fixed.read(PART) == part_of(scene)).all()
    floats = open_large(scene[..., 0] / 255)
    assert floats.read(PART).shape == (240, 320, 3) and len(floats.ranges) == 1


def test_of_a_large_picture_without_overviews_blocks_are_looked_at():
    class Wide(Drawn):
        dtype = np.dtype(np.uint16)

        def __getitem__(self, where):
            return super().__getitem__(where).astype(np.uint16) * 100

    wide = Wide(300_000, 200_000)
    picture = open_large(wide)
    assert wide.read == 64 * 128 * 128
    assert picture.ranges[0][0] == 4000 and 9000 < picture.ranges[0][1] <= 25500


def test_nodata_is_black_and_leaves_the_range_alone(scene, tmp_path):
    values = scene[..., 0].astype(np.float32)
    values[:300] = -9999
    path = geotiff(tmp_path / "a.tif", values, nodata=-9999)
    picture = open_large(path)
    assert picture.ranges[0][0] == 40
    pixels, valid = picture.pixels(Window(0, 200, 900, 200))
    assert not valid[:100].any() and valid[100:].all() and (pixels[:100] == 0).all()
    coarse = picture.pixels(Window(0, 200, 900, 200, 4))[1]
    assert not coarse[:25].any() and coarse[25:].all()
    given = open_large(np.where(values == -9999, 7, values).astype(np.uint16), nodata=7)
    assert not given.pixels(Window(0, 0, 9, 9))[1].any() and given.ranges[0][0] == 40
    values[:] = np.nan
    with pytest.raises(ValueError, match="all are nodata or NaN"):
        open_large(values)


def test_bands(scene, tmp_path):
    many = np.concatenate([scene, 255 - scene], axis=2)
    path = geotiff(tmp_path / "a.tif", many)
    assert (open_large(path).read(PART) == part_of(scene)).all()
    assert (open_large(path, bands=[4, 3, 2]).read(PART) == part_of(many[..., [3, 2, 1]])).all()
    one = open_large(path, bands=[5]).read(PART)
    assert (one == part_of(many[..., 4:5])).all() and one.shape == (240, 320, 3)
    first = open_large(np.moveaxis(many, -1, 0), axes="CYX", bands=[4, 3, 2])
    assert (first.read(PART) == part_of(many[..., [3, 2, 1]])).all()
    for bands in ([7], [0], [1, 2], [1, 2, 3, 4], [1.5], []):
        with pytest.raises(ValueError, match="expected one or three numbers from 1 to 6"):
            open_large(path, bands=bands)


def test_palette_and_alpha(scene, tmp_path):
    import rasterio

    index = (scene[..., 0] > 40).astype(np.uint8)
    path = geotiff(tmp_path / "a.tif", index)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (1, 2, 3, 255), 1: (200, 100, 50, 255)})
    colours = np.array([[1, 2, 3], [200, 100, 50]], np.uint8)
    assert (open_large(path).read(PART) == part_of(colours[index])).all()
    alpha = np.full((700, 900, 1), 255, np.uint8)
    alpha[:50] = 0
    path = geotiff(
        tmp_path / "b.tif", np.concatenate([scene, alpha], 2), photometric="RGB", alpha="YES"
    )
    picture = open_large(path)
    assert (picture.read(PART) == part_of(scene)).all()
    assert not picture.pixels(Window(0, 0, 60, 60))[1][:50].any()


def test_a_raster_that_says_where_but_not_in_which_system(scene, tmp_path):
    with pytest.warns(UserWarning, match="not in which reference system: results are in pixels"):
        assert open_large(geotiff(tmp_path / "a.tif", scene, crs=None)).place is None


def test_areas_of_pixels(tmp_path, scene):
    import rasterio

    place = open_large(geotiff(tmp_path / "a.tif", scene)).place
    assert (place.crs, place.unit, place.pixel_area(0, 0)) == ("EPSG:32633", "metre", 0.25)
    turned = rasterio.Affine(1.7320508, 1, 5e5, 1, -1.7320508, 5e6)
    place = open_large(geotiff(tmp_path / "b.tif", scene, transform=turned)).place
    assert place.pixel_area(0, 0) == pytest.approx(4)
    degrees = rasterio.transform.from_origin(10, 47, 1e-5, 1e-5)
    place = open_large(geotiff(tmp_path / "c.tif", scene, "EPSG:4326", degrees)).place
    # One degree at 47 degrees north: 76.06 km of a parallel, 111.17 km of a meridian (WGS 84).
    assert place.geographic and place.area_unit == "square metre"
    assert place.pixel_area(0, 0) == pytest.approx(0.7606 * 1.1117, rel=1e-3)
    assert place.moved(3, 4).to_map(np.zeros(2)) == pytest.approx([10 + 3e-5, 47 - 4e-5])


def test_a_source_that_changes_has_another_digest(scene, tmp_path):
    path = geotiff(tmp_path / "a.tif", scene)
    before = open_large(path).digest()
    scene = scene.copy()
    scene[350, 450] ^= 1
    geotiff(path, scene)
    assert open_large(path).digest() != before


def test_what_is_no_large_picture(tmp_path, scene):
    (tmp_path / "a.tif").write_bytes(b"no picture")
    (tmp_path / "a.svs").write_bytes(b"no slide")
    (tmp_path / "folder").mkdir()
    write_zarr(tmp_path / "b.zarr", [scene], ome=False)
    whole = geotiff(tmp_path / "c.tif", scene, compress="deflate").read_bytes()
    wrong = {
        "a.tif": "cannot read .*a.tif as a raster",
        "a.svs": "tiffslide cannot read the slide .*a.svs",
        "folder": "is a folder, and neither a picture nor zarr",
        "b.zarr": "without a picture of OME-Zarr",
    }
    for name, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            open_large(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such picture"):
        open_large(tmp_path / "none.tif")
    (tmp_path / "d.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="d.tif"):
        open_large(tmp_path / "d.tif").read((0, 0, 900, 700))
    for array in (np.zeros((2, 3, 4, 5)), np.zeros(7), np.zeros((0, 4))):
        with pytest.raises(ValueError, match="has shape"):
            open_large(array)
    with pytest.raises(ValueError, match="of type int; expected a path"):
        open_large(3)
    picture = open_large(scene)
    for window in ((0, 0, 901, 10), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(ValueError, match="is not within the picture, which is 900 x 700"):
            picture.read(window)
    with pytest.raises(ValueError, match="expected x, y, width, height in whole pixels"):
        picture.read((1.5, 0, 5, 5))


@pytest.mark.parametrize(
    ("missing", "name", "extra"),
    [("rasterio", "geotiff", "microscopy"), ("tiffslide", "svs", "slides"),
     ("zarr", "zarr", "microscopy"), ("tifffile", "ome", None)],
)  # fmt: skip
def test_a_reader_that_is_missing_is_named(missing, name, extra, scene, tmp_path, monkeypatch):
    if name == "svs":
        (tmp_path / "a.svs").write_bytes(b"")
        path = tmp_path / "a.svs"
    else:
        path = sources(name, tmp_path, scene)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "tifffile":  # GDAL reads its first page
        assert (open_large(path).read(PART) == part_of(scene)).all()
        return
    if missing == "rasterio":  # and tifffile a GeoTIFF, without its place
        assert open_large(path).place is None
        monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImportError, match=rf'pip install "sam-mlx\[.*{extra}\]"'):
        open_large(path)
    assert not base.is_installed(missing)
