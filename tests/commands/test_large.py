"""``sam-mlx auto --tile`` and ``predict --boxes FILE``: files, stopping, bad input."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio import warp
from rasterio.shutil import copy as copy_raster

from sam_mlx.cli import main
from sam_mlx.large.vectors import parse
from tests.support.automatic import SMALL, calibrated_sam, squares
from tests.support.instances import nano_with_decoder
from tests.support.large import Drawn, geotiff

FLAGS = [
    "--points-per-side", "6", "--stability-score-thresh", "0.5", "--tile", "128", "--overlap", "48",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model with random weights, and a map."""
    folder = tmp_path_factory.mktemp("large")
    calibrated_sam(SMALL).save_pretrained(folder / "model")
    geotiff(folder / "a.tif", squares(300, 260, seed=1), nodata=None)
    return folder


def command(files, out, *more, picture=None):
    given = ["auto", picture or files / "a.tif", "-o", out, "--model", files / "model"]
    return [str(word) for word in (*given, *FLAGS, *more)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; GeoPackage by its features, for it records when it was made."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix == ".gpkg":
            _, _, geometry, values = pyogrio.raw.read(path)
            found[path.name] = b"".join(geometry) + repr([v.tolist() for v in values]).encode()
        elif path.is_file() and not path.name.startswith("asked_"):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def whole(files) -> dict[str, bytes]:
    """What an undisturbed run writes."""
    out = files / "whole"
    assert main(command(files, out, "--format", "gpkg", "labelmap", "coco")) == 0
    return contents(out)


def test_files_of_a_run(files, whole, capsys):
    out = files / "whole"
    assert {"a.gpkg", "a.labels.tif", "a.coco.json", "a.report.json"} <= whole.keys()
    report = json.loads(whole["a.report.json"])
    _, _, geometry, _ = pyogrio.raw.read(out / "a.gpkg")
    assert report["masks"] == len(geometry) == len(json.loads(whole["a.coco.json"])["annotations"])
    assert report["masks"] > 5 and report["size"] == [300, 260] and report["tiles"] == 13
    assert report["ranges"] is None and report["bands"] == [1, 2, 3] and len(report["digest"]) == 32
    assert report["cut_by_a_border"] == 0
    with rasterio.open(out / "a.labels.tif") as labels, rasterio.open(files / "a.tif") as picture:
        assert labels.transform == picture.transform and labels.crs == picture.crs
        assert labels.read(1).max() == report["masks"]
    assert not list(out.glob(".partial*"))
    # A second run makes nothing but the results, equal ones, and another format needs no model.
    times = {path: path.stat().st_mtime_ns for path in (out / ".tiles").rglob("*_*.json")}
    assert main(command(files, out, "--format", "qupath")) == 0
    assert "a.qupath.geojson" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in (out / ".tiles").rglob("*_*.json")}
    (out / "a.qupath.geojson").unlink()
    assert contents(out) == whole


def test_the_default_format(files, tmp_path):
    picture = geotiff(
        tmp_path / "b.tif", squares(90, 100, seed=1), crs=None, transform=rasterio.Affine.identity()
    )
    assert main(command(files, tmp_path / "out", picture=picture)) == 0
    assert (tmp_path / "out" / "b.geojson").exists()
    assert main(command(files, tmp_path / "map", "--region", "10", "20", "90", "80")) == 0
    assert (tmp_path / "map" / "a.gpkg").exists()


@pytest.mark.slow
def test_an_image_that_has_changed_is_segmented_again(files, whole, tmp_path, capsys):
    picture = geotiff(tmp_path / "a.tif", squares(300, 260, seed=2))
    assert main(command(files, tmp_path / "out", "--format", "coco", picture=picture)) == 0
    geotiff(picture, squares(300, 260, seed=1))
    assert main(command(files, tmp_path / "out", "--format", "coco", picture=picture)) == 0
    assert "a.tif has changed: it is segmented again" in capsys.readouterr().out
    assert contents(tmp_path / "out")["a.coco.json"] == whole["a.coco.json"]


def made(folder: Path) -> list[Path]:
    """What tiles gave, and what else a run has noted so far."""
    # os.walk passes over folders that are gone meanwhile, as rglob does not.
    files = (Path(name) for _, _, names in os.walk(folder) for name in names)
    return [path for path in files if path.suffix in (".json", ".npz")]


def killed_runs(files, out, kills, seed, *more):
    """Runs that are killed at random moments, and one that is not."""
    program = [
        sys.executable,
        "-m",
        "sam_mlx",
        *command(files, out, "--format", "gpkg", "labelmap", "coco", *more),
    ]
    rng, killed = random.Random(seed), 0
    for _ in range(kills):
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(made(out)) if out.exists() else 0
        # From the start of the program to some tiles later.
        enough, deadline = before + rng.randrange(4), time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if out.exists() and len(made(out)) >= enough:
                break
            time.sleep(0.01)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= kills / 3  # the others had ended
    done = subprocess.run(program, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_killed_runs_continue_and_give_the_same(files, whole, tmp_path, same_forms):
    killed_runs(files, tmp_path / "out", 3, seed=0)
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_twenty_kills(files, whole, tmp_path, same_forms):
    killed_runs(files, tmp_path / "out", 20, seed=1)
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_killed_runs_with_an_instance_decoder(files, tmp_path, same_forms):
    """Whose tiles have maps, not masks."""
    more = ["--model", str(tmp_path / "cells"), "--center-distance-threshold", "0.55"]
    nano_with_decoder().save_pretrained(tmp_path / "cells")
    out = tmp_path / "whole"
    killed_runs(files, out, 0, 2, *more)  # in a process of its own, as those that are killed
    killed_runs(files, tmp_path / "out", 5, 2, *more)
    assert contents(tmp_path / "out") == contents(out)
    assert json.loads(contents(out)["a.report.json"])["masks"] > 1


@pytest.mark.slow
def test_two_processes_share_the_tiles(files, whole, tmp_path, same_forms):
    launch = [Path(sys.executable).with_name("mlx.launch"), "-n", "2", "--backend", "ring"]
    program = [sys.executable, "-m", "sam_mlx"]
    program += command(files, tmp_path / "out", "--format", "gpkg", "labelmap", "coco")
    words = [str(word) for word in (*launch, *program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert contents(tmp_path / "out") == whole, done.stderr


@pytest.mark.slow
def test_a_full_disk(files, tmp_path, monkeypatch, capsys):
    from sam_mlx.formats.large import raster

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(raster, "painted", fail)
    assert main(command(files, tmp_path / "out", "--format", "labelmap")) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("No space left on device")
    assert not (tmp_path / "out" / "a.labels.tif").exists()
    assert not list((tmp_path / "out").glob(".partial*"))


BAD = [
    (["--overlap", "64"], "overlap is 64 and tile 128; expected an overlap above 0 and under half"),
    (["--level", "3"], "a.tif: level is 3; the picture has 0: 260 x 300 pixels"),
    (["--bands", "7"], "a.tif: bands is [7]; expected one or three numbers from 1 to 3"),
    (
        ["--region", "200", "0", "100", "100"],
        "a.tif: the region 200 0 100 100 (x, y, width, height) is not",
    ),
    (["--region", "0", "0", "0", "5"], "is not within the picture, which is 260 x 300 pixels"),
    (["--format", "masks"], "--format masks does not go with --tile; expected gpkg, geojson"),
    (["--recursive"], "--recursive: not with --tile; --bands chooses bands there"),
    (["--tile", "9"], "tile is 9; expected a whole number from 64 to 2048"),
]


@pytest.mark.parametrize(("more", "message"), BAD)
def test_bad_flags(more, message, files, tmp_path, capsys):
    assert main(command(files, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--overlap", "9"], ["--level", "1"], ["--format", "gpkg"]])
def test_flags_that_need_tiles(more, files, tmp_path, capsys):
    assert main(["auto", str(files / "a.tif"), "-o", str(tmp_path / "out"), *more]) == 2
    error = capsys.readouterr().err
    assert f"{more[0]}" in error and "need" in error and "--tile 1024" in error


def test_bad_pictures(files, tmp_path, capsys):
    values = np.full((300, 260), -1, np.int16)
    empty = geotiff(tmp_path / "empty.tif", values, nodata=-1)
    whole = geotiff(tmp_path / "cut.tif", squares(300, 260, seed=1), compress="deflate")
    whole.write_bytes(whole.read_bytes()[:-30_000] if whole.stat().st_size > 40_000
                      else whole.read_bytes()[: whole.stat().st_size // 2])  # fmt: skip
    cog = tmp_path / "cog.tif"
    plain = geotiff(tmp_path / "plain.tif", squares(700, 600, seed=1))
    copy_raster(plain, cog, driver="COG", compress="deflate", blocksize=128)
    cog.write_bytes(cog.read_bytes()[: cog.stat().st_size // 2])
    for picture, message in [
        (cog, "cog.tif is not whole: it ends at byte"),
        (tmp_path / "none.tif", "no such picture"),
        (tmp_path / "*.jp2", "no picture is called"),
        (empty, "empty.tif: no pixel that was looked at has a value: all are nodata or NaN"),
        (whole, "cut.tif is not whole: it ends at byte"),
    ]:
        assert main(command(files, tmp_path / "out", picture=picture)) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not (tmp_path / "out").exists()
    same = tmp_path / "other" / "a.tif"
    same.parent.mkdir()
    geotiff(same, squares(90, 100, seed=1))
    assert main(["auto", str(files / "a.tif"), str(same), "-o", str(tmp_path / "out"), *FLAGS]) == 2
    assert "two pictures are called a" in capsys.readouterr().err


def test_a_picture_of_nodata_alone_gives_no_masks(files, tmp_path, capsys):
    black = np.zeros((300, 260, 3), np.uint8)
    for name, nodata in ("empty", 0), ("black", None):
        picture = geotiff(tmp_path / f"{name}.tif", black, nodata=nodata)
        assert main(command(files, tmp_path / name, picture=picture)) == 0
        said = "no pixel that was searched has a value" in capsys.readouterr().out
        masks = json.loads((tmp_path / name / f"{name}.report.json").read_text())["masks"]
        assert (said, masks) == ((True, 0) if nodata == 0 else (False, 1))
    black[100, [99, 150]] = 200
    picture = geotiff(tmp_path / "two.tif", black, nodata=0)
    for x, is_empty in (
        (0, True),
        (50, False),
        (100, True),
        (110, False),
    ):  # the region's columns: x to x + 50
        out, more = tmp_path / f"from {x}", ["--region", str(x), "0", "50", "300"]
        assert main(command(files, out, *more, picture=picture)) == 0
        assert ("has a value" in capsys.readouterr().out) is is_empty


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A map of discs, and boxes round them in degrees, as a detector of maps gives them."""
    folder = tmp_path_factory.mktemp("scene")
    drawn = Drawn(500, 700, cell=100, most=0.35)
    geotiff(folder / "ortho.tif", drawn.whole())
    discs = [disc for disc in drawn.discs() if disc[2] > 15][:6]
    return folder, discs


def to_map(x, y):
    return 500000 + np.asarray(x) / 2, 5400000 - np.asarray(y) / 2


def write_vectors(path, shapes, crs="EPSG:32633", **options):
    wkb = np.array(
        [None if s is None else shapely.to_wkb(s, output_dimension=3) for s in shapes], object
    )
    options = dict(geometry_type="Unknown", crs=crs) | options
    pyogrio.raw.write(path, wkb, [np.arange(len(shapes))], np.array(["n"]), **options)
    return path


def boxes_of(discs, more=3):
    return [
        shapely.box(*to_map(x - r - more, y + r + more), *to_map(x + r + more, y - r - more))
        for x, y, r in discs
    ]


def masks_in(path, size=(500, 700)):
    from rasterio.features import rasterize

    _, _, geometry, values = pyogrio.raw.read(path)
    transform = rasterio.transform.from_origin(500000, 5400000, 0.5, 0.5)
    shapes = shapely.from_wkb(geometry)
    return values[0].tolist(), [
        rasterize([shape], size, transform=transform).astype(bool) for shape in shapes
    ]


def iou(mask, disc):
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    inside = np.hypot(x - disc[0], y - disc[1]) <= disc[2]
    return (mask & inside).sum() / (mask | inside).sum()


@pytest.mark.slow
def test_boxes_and_points_in_any_reference_system(scene, tmp_path, capsys):
    folder, discs = scene
    shapes = boxes_of(discs[:4])
    shapes += [shapely.Point(*to_map(x, y), 7.0) for x, y, _ in discs[4:]]
    write_vectors(tmp_path / "boxes.gpkg", shapes)
    degrees = [shapely.Point(0, 0)] * len(shapes)
    for i, shape in enumerate(shapes):
        corners = shapely.get_coordinates(shape)
        lon, lat = warp.transform("EPSG:32633", "EPSG:4326", *corners.T.tolist())
        degrees[i] = (
            shapely.Polygon(list(zip(lon, lat))) if len(lon) > 1 else shapely.Point(lon[0], lat[0])
        )
    write_vectors(tmp_path / "degrees.geojson", degrees, "EPSG:4326")
    found = []
    for name in ("boxes.gpkg", "degrees.geojson"):
        out = tmp_path / f"{name}.masks.gpkg"
        args = [
            "predict",
            str(folder / "ortho.tif"),
            "--boxes",
            str(tmp_path / name),
            "-o",
            str(out),
        ]
        assert main(args) == 0
        assert "6 features asked about" in capsys.readouterr().out
        numbers, masks = masks_in(out)
        assert numbers == [1, 2, 3, 4, 5, 6]
        assert min(iou(mask, disc) for mask, disc in zip(masks, discs)) > 0.85
        found.append(masks)
    assert np.mean([(a != b).mean() for a, b in zip(*found)]) < 1e-3


def test_features_that_are_beside_the_picture_or_empty(scene, tmp_path, capsys):
    folder, discs = scene
    shapes = [*boxes_of(discs[:1]), None, shapely.Point(1, 1), *boxes_of(discs[1:2])]
    write_vectors(tmp_path / "boxes.gpkg", shapes)
    out = tmp_path / "masks.gpkg"
    args = ["predict", str(folder / "ortho.tif"), "-o", str(out), "--boxes"]
    assert main([*args, str(tmp_path / "boxes.gpkg")]) == 1
    assert "left out: 1 without a geometry, 1 beside the picture" in capsys.readouterr().out
    assert masks_in(out)[0] == [1, 4]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_features_where_no_pixel_has_a_value(dtype, scene, tmp_path, capsys):
    """Left out for samples of every depth: a mask would be of what nodata looks like."""
    _, discs = scene
    here, there = sorted((discs[0], discs[-1]))
    samples = np.maximum(Drawn(500, 700, cell=100, most=0.35).whole(), 1).astype(dtype)
    samples[:, int((here[0] + there[0]) / 2) :] = 0
    picture = geotiff(tmp_path / "half.tif", samples, nodata=0)
    boxes = write_vectors(tmp_path / "boxes.gpkg", boxes_of([here, there]))
    out = tmp_path / "masks.gpkg"
    args = ["predict", str(picture), "-o", str(out), "--boxes", str(boxes)]
    assert main(args) == 1
    said = capsys.readouterr().out
    assert "1 feature asked about" in said and "1 where no pixel has a value" in said
    assert masks_in(out)[0] == [1]
    out.unlink()
    geotiff(picture, samples * 0, nodata=0)
    assert main(args) == 2
    error = capsys.readouterr().err
    assert "has a value" in error and error.count("\n") == 1 and not out.exists()


def test_bad_vector_files(scene, tmp_path, capsys):
    folder, discs = scene
    (tmp_path / "no.gpkg").write_bytes(b"no file")
    good = write_vectors(tmp_path / "good.gpkg", boxes_of(discs), layer="a")
    write_vectors(tmp_path / "two.gpkg", boxes_of(discs), layer="a")
    write_vectors(tmp_path / "two.gpkg", boxes_of(discs), layer="b", append=True)
    write_vectors(tmp_path / "far.gpkg", [shapely.Point(1, 1)])
    write_vectors(tmp_path / "nowhere.geojson.gpkg", boxes_of(discs), crs=None)
    pyogrio.raw.write(tmp_path / "table.gpkg", None, [np.arange(3)], np.array(["n"]))
    with sqlite3.connect(
        write_vectors(tmp_path / "empty.gpkg", boxes_of(discs), layer="a")
    ) as file:
        file.execute("DELETE FROM gpkg_contents")
        file.execute("DELETE FROM gpkg_geometry_columns")
        file.execute("DROP TABLE a")
    write_vectors(tmp_path / "hollow.gpkg", [None, shapely.Polygon()])
    write_vectors(tmp_path / "local.gpkg", boxes_of(discs), 'LOCAL_CS["x",UNIT["metre",1]]')
    plain = tmp_path / "plain.png"
    Image.fromarray(np.zeros((90, 80, 3), np.uint8)).save(plain)
    ortho, out = folder / "ortho.tif", tmp_path / "masks.gpkg"
    for picture, boxes, more, message in [
        (ortho, "none.gpkg", [], "no such vector file"),
        (ortho, "no.gpkg", [], "as a vector file"),
        (ortho, "two.gpkg", [], "has the layers a, b: choose one, in the shell --layer a"),
        (ortho, "good.gpkg", ["--layer", "c"], "has no layer c; it has a"),
        (ortho, "far.gpkg", [], "ortho.tif: 0 without a geometry, 1 beside the picture"),
        (ortho, "table.gpkg", [], "has no geometry: it is a table"),
        (ortho, "empty.gpkg", [], "as a vector file"),
        (ortho, "hollow.gpkg", [], "has no feature on the picture"),
        (ortho, "local.gpkg", [], "does not fit EPSG:32633: "),
        (ortho, "nowhere.geojson.gpkg", [], "has none: nobody knows where one lies"),
        (plain, "good.gpkg", [], "the picture has none: nobody knows where one lies"),
        (ortho, "good.gpkg", ["--point", "3", "4"], "leave out --point"),
        (ortho, "good.gpkg", ["-o", str(tmp_path / "masks.shp")], "one of the endings .gpkg"),
        (ortho, "good.gpkg", ["-o", str(tmp_path / "x" / "masks.gpkg")], "no such folder"),
    ]:
        args = ["predict", str(picture), "--boxes", str(tmp_path / boxes), "-o", str(out), *more]
        assert main(args) == 2, message
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert len(error.replace(str(tmp_path), "").replace(str(folder), "")) < 300
    assert good.exists() and not out.exists()


def test_geometries_of_every_kind():
    ring = [(0, 0), (4, 0), (4, 3), (0, 0)]
    for shape in [
        shapely.Point(3, 4), shapely.MultiPoint([(3, 4), (5, 6)]), shapely.LineString(ring),
        shapely.Polygon(ring, [[(1, 0.2), (2, 0.2), (2, 0.4)]]),
        shapely.MultiPolygon([shapely.Polygon(ring)] * 2),
        shapely.GeometryCollection([shapely.Point(3, 4), shapely.Polygon(ring)]),
    ]:  # fmt: skip
        for byte_order in (0, 1):
            parts, kind = parse(shapely.to_wkb(shape, byte_order=byte_order))
            assert (np.concatenate(parts) == shapely.get_coordinates(shape)).all()
            assert (kind == 1) == (shape.geom_type == "Point")
    for empty in ("POINT EMPTY", "POLYGON EMPTY", "GEOMETRYCOLLECTION EMPTY"):
        assert parse(shapely.to_wkb(shapely.from_wkt(empty)))[0] == []
