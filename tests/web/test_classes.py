"""Classes: set by a client or on the command line, kept in sessions, and in every export."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support.web import COINS, Page  # isort: skip  first: it skips all where it must

from sam_mlx import SamPredictor, cli
from sam_mlx.masks import decode_rle
from sam_mlx.web.classes import MAX_CLASSES, given
from tests.support.masks import yolo_masks

CLASSES = [
    {"id": 7, "name": "penny", "colour": "#112233"},
    {"id": 3, "name": 'two "words" 🪙', "colour": "#445566"},
]


def set_classes(page, classes):
    return page.client.put(f"{page.session}/classes", json={"classes": classes})


@pytest.fixture
def labelled(page):
    """Three objects: of the second class, of the first, and of none; by their order."""
    set_classes(page.ready(), CLASSES)
    page.click(category=3, order=2, name="b/c")
    page.click(points=[[65, 50]], category=7, order=1, name="a")
    page.click(points=[[212, 50]], order=3)
    return page


def test_classes_are_set_as_a_list(page):
    assert page.client.get(page.session).json()["classes"] == []
    assert set_classes(page, CLASSES).json() == {"classes": CLASSES, "before": 1, "revision": 2}
    late = {"classes": CLASSES[:1], "since": 1}  # of a page that has not seen the change before
    answer = page.client.put(f"{page.session}/classes", json=late)
    assert answer.status_code == 409 and "changed elsewhere" in answer.json()["error"]
    assert page.client.get(page.session).json()["classes"] == CLASSES
    renamed = [CLASSES[1] | {"name": " a\n b\x00"}, CLASSES[0]]
    assert [c["name"] for c in set_classes(page, renamed).json()["classes"]] == ["a b", "penny"]
    assert set_classes(page, []).json()["classes"] == []


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([CLASSES[0], CLASSES[1] | {"id": 7}], "two classes have the id 7"),
        ([CLASSES[0], CLASSES[1] | {"name": "penny "}], "two classes have the name 'penny'"),
        ([CLASSES[0] | {"name": ""}], "0 characters"),
        ([CLASSES[0] | {"name": "\t"}], "has no name"),
        ([CLASSES[0] | {"colour": "red"}], "expected #rrggbb"),
        ([CLASSES[0] | {"id": 0}], "expected 1 to"),
        ([{"id": 1, "name": "a"}], "lacks colour"),
        ([CLASSES[0]] * (MAX_CLASSES + 1), "1001 entries"),
    ],
)
def test_classes_that_are_refused(page, classes, words):
    set_classes(page, CLASSES[:1])
    refused = set_classes(page, classes)
    assert refused.status_code == 400 and words in refused.json()["error"]
    assert page.client.get(page.session).json()["classes"] == CLASSES[:1]


def test_session_files_have_classes_and_the_order(labelled):
    saved = labelled.client.get(f"{labelled.session}/file").content
    opened = labelled.client.post("/api/sessions/file", content=saved).json()["session"]
    again = labelled.client.get(f"/api/sessions/{opened}").json()
    assert again["classes"] == CLASSES
    (picture,) = again["pictures"]
    assert [(o["order"], o["category"]) for o in picture["objects"]] == [(1, 7), (2, 3), (3, None)]


def masks_of(page):
    objects = page.client.get(page.picture).json()["objects"]
    return [decode_rle([found["mask"]])[0] for found in objects]


def test_coco_has_the_classes(labelled):
    coco = labelled.export("coco").json()
    names = {c["id"]: c["name"] for c in coco["categories"]}
    assert names == {1: "penny", 2: 'two "words" 🪙', 3: "object"}
    assert [a["category_id"] for a in coco["annotations"]] == [1, 2, 3]
    for annotation, mask in zip(coco["annotations"], masks_of(labelled)):
        np.testing.assert_array_equal(decode_rle([annotation["segmentation"]])[0], mask)


def test_an_object_without_a_class_alone_makes_another_class(labelled):
    (last,) = (o for o in labelled.client.get(labelled.picture).json()["objects"] if o["order"] > 2)
    labelled.client.put(f"{labelled.picture}/objects/{last['id']}", json={"category": 7})
    names = [c["name"] for c in labelled.export("coco").json()["categories"]]
    assert names == ["penny", 'two "words" 🪙']
    set_classes(labelled, [CLASSES[0], CLASSES[1] | {"name": "object"}, {**CLASSES[1], "id": 9}])
    labelled.client.put(f"{labelled.picture}/objects/{last['id']}", json={"category": 1})
    names = [c["name"] for c in labelled.export("coco").json()["categories"]]
    assert names == ["penny", "object", 'two "words" 🪙', "no class"]


def test_label_maps_of_objects_and_of_classes(labelled):
    first, second, third = masks_of(labelled)
    expected = np.select([third, second, first], [3, 2, 1])
    for name in ("labelmap", "classmap"):
        found = np.asarray(Image.open(io.BytesIO(labelled.export(name).content)))
        np.testing.assert_array_equal(found, expected, name)


def archive_of(answer) -> zipfile.ZipFile:
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_masks_are_named_by_class_and_name(labelled):
    names = archive_of(labelled.export("masks")).namelist()
    assert names == ["0_penny_a.png", "1_two -words- 🪙_b-c.png", "2_object_object 3.png",
                     "metadata.csv"]  # fmt: skip


def test_yolo_and_labelme_are_read_back(labelled, tmp_path):
    """By the readers of fine-tuning: the masks, and the classes by their numbers and names."""
    from sam_mlx.tuner.data import open_data

    query = "?formats=yolo,labelme"
    archive_of(labelled.client.get(f"{labelled.session}/export{query}")).extractall(tmp_path)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")} == {
        "labels/coins.txt", "labelme/coins.json", "data.yaml",
    }  # fmt: skip
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    assert names == {0: "penny", 1: 'two "words" 🪙', 2: "object"}
    lines = (tmp_path / "labels" / "coins.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == [0, 1, 2]
    (tmp_path / "images").mkdir()
    for folder in ("images", "labelme"):
        (tmp_path / folder / "coins.png").write_bytes(Path(COINS).read_bytes())
    for data in (tmp_path, tmp_path / "labelme"):
        ((_, objects),) = [one.read() for one in open_data(data)]
        np.testing.assert_array_equal(decode_rle(objects), masks_of(labelled))
    shapes = json.loads((tmp_path / "labelme" / "coins.json").read_text())["shapes"]
    assert [shape["label"] for shape in shapes] == ["penny", 'two "words" 🪙', "object"]


def test_exports_are_the_predictors_masks(labelled, nano, tmp_path):
    """COCO as pycocotools reads it, YOLO's polygons, label maps."""
    from pycocotools.coco import COCO

    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    expected = [predictor.predict([point], [1])[:2] for point in ([65, 50], [138, 53], [212, 50])]
    expected = np.array([masks[scores.argmax()] for masks, scores in expected])
    query = "?formats=coco,yolo,labelmap,classmap"
    archive_of(labelled.client.get(f"{labelled.session}/export{query}")).extractall(tmp_path)
    coco = COCO(str(tmp_path / "annotations.json"))
    found = [coco.annToMask(annotation) for annotation in coco.anns.values()]
    np.testing.assert_array_equal(found, expected)
    kinds, masks = yolo_masks((tmp_path / "labels" / "coins.txt").read_text(), expected.shape[1:])
    np.testing.assert_array_equal(masks, expected)
    assert kinds == [0, 1, 2]
    for name in ("labels", "classes"):
        labels = np.asarray(Image.open(tmp_path / f"coins_{name}.png"))
        np.testing.assert_array_equal(labels, np.select(list(expected[::-1]), [3, 2, 1]))


def test_outlines_have_the_classes(labelled):
    features = labelled.export("geojson").json()["features"]
    assert [f["properties"]["class"] for f in features] == ["penny", 'two "words" 🪙', "object"]
    assert 'data-class="two &quot;words&quot; 🪙"' in labelled.export("svg").text


def test_formats_that_do_not_exist_are_named(page):
    for names in ("", "coco,x"):
        refused = page.client.get(f"{page.session}/export?formats={names}")
        assert refused.status_code == 404 and "there are masks, " in refused.json()["error"]


def test_the_command_lines_classes_are_in_new_sessions(nano):
    from starlette.testclient import TestClient

    from sam_mlx.web.application import application
    from sam_mlx.web.backend import Backend

    server = Backend(nano, "nano", [COINS], classes=given("a, b ,a,"))
    with TestClient(application(server), base_url="http://127.0.0.1:8000") as client:
        page = Page(client)
        listed = client.get(page.session).json()["classes"]
        assert [(c["id"], c["name"]) for c in listed] == [(1, "a"), (2, "b")]
        set_classes(page, [])
        assert len(client.get(Page(client).session).json()["classes"]) == 2
    server.close()


def test_classes_are_read_from_a_file(tmp_path, monkeypatch, capsys):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcell\n\nnucleus, large\r\n", "utf-8")
    assert [c.name for c in given(str(path))] == ["cell", "nucleus, large"]
    path.write_text("\n \n")
    for wrong in (str(path), " "):
        with pytest.raises(SystemExit):
            cli.main(["web", "--classes", wrong])
    assert capsys.readouterr().err.count("one class on each line") == 1
    with pytest.raises(ValueError, match="1001 classes"):
        given(",".join(map(str, range(MAX_CLASSES + 1))))
