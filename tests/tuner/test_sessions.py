"""Objects that were made in the page, as a data set."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sam_mlx import cli
from sam_mlx.images import load_image
from sam_mlx.masks import compress_rle, decode_rle, encode_rle
from sam_mlx.tuner.data import open_data
from sam_mlx.web import archive
from sam_mlx.web.sessions import Session
from sam_mlx.web.store import Store
from tests.support.tuner import picture


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF" if array.dtype == np.uint16 else "PNG")
    return buffer.getvalue()


@pytest.fixture
def session(tmp_path):
    """Two pictures with objects, one of 16 bits; a third that has none."""
    made, store, masks = Session(), Store(), []
    deep = picture(1)[0][..., 0].astype(np.uint16) * 20
    for i, (pixels, known) in enumerate([(picture(0)[0], None), (deep, (100, 5000)), (deep, None)]):
        one = made.add("same.png", store.of_bytes(encoded(pixels), known))
        for number in range(1, 4 if i < 2 else 1):
            mask = picture(i)[1] == number
            found = one.new_object()
            found.mask = compress_rle(encode_rle(mask[None]))[0]
            one.objects[found.id] = found
            masks.append(mask)
    (tmp_path / "work.zip").write_bytes(archive.save(made))
    return tmp_path / "work.zip", deep, masks


def test_masks_and_pixels_are_the_pages(session):
    path, deep, masks = session
    first, second = open_data(path)
    assert first.name != second.name and first.path != second.path
    found = [decode_rle([rle])[0] for one in (first, second) for rle in one.read()[1]]
    np.testing.assert_array_equal(found, masks)
    np.testing.assert_array_equal(first.pixels(), picture(0)[0])
    np.testing.assert_array_equal(second.pixels(), load_image(deep, value_range=(100, 5000)))
    (_, other) = open_data(path, value_range=(0, 4000))
    np.testing.assert_array_equal(other.pixels(), load_image(deep, value_range=(0, 4000)))


def test_it_is_checked_and_damaged_ones_are_refused(session, tmp_path, capsys):
    path = session[0]
    assert cli.main(["finetune", str(path), "-o", str(tmp_path / "out"), "--check"]) == 0
    assert "6 objects, 3 in a picture" in capsys.readouterr().out
    for text in (
        '{"format": "other", "pictures": []}',
        "{}",
        "[]",
        "{",
        '{"format": "sam_mlx.web 3"}',
    ):
        with zipfile.ZipFile(path, "w") as damaged:
            damaged.writestr("session.json", text)
        with pytest.raises(ValueError, match="work.zip is no session that can be read"):
            open_data(path)
