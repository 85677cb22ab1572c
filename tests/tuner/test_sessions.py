"""Objects that were made in the page, as a data set."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sam_mlx import cli
from sam_mlx.files import to_json
from sam_mlx.images import load_image
from sam_mlx.masks import compress_rle, decode_rle, encode_rle
from sam_mlx.tuner.data import open_data
from sam_mlx.web import archive, keeping
from sam_mlx.web.keeping import Keeper
from sam_mlx.web.sessions import Session
from sam_mlx.web.store import STUB, Store
from tests.support.tuner import picture


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "TIFF" if array.dtype == np.uint16 else "PNG")
    return buffer.getvalue()


def written(session, store, kind, folder):
    """The session's file: saved by a page, or kept by the server, also in a file of --session."""
    if kind == "saved":
        (folder / "work.zip").write_bytes(archive.save(session))
        return folder / "work.zip"
    keeper = Keeper(store, folder / "sessions", folder / "work" if kind == "file" else None)
    keeper.file_id = session.id
    keeper.write(session)
    keeper.close()
    return keeper.path(session.id)


@pytest.fixture(params=["saved", "kept", "file"])
def session(tmp_path, request):
    """Two pictures with objects, one of 16 bits; a third that has none."""
    made, store, masks = Session(), Store(), []
    deep = picture(1)[0][..., 0].astype(np.uint16) * 20
    (tmp_path / "same.png").write_bytes(encoded(picture(0)[0]))
    contents = [
        store.of_file(tmp_path / "same.png"),
        store.of_bytes(encoded(deep), (100, 5000)),
        store.of_bytes(encoded(deep), None),
    ]
    for i, content in enumerate(contents):
        one = made.add("same.png", content)
        for number in range(1, 4 if i < 2 else 1):
            mask = picture(i)[1] == number
            found = one.new_object()
            found.mask = compress_rle(encode_rle(mask[None]))[0]
            one.objects[found.id] = found
            masks.append(mask)
    return written(made, store, request.param, tmp_path), deep, masks


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


def test_it_is_checked(session, tmp_path, capsys):
    path = session[0]
    assert cli.main(["finetune", str(path), "-o", str(tmp_path / "out"), "--check"]) == 0
    assert "6 objects, 3 in a picture" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "other", "pictures": []}', "{}", "[]", "{", '{"format": "sam_mlx.web 3"}',
    ],
)  # fmt: skip
def test_damaged_zips_are_refused(tmp_path, text):
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as damaged:
        damaged.writestr("session.json", text)
    with pytest.raises(ValueError, match="work.zip is no session that can be read"):
        open_data(tmp_path / "work.zip")


HEAD = '{"format": "sam_mlx.web.kept 1", "id": "a", "revision": 1, "pictures": 1}\n'


@pytest.mark.parametrize(
    "text",
    ['{"format": "sam_mlx.web.kept 1"', HEAD, HEAD + "{", HEAD + "[1]", HEAD + '{"objects": [1]}',
     HEAD + '{"id": 1, "name": 1, "objects": [{"mask": 1}], "upload": 2}'],
)  # fmt: skip
def test_damaged_files_of_the_server_are_refused(tmp_path, text):
    (tmp_path / "work").write_text(text)
    with pytest.raises(ValueError, match="work is no session that can be read"):
        open_data(tmp_path / "work")


def test_changes_beside_a_large_file_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "MAX_WHOLE", 0)
    made, store = Session(), Store()
    keeper = Keeper(store, tmp_path)
    contents = [store.of_bytes(encoded(picture(i)[0]), None) for i in (0, 1)]
    first, second = (made.add("a.png", content) for content in contents)
    masks = [compress_rle(encode_rle(picture(i)[1][None] > 0))[0] for i in (0, 1)]

    def put(one, mask):
        found = one.new_object()
        found.mask = mask
        one.objects = {found.id: found}
        made.changed(one)
        keeper.write(made)

    put(second, masks[1])
    put(first, masks[0])
    put(first, masks[1])
    path = keeper.path(made.id)
    assert list(path.with_name(f"{path.name}.changes").glob("*.json"))
    found = [one.objects() for one in open_data(path)]
    assert decode_rle(found[0]).tolist() == decode_rle(found[1]).tolist()
    keeper.close()


def test_a_picture_that_is_gone_is_named(tmp_path):
    made, store = Session(), Store()
    (tmp_path / "here.png").write_bytes(encoded(picture(0)[0]))
    one = made.add("here.png", store.of_file(tmp_path / "here.png"))
    found = one.new_object()
    found.mask = compress_rle(encode_rle(picture(0)[1][None] > 0))[0]
    one.objects[found.id] = found
    path = written(made, store, "kept", tmp_path)
    (tmp_path / "here.png").unlink()
    (gone,) = open_data(path)
    with pytest.raises(FileNotFoundError, match="here.png"):
        gone.read()


def test_a_large_picture_is_refused(tmp_path):
    """Of which the page reads windows, and a session has no pixels."""
    mask = compress_rle(encode_rle(picture(0)[1][None] > 0))[0]
    one = {"id": "p1", "name": "map.tif", "objects": [{"mask": mask}], "source": "map.tif"}
    with zipfile.ZipFile(tmp_path / "work.zip", "w") as made:
        made.writestr("session.json", to_json({"format": "sam_mlx.web 4", "pictures": [one]}))
        made.writestr("pictures/0", STUB + b"{}")
    (tmp_path / "work").write_text(HEAD + to_json(one | {"large": True}) + "\n")
    for name in ("work.zip", "work"):
        (large,) = open_data(tmp_path / name)
        with pytest.raises(ValueError, match=r"map.tif \(1\) is a large picture"):
            large.with_range((0, 9)).read()
