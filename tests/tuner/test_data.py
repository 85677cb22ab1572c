"""Labelled pictures: the same objects, in whatever form they come."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from sam_mlx.masks import compress_rle, decode_rle, encode_rle, outlines
from sam_mlx.tuner.data import objects_of_labels, open_data
from sam_mlx.tuner.data.polygons import fill, filled

H, W = 40, 60


@pytest.fixture
def labels():
    """A disc, a ring, a triangle at the border, and a region of two parts."""
    y, x = np.mgrid[:H, :W]
    labels = np.zeros((H, W), np.uint16)
    labels[(x - 15) ** 2 + (y - 12) ** 2 < 60] = 3
    far = (x - 40) ** 2 + (y - 20) ** 2
    labels[(far < 150) & (far > 30)] = 70
    labels[(x + y > 90)] = 300
    labels[30:34, 5:8] = labels[36:39, 10:14] = 65535
    return labels


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)


@pytest.fixture
def expected(labels):
    return encode_rle(np.stack([labels == i for i in np.unique(labels) if i]))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def by_counts(objects):
    return sorted(tuple(found["counts"]) for found in objects)


def check(found, picture, expected):
    (one,) = found
    pixels, objects = one.read()
    np.testing.assert_array_equal(pixels, picture)
    assert by_counts(objects) == by_counts(expected)


def test_objects_of_labels(labels, expected):
    assert objects_of_labels(labels) == expected
    assert objects_of_labels(np.zeros((3, 4), int)) == []
    assert objects_of_labels(np.full((3, 4), 9)) == encode_rle(np.ones((1, 3, 4), bool))
    noise = np.random.default_rng(1).integers(0, 4, (17, 9))
    assert objects_of_labels(noise) == encode_rle(np.stack([noise == i for i in (1, 2, 3)]))


@pytest.mark.parametrize(
    ("image", "label"),
    [("images/a.png", "labels/a.png"), ("images/a.png", "masks/a_masks.tif"),
     ("raw/a.tif", "label/a.tif"), ("a.png", "a_masks.png"), ("a.tif", "a_cp_masks.tif"),
     ("IMG/a.png", "Masks/a-mask.png")],
)  # fmt: skip
def test_label_images(tmp_path, labels, picture, expected, image, label):
    save(tmp_path / image, picture)
    save(tmp_path / label, labels)
    check(open_data(tmp_path), picture, expected)


@pytest.mark.parametrize("type", [np.uint8, np.uint16, np.int32, np.float32])
def test_types_of_label_images(tmp_path, labels, picture, expected, type):
    labels = np.searchsorted(np.unique(labels), labels).astype(type)
    save(tmp_path / "images" / "a.png", picture)
    save(tmp_path / "labels" / "a.tif", labels)
    check(open_data(tmp_path), picture, expected)


def test_two_folders(tmp_path, labels, picture, expected):
    save(tmp_path / "pictures" / "a.png", picture)
    save(tmp_path / "truth" / "a.png", labels)
    found = open_data(images=tmp_path / "pictures", labels=tmp_path / "truth")
    check(found, picture, expected)


def test_arrays_as_medsam_saves_them(tmp_path, labels, picture, expected):
    for name in ("imgs", "gts"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "imgs" / "a.npy", picture / 255)
    np.save(tmp_path / "gts" / "a.npy", labels)
    (one,) = open_data(tmp_path)
    pixels, objects = one.read()
    assert np.abs(pixels.astype(int) - picture).max() <= 1
    assert by_counts(objects) == by_counts(expected)


def test_stacks(tmp_path, labels, picture):
    pages = [labels, labels[::-1], labels[:, ::-1]]
    for name, stack in (("images", [picture] * 3), ("labels", pages)):
        (tmp_path / name).mkdir()
        first, *others = [Image.fromarray(page) for page in stack]
        first.save(tmp_path / name / "t.tif", save_all=True, append_images=others)
    found = open_data(tmp_path)
    assert [one.name for one in found] == ["t.tif[0]", "t.tif[1]", "t.tif[2]"]
    for one, page in zip(found, pages):
        assert one.read()[1] == objects_of_labels(page)


def test_a_palettes_numbers_count(tmp_path, picture):
    save(tmp_path / "images" / "a.png", picture)
    labels = Image.fromarray(np.tile(np.uint8([0, 1, 2]), (H, W // 3)))
    labels.putpalette([0, 0, 0, 200, 10, 10, 200, 10, 10])
    (tmp_path / "labels").mkdir()
    labels.save(tmp_path / "labels" / "a.png")
    (one,) = open_data(tmp_path)
    assert len(one.read()[1]) == 2


@pytest.mark.parametrize("where", ["", "images"])
@pytest.mark.parametrize("compressed", [False, True])
def test_coco(tmp_path, picture, expected, where, compressed):
    save(tmp_path / where / "a.png", picture)
    write_coco(tmp_path / "all.json", compress_rle(expected) if compressed else expected)
    check(open_data(tmp_path / "all.json"), picture, expected)


def write_coco(path, segmentations):
    annotations = [
        {"id": i, "image_id": 7, "category_id": 1, "segmentation": each, "iscrowd": 0}
        for i, each in enumerate(segmentations)
    ]
    image = {"id": 7, "file_name": "a.png", "height": H, "width": W}
    path.write_text(json.dumps({"images": [image], "annotations": annotations}))


def rings_of(rle):
    """Outer rings of objects without holes."""
    return [region[0] for region in outlines(decode_rle([rle])[0])]


def test_polygons_of_coco(tmp_path, picture, expected):
    solid = [rle for rle in expected if all(len(r) == 1 for r in outlines(decode_rle([rle])[0]))]
    assert len(solid) == 3
    save(tmp_path / "a.png", picture)
    write_coco(
        tmp_path / "a.json", [[r.reshape(-1).tolist() for r in rings_of(rle)] for rle in solid]
    )
    check(open_data(tmp_path / "a.json"), picture, solid)


def shape(kind, points, **more):
    return {"shape_type": kind, "points": np.asarray(points).tolist(), "label": "cell", **more}


def test_labelme(tmp_path, picture, expected):
    solid = [rle for rle in expected if all(len(r) == 1 for r in outlines(decode_rle([rle])[0]))]
    shapes = []
    for group, rle in enumerate(solid):
        shapes += [shape("polygon", ring, group_id=group) for ring in rings_of(rle)]
    (ring,) = [rle for rle in expected if rle not in solid]
    (y0, x0), (y1, x1) = (f(np.nonzero(decode_rle([ring])[0]), axis=1) for f in (np.min, np.max))
    buffer = io.BytesIO()
    part = decode_rle([ring])[0][y0 : y1 + 1, x0 : x1 + 1]
    Image.fromarray(part).save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    shapes += [shape("mask", [(x0, y0), (x1, y1)], mask=text)]
    shapes += [shape("line", [(0, 0), (5, 5)]), shape("point", [(3, 3)])]
    save(tmp_path / "a.png", picture)
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "shapes": shapes}))
    check(open_data(tmp_path), picture, expected)


def test_rectangles_and_circles_of_labelme(tmp_path, picture):
    save(tmp_path / "a.jpg", picture)
    shapes = [shape("rectangle", [(10, 8), (4, 2)]), shape("circle", [(30, 20), (30, 30)])]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": None}))
    (one,) = open_data(tmp_path)
    box, disc = decode_rle(one.read()[1])
    assert box[2:8, 4:10].all() and box.sum() == 36
    assert disc.sum() == pytest.approx(np.pi * 100, rel=0.02) and disc[20, 30]


@pytest.mark.parametrize("deep", ["images", "images/train", "train/images"])
def test_yolo(tmp_path, picture, expected, deep):
    solid = [rle for rle in expected if len(rings_of(rle)) == 1][:1]
    lines = [f"0 {' '.join(f'{v:.9f}' for v in (rings_of(r)[0] / (W, H)).ravel())}" for r in solid]
    save(tmp_path / deep / "a.png", picture)
    folder = tmp_path / deep.replace("images", "labels")
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("\n".join(lines))
    check(open_data(tmp_path), picture, solid)


def test_filled_polygons():
    """Against counting, for each pixel, the edges on its left."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:H, :W] + 0.5
    for _ in range(50):
        ring = rng.uniform(-10, 60, (7, 2))
        inside = crossings(ring, x, y) % 2 == 1
        np.testing.assert_array_equal(fill([ring], (H, W)), inside)
        if (ring.min(axis=0) < (W, H)).all() and (ring.max(axis=0) > 0).all():
            assert filled([ring], (H, W)) == encode_rle(inside[None])[0]


OUTSIDE = [(70, 5), (80, 5), (75, 20)]  # of 60 x 40 pixels


def write_outside(folder, kind, picture):
    if kind == "coco":
        save(folder / "a.png", picture)
        write_coco(folder / "a.json", [[np.ravel(OUTSIDE).tolist()]])
        return folder / "a.json"
    if kind == "labelme":
        save(folder / "a.png", picture)
        (folder / "a.json").write_text(json.dumps({"shapes": [shape("polygon", OUTSIDE)]}))
    else:  # pixels in place of shares
        save(folder / "images" / "a.png", picture)
        (folder / "labels").mkdir()
        (folder / "labels" / "a.txt").write_text(f"0 {' '.join(map(str, np.ravel(OUTSIDE)))}")
    return folder


@pytest.mark.parametrize("kind", ["coco", "labelme", "yolo"])
def test_outlines_outside_of_their_picture(tmp_path, kind, picture):
    (one,) = open_data(write_outside(tmp_path, kind, picture))
    with pytest.raises(ValueError, match="outside of its picture of 60 x 40 pixels"):
        one.read()


def crossings(ring, x, y):
    """How many edges a ray to the left of each point crosses."""
    count = np.zeros(x.shape, int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0)):
        spans = (min(y0, y1) <= y) & (y < max(y0, y1))
        count += spans & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x)
    return count
