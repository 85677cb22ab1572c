"""Annotations from files: exports come back as they were, objects go on from given masks."""

import importlib
import io
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.support.web import COINS, Page, png  # isort: skip  first: it skips all where it must

from sam_mlx import SamPredictor
from sam_mlx.mask_inputs import mask_input
from sam_mlx.masks import compress_rle, decode_rle, encode_rle

CLASSES = [
    {"id": 4, "name": "penny", "colour": "#112233"},
    {"id": 9, "name": "dime", "colour": "#445566"},
]


def send(page, name, data):
    return page.client.post(f"{page.session}/import?name={name}", content=data)


def objects_of(page):
    return page.client.get(page.picture).json()["objects"]


def seen(objects):
    """Classes and masks, in an order of their own."""
    found = [(o["category"], decode_rle([o["mask"]])[0]) for o in objects]
    return sorted(found, key=lambda one: tuple(np.argwhere(one[1])[0]))


@pytest.fixture
def labelled(page):
    page.ready().client.put(f"{page.session}/classes", json={"classes": CLASSES})
    page.click(category=9, name="a")
    page.click(points=[[65, 50]], category=4, name="b")
    ring = [{"erase": False, "radius": 3, "path": [[180, 190], [215, 190], [215, 220], [180, 220],
                                                   [180, 190]]},
            {"erase": False, "radius": 2, "path": [[240, 240]]}]  # fmt: skip
    page.click(points=[], labels=[], edits=ring, category=9, name="c")  # a hole, and two parts
    return page


def exported(page, names) -> bytes:
    return page.client.get(f"{page.session}/export?formats={names}").content


@pytest.mark.parametrize("format", ["coco", "yolo", "labelme"])
def test_what_is_exported_comes_back(labelled, format):
    """Into another session, which has only one of the classes, and other ids."""
    data = exported(labelled, format)
    again = Page(labelled.client)
    own = [{"id": 1, "name": "dime", "colour": "#000000"}]
    again.client.put(f"{again.session}/classes", json={"classes": own})
    answer = send(again, "all.zip", data)
    assert answer.status_code == 201, answer.text
    names = {c["id"]: c["name"] for c in answer.json()["classes"]}
    assert answer.json()["left_out"] == [] and sorted(names.values()) == ["dime", "penny"]
    before, after = seen(objects_of(labelled)), seen(objects_of(again))
    for (kind, mask), (other, same) in zip(before, after, strict=True):
        assert {4: "penny", 9: "dime"}[kind] == names[other]
        np.testing.assert_array_equal(mask, same)
    if format != "yolo":  # which has no names
        assert {o["name"] for o in objects_of(again)} == {"a", "b", "c"}


def test_label_images(labelled):
    again = Page(labelled.client)
    again.client.put(f"{again.session}/classes", json={"classes": CLASSES})
    answer = send(again, "coins_labels.png", labelled.export("labelmap").content)
    assert answer.status_code == 201, answer.text
    for (_, mask), (kind, same) in zip(seen(objects_of(labelled)), seen(objects_of(again))):
        assert kind is None
        np.testing.assert_array_equal(mask, same)
    send(again, "coins_classes.png", labelled.export("classmap").content)
    kinds = [o["category"] for o in objects_of(again)]
    assert kinds == [None, None, None, 4, 9]  # an object for each class


def test_other_forms_of_coco(page):
    """Polygons, as other tools write them; classes by any ids; crowds; boxes alone have no mask."""
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    other = [40, 40, 50, 40, 50, 45, 40, 45]
    mask = np.zeros((1, 256, 256), bool)
    mask[0, 3:5, 7:9] = True
    (plain,) = encode_rle(mask)
    annotation = {"image_id": 70, "iscrowd": 0}
    coco = {
        "images": [{"id": 70, "file_name": "deep/COINS.jpg", "height": 256, "width": 256},
                   {"id": 71, "file_name": "other.png", "height": 5, "width": 5}],
        "categories": [{"id": 500, "name": "cell"}],
        "annotations": [
            annotation | {"category_id": 500, "segmentation": [square, other]},
            annotation | {"category_id": 500, "segmentation": plain, "iscrowd": 1},
            annotation | {"category_id": 501, "segmentation": compress_rle([plain])[0]},
            annotation | {"category_id": 500, "segmentation": [], "bbox": [1, 2, 3, 4]},
            annotation | {"image_id": 71, "category_id": 500, "segmentation": [square]},
        ],
    }  # fmt: skip
    answer = send(page, "x.json", json.dumps(coco).encode())
    assert answer.status_code == 201, answer.text
    assert answer.json()["left_out"] == ["other.png: no picture has this name"]
    first, second, third = objects_of(page)
    assert first["area"] == 100 + 50 and decode_rle([first["mask"]])[0][10:20, 10:20].all()
    assert second["mask"] == third["mask"] == plain
    assert [o["category"] for o in (first, second, third)] == [1, 1, None]


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[]", "neither COCO's JSON nor labelme's"),
        ("a.json", b'{"images": 3, "annotations": [[]]}', "is damaged"),
        ("a.json", b'{"shapes": [7], "imagePath": "coins.png"}', "is damaged"),
        ("coins.txt", b"0 0.1 0.1 0.2 0.2", "boxes"),
        ("coins.txt", b"0 a b c d e f", "could not convert"),
        ("coins.txt", b"0 0.1 0.1 0.2 0.2 0.3", "three"),
        ("coins_labels.png", png(np.zeros((9, 9))), "expected (256, 256)"),
        ("coins_labels.png", b"none", "cannot read"),
        ("a.docx", b"", "no body"),
        ("a.docx", b"x", "no annotations that are known"),
        ("a.zip", b"x", "is damaged"),
        ("a.zip", zipped({"session.json": b"{}"}), "Open a session"),
        ("a.zip", zipped({"data.yaml": b"names: {x: [}"}), "is damaged"),
    ],
)
def test_files_that_are_refused_change_nothing(page, name, data, words):
    refused = send(page, name, data)
    assert refused.status_code in (400, 415), refused.text
    assert words in refused.json()["error"]
    assert objects_of(page) == []


def test_a_file_that_is_damaged_at_its_end_adds_nothing(page):
    answer = send(page, "coins.txt", b"0 0.1 0.1 0.2 0.1 0.2 0.2\n0 0.1\n")
    assert answer.status_code == 400 and objects_of(page) == []
    assert page.client.get(page.session).json()["classes"] == []


def test_zip_bombs_are_refused(page, monkeypatch):
    monkeypatch.setattr("sam_mlx.web.imports.MAX_BYTES", 1000)
    refused = send(page, "a.zip", zipped({"coins.txt": bytes(700), "b.txt": bytes(700)}))
    assert refused.status_code == 413 and "1000 bytes" in refused.json()["error"]


# Others go on while a file is read.


@pytest.fixture
def meanwhile(monkeypatch):
    """Does something while the server is at a function: meanwhile("imports.found_in", do, ask)."""

    def run(place, do, ask):
        started, over = threading.Event(), threading.Event()
        module, name = place.split(".")
        module = importlib.import_module(f"sam_mlx.web.{module}")
        original = getattr(module, name)

        def waiting(*given):
            started.set()
            assert over.wait(30)
            return original(*given)

        monkeypatch.setattr(module, name, waiting)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask)
            assert started.wait(30)
            monkeypatch.undo()
            do()
            over.set()
            return answer.result()

    return run


def set_classes(page, classes):
    assert page.client.put(f"{page.session}/classes", json={"classes": classes}).status_code == 200


def test_classes_made_during_an_import_stay(labelled, meanwhile):
    """In another window: new ones, one of a name that the file has, and one that is removed."""
    data, again = exported(labelled, "coco"), Page(labelled.client)
    set_classes(again, [{"id": 1, "name": "dime", "colour": "#000000"}])
    others = [{"id": i, "name": n, "colour": "#00ff00"} for i, n in [(2, "penny"), (3, "other")]]
    answer = meanwhile(
        "imports.found_in", lambda: set_classes(again, others), lambda: send(again, "a.zip", data)
    )
    assert answer.status_code == 201, answer.text
    shown = again.client.get(again.session).json()
    assert [(c["id"], c["name"]) for c in shown["classes"]] == [
        (2, "penny"), (3, "other"), (4, "dime")
    ]  # fmt: skip
    assert sorted(o["category"] for o in objects_of(again)) == [2, 4, 4]
    assert answer.json()["revision"] == shown["revision"]
    assert answer.json()["classes"] == shown["classes"]


def test_pictures_removed_during_an_import_are_left_out(page, meanwhile):
    data = b"0 0.1 0.1 0.2 0.1 0.2 0.2\n"
    page.add(png(np.zeros((20, 20))), "b.png")
    answer = meanwhile(
        "imports.found_in",
        lambda: page.client.delete(page.picture),
        lambda: send(page, "a.zip", zipped({"coins.txt": data, "b.txt": data})),
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["left_out"] == ["coins.png: it was removed in the meantime"]
    assert [(p["id"], len(p["objects"])) for p in answer.json()["pictures"]] == [("p2", 1)]


@pytest.mark.parametrize("path", ["export?formats=yolo,coco", "file"])
def test_files_are_of_one_moment(labelled, meanwhile, path):
    """A class that another window removes meanwhile would shift the numbers of half the labels."""
    place = "archive.to_json" if path == "file" else "exports.check_names"
    ask = lambda: labelled.client.get(f"{labelled.session}/{path}")  # noqa: E731
    before = zipfile.ZipFile(io.BytesIO(ask().content))

    def change():
        set_classes(labelled, CLASSES[1:])
        labelled.add(png(np.zeros((20, 20))), "b.png")
        labelled.client.delete(f"{labelled.picture}/objects/{objects_of(labelled)[0]['id']}")

    after = zipfile.ZipFile(io.BytesIO(meanwhile(place, change, ask).content))
    assert before.namelist() == after.namelist()
    for name in before.namelist():
        assert before.read(name) == after.read(name), name


# Masks as prompts.


@pytest.fixture
def predictor(nano):
    found = SamPredictor(nano)
    found.set_image(COINS)
    return found


def test_a_given_mask_is_refined_by_clicks(page, predictor, nano):
    """As ``SamPredictor`` does it with the same mask_input; also while hovering."""
    masks, _, _ = predictor.predict([[138, 53]], [1])
    given = masks[0]
    (start,) = compress_rle(encode_rle(given[None]))
    added = page.ready().click(points=[], labels=[], start=start)
    np.testing.assert_array_equal(decode_rle([added["mask"]])[0], given)
    asked = {"points": [[138, 70]], "labels": [1], "start": start}
    changed = page.client.put(f"{page.picture}/objects/{added['id']}", json=asked).json()
    low = mask_input(given, nano.config)
    expected, scores, _ = predictor.predict(
        [[138, 70]], [1], mask_input=low, multimask_output=False
    )
    np.testing.assert_array_equal(decode_rle([changed["mask"]])[0], expected[0])
    shown = page.predict(**asked, multimask=None).json()["masks"]
    assert len(shown) == 1 and shown[0]["score"] == pytest.approx(float(scores[0]))
    alone, _, _ = predictor.predict([[138, 70]], [1], multimask_output=False)
    assert (alone[0] != expected[0]).any()  # the mask counts


def test_python_lines_of_given_masks(page, predictor, tmp_path, monkeypatch):
    Image.open(COINS).save(tmp_path / "coins.png")
    monkeypatch.chdir(tmp_path)
    masks, _, _ = predictor.predict([[138, 53]], [1])
    (start,) = compress_rle(encode_rle(masks[:1]))
    page.ready()
    for prompt in ({"points": [], "labels": []}, {"points": [[138, 70]]}):
        added = page.click(start=start, **prompt)
        lines = page.client.get(f"{page.picture}/python?object={added['id']}").text
        names: dict = {}
        exec(lines, names)
        np.testing.assert_array_equal(names["mask"], decode_rle([added["mask"]])[0])


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"size": [8, 8], "counts": "P2"}, r"expected the picture's, [256, 256]"),
        ({"size": [256, 256], "counts": "x"}, "start: "),
        ({"size": [256, 256]}, "lacks counts"),
    ],
)
def test_given_masks_that_are_refused(page, start, words):
    for path in ("objects", "predict"):
        refused = page.client.post(f"{page.picture}/{path}", json={"start": start})
        assert refused.status_code == 400 and words in refused.json()["error"]


def test_mask_inputs_are_the_shares_of_cells(nano):
    config, mask = nano.config, np.zeros((60, 80), bool)
    mask[:, 40:] = True
    found = mask_input(mask, config)
    n = config.mask_size
    assert found.shape == (1, n, n) and found.dtype == np.float32
    share = 1 / (1 + np.exp(-found[0]))
    rows, columns = round(n * 60 / 80), n // 2
    np.testing.assert_allclose(share[:rows, :columns], 1e-3, atol=1e-6)
    np.testing.assert_allclose(share[:rows, columns:], 1 - 1e-3, atol=1e-6)
    np.testing.assert_allclose(share[rows:], 1e-3, atol=1e-6)
