"""Measures against their definitions and pycocotools; splits; surveys; what is refused."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from sam_mlx import SamAutomaticMaskGenerator, cli, sam_model_registry
from sam_mlx.full_size import upscale_masks
from sam_mlx.masks import compress_rle, encode_rle
from sam_mlx.tuner import losses, prompts
from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.evaluation import needed, searched, within
from sam_mlx.tuner.examples import examples_of, seen, squares
from sam_mlx.tuner.matches import (
    Found,
    Matches,
    average_precision,
    ious_with,
    segmentation_accuracy,
)
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.run import Job, finetune
from sam_mlx.tuner.split import check_apart, split
from sam_mlx.tuner.survey import survey
from sam_mlx.tuner.targets import Frame, resized, shares
from sam_mlx.tuner.validation import inner_pixel
from tests.support.models import SMALL, random_sam
from tests.support.tuner import SIZE, picture, write_data


def discs(rng, count, size=(40, 50)):
    y, x = np.mgrid[: size[0], : size[1]]
    centres = rng.uniform(5, 35, (count, 2)), rng.uniform(3, 8, count)
    return np.stack([(y - r) ** 2 + (x - c) ** 2 < R**2 for (r, c), R in zip(*centres)])


def test_average_precision_is_cocos():
    from pycocotools import coco, cocoeval

    rng = np.random.default_rng(0)
    truths, found = [discs(rng, 5) for _ in range(4)], []
    for each in truths:
        moved = np.roll(each, rng.integers(-2, 3, 2), axis=(1, 2))
        masks = np.concatenate([moved, discs(rng, 6)])
        found.append((masks, rng.random(len(masks))))
    ours = []
    for each, (masks, scores) in zip(truths, found):
        ours.append(Found(scores, ious_with(masks, each)).matches())

    def rows(index, masks, **more):
        return [
            {"image_id": index + 1, "category_id": 1, "segmentation": rle, "area": int(m.sum()),
             "iscrowd": 0, "bbox": [0, 0, 1, 1], **{k: v[i] for k, v in more.items()}}
            for i, (m, rle) in enumerate(zip(masks, compress_rle(encode_rle(masks))))
        ]  # fmt: skip

    reference = coco.COCO()
    annotations = [row for i, each in enumerate(truths) for row in rows(i, each)]
    reference.dataset = {
        "images": [{"id": i + 1, "height": 40, "width": 50} for i in range(4)],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [{**row, "id": i + 1} for i, row in enumerate(annotations)],
    }
    reference.createIndex()
    results = [row for i, (m, s) in enumerate(found) for row in rows(i, m, score=s.tolist())]
    judge = cocoeval.COCOeval(reference, reference.loadRes(results), "segm")
    judge.evaluate()
    judge.accumulate()
    assert average_precision(ours) == pytest.approx(judge.eval["precision"][0, :, 0, 0, 2].mean())


def test_segmentation_accuracy_is_its_definition():
    """10 masks, 8 objects, 6 found at IoU 0.5 to 0.7 and 2 above: TP / (TP + FP + FN)."""
    hits = np.zeros((10, 10), bool)
    hits[:5, :6] = hits[5:, :2] = True
    assert segmentation_accuracy(Matches(hits, np.ones(10), 8)) == (5 * 6 / 12 + 5 * 2 / 16) / 10
    none = Matches(np.zeros((10, 0), bool), np.zeros(0), 3)
    assert segmentation_accuracy(none) == 0 == average_precision([none])


def test_clicks_to_an_iou():
    history = np.array([[0.9, 0.1, 0.2], [0.9, 0.7, 0.8], [0.9, 0.85, 0.1]])
    assert needed(history, 0.8).tolist() == [1, 3, 2]
    assert needed(history, 0.95).tolist() == [3, 3, 3]


def test_losses_are_pytorchs(originals):
    torch = originals.torch
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 3, (2, 3, 50)), rng.random((2, 1, 50))
    tx, ty = torch.tensor(x), torch.tensor(y).expand(2, 3, 50)
    p, entropy = tx.sigmoid(), torch.nn.functional.binary_cross_entropy_with_logits
    focal = ty * (1 - p) ** 2 * entropy(tx, torch.ones_like(tx), reduction="none")
    focal = focal + (1 - ty) * p**2 * entropy(tx, torch.zeros_like(tx), reduction="none")
    dice = 1 - (2 * (p * ty).sum(-1) + 1) / (p.sum(-1) + ty.sum(-1) + 1)
    a, b = mx.array(x, mx.float32), mx.array(y, mx.float32)
    np.testing.assert_allclose(
        losses.focal_loss(a, mx.sigmoid(a), b), 0.5 * focal.mean(-1), rtol=2e-6
    )
    np.testing.assert_allclose(losses.dice_loss(mx.sigmoid(a), b), dice, rtol=2e-6)


@pytest.mark.parametrize("size", [(60, 80), (300, 200), (128, 128)])
def test_masks_are_compared_at_the_size_users_get_or_the_models(size):
    frame = Frame(SMALL, size)
    logits = mx.array(np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32))
    if max(size) <= SMALL.image_size:
        assert frame.size == size
        whole = upscale_masks(logits, frame.inner, size, SMALL.image_size)
        np.testing.assert_allclose(frame.enlarge(logits), whole, atol=2e-6)
    else:
        assert max(frame.size) == SMALL.image_size
    np.testing.assert_allclose(frame.to_input(np.array(frame.size[::-1])), frame.inner[::-1])


def test_shares_of_cells_add_up_to_the_area():
    frame = Frame(SMALL, (60, 80))
    masks = discs(np.random.default_rng(0), 4, (60, 80))
    cell = (80 / 64) ** 2  # pixels of a cell's area: the longer side fills the frame
    np.testing.assert_allclose(
        shares(masks, frame).sum(axis=(1, 2)) * cell, masks.sum(axis=(1, 2)), rtol=1e-4
    )
    large = Frame(SMALL, (300, 400))
    grown = np.repeat(np.repeat(masks, 5, axis=1), 5, axis=2)
    assert resized(grown, large).shape[1:] == (96, 128)
    assert np.abs(resized(grown, large).mean() - masks.mean()) < 0.01


def test_prompts_are_drawn_from_the_truth():
    rng = np.random.default_rng(0)
    truths = discs(rng, 40)
    drawn = prompts.first_prompts(truths, rng)
    has_box = ~np.isnan(drawn.boxes[:, 0])
    assert 5 < has_box.sum() < 35 and (drawn.are_ambiguous == ~has_box).all()
    for truth, point, label in zip(truths, drawn.points[:, 0], drawn.labels[:, 0]):
        assert label == -2 or truth[int(point[1]), int(point[0])]
    for truth, box in zip(truths[has_box], drawn.boxes[has_box]):
        exact = prompts.box_of(truth)
        assert np.abs(box - exact).max() <= 20 and box[0] <= box[2] and box[1] <= box[3]
    wrong = np.roll(truths, 3, axis=2)
    points, labels = prompts.corrections(wrong, truths, rng)
    for mask, truth, (x, y), label in zip(wrong, truths, points.astype(int), labels):
        assert mask[y, x] != truth[y, x] == label
    assert not drawn.with_points(points, labels).are_ambiguous[~has_box].any()
    coords, codes = drawn.tokens()
    assert coords.shape == (40, 3, 2)
    assert (codes[has_box, 1:] == [2, 3]).all() and (codes[~has_box, 1:] == [-1, -2]).all()


def test_inner_pixels():
    mask = np.zeros((30, 40), bool)
    mask[5:20, 10:31] = True
    assert inner_pixel(mask).tolist() == [17, 12] or mask[12, 20]
    x, y = inner_pixel(mask).astype(int)
    assert y == 12 and 16 <= x <= 24
    mask[:] = False
    mask[3, 7] = True
    assert inner_pixel(mask).tolist() == [7, 3]


def test_eight_views_differ():
    array = np.arange(12).reshape(3, 4)
    views = {seen(array, view).tobytes() + bytes(seen(array, view).shape) for view in range(8)}
    assert len(views) == 8 and (seen(array, 0) == array).all()


def test_squares_cover_a_picture():
    boxes = list(squares((60, 100), 40))
    covered = np.zeros((60, 100), int)
    for x0, y0, x1, y1 in boxes:
        assert (x1 - x0, y1 - y0) == (40, 40)
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1 and len(boxes) == 6
    assert list(squares((60, 100), None)) == [(0, 0, 100, 60)]


def test_series_are_split_by_place_and_others_by_file(tmp_path):
    others = open_data(write_data(tmp_path / "others", 6))
    training, validation = split(others, 25, None)
    assert {e.picture.name for e in training}.isdisjoint(e.picture.name for e in validation)
    assert (len(training), len(validation)) == (4, 2)
    for i in range(6):
        for name, array in zip(("images", "labels"), picture(i)):
            (tmp_path / "series" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "series" / name / f"t{i}.png")
    training, validation = split(open_data(tmp_path / "series"), 25, None)
    assert len(training) == 6 and max(e.box[2] for e in training) < min(
        e.box[0] for e in validation
    )


def test_the_same_pixels_on_both_sides_are_refused(tmp_path):
    examples = examples_of(open_data(write_data(tmp_path)), 25, None)
    with pytest.raises(ValueError, match="trained on: take one of them away"):
        check_apart(examples, [replace(examples[1])])


def test_what_is_odd_is_said(tmp_path):
    write_data(tmp_path, 2)
    pixels, labels = picture(0)
    Image.fromarray(pixels).save(tmp_path / "images" / "copy.png")
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(tmp_path / "labels" / "copy.png")
    Image.fromarray(np.zeros((600, 900), np.uint8)).save(tmp_path / "images" / "flat.png")
    small = np.zeros((600, 900), np.uint8)
    for i in range(60):
        small[10 * (i // 8) : 10 * (i // 8) + 3, 20 * (i % 8) : 20 * (i % 8) + 3] = i
    Image.fromarray(small).save(tmp_path / "labels" / "flat.png")
    Image.fromarray(pixels).save(tmp_path / "images" / "none.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "labels" / "none.png")
    found = survey(open_data(tmp_path), SMALL, None)
    lines = "\n".join(found.lines())
    areas = [area for areas in found.areas for area in areas]
    side = max(16, round(128 / 30 * 2 * (np.median(areas) / np.pi) ** 0.5))  # they are 30 pixels
    for part in ("looks the same as", "over nearly all of it", "uses 1 gray values",
                 f"--crop {side} cuts pictures",
                 "none.png has no objects", "5 pictures of 60 to 600"):  # fmt: skip
        assert part in lines


def write(folder, name, array):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(folder / name)


@pytest.mark.parametrize(
    ("labels", "words"),
    [(np.zeros((9, 9), np.uint8), "do not belong together"),
     (np.full(SIZE, 0.5, np.float32), "fractions"),
     (np.zeros((*SIZE, 3), np.uint8), "in colour"),
     (np.zeros(SIZE, np.uint8), "objects of --min-area")],
)  # fmt: skip
def test_labels_that_do_not_fit(tmp_path, capsys, labels, words):
    if labels.shape == (9, 9):
        labels[3, 3] = 1
    write(tmp_path / "images", "a.png", picture(0)[0])
    write(tmp_path / "labels", "a.tif", labels)
    assert cli.main(["finetune", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [({"images/a.png": 1, "labels/b.png": 1}, "have no labels, such as a"),
     ({"images/a.png": 1, "labels/a.png": 1, "labels/b.png": 1}, "have no picture, such as b"),
     ({"a.png": 1}, "no labelled pictures"), ({"labels/a.png": 1, "images": 0}, "no pictures in"),
     ({"a.json": "{}", "a.png": 1}, "no labelled pictures")],
)  # fmt: skip
def test_folders_that_do_not_fit(tmp_path, files, words):
    for name, kind in files.items():
        if kind == 1:
            write((tmp_path / name).parent, name.rpartition("/")[2], picture(0)[1].astype(np.uint8))
        elif kind == 0:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text(kind)
    with pytest.raises(ValueError, match=words):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "not a COCO file"),
     ('{"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}', "boxes alone"),
     ('{"images": [], "annotations": []}', "nothing is labelled"), ("{", "not JSON|Expecting")],
)  # fmt: skip
def test_coco_files_that_do_not_fit(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        open_data(tmp_path / "a.json")


def test_a_pickle_is_not_opened(tmp_path):
    for name in ("imgs", "gts"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "imgs" / "a.npy", picture(0)[0] / 255)
    np.save(tmp_path / "gts" / "a.npy", np.array({"masks": 1}, object), allow_pickle=True)
    (one,) = open_data(tmp_path)
    with pytest.raises(ValueError, match="pickle"):
        one.read()


@pytest.mark.parametrize(
    "values", [{"train": "all"}, {"iters": 0}, {"learning_rate": float("nan")}, {"views": 9},
               {"warmup": 2}, {"crop": 3}, {"objects": 1.5}]
)  # fmt: skip
def test_options_that_do_not_fit(values):
    (name,) = values
    with pytest.raises(ValueError, match=name):
        TrainingOptions(**values)


def test_models_that_cannot_be_trained(tmp_path, capsys):
    data = write_data(tmp_path / "data")
    command = ["finetune", str(data), "-o", str(tmp_path / "out"), "--split", "file"]
    assert cli.main([*command, "--quantize", "8"]) == 2
    assert "8 bits" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_mobile_sam_is_trained_whole_or_its_decoder(tmp_path):
    model = sam_model_registry["vit_t"]()
    job = Job(model, "vit_t", [], tmp_path / "out", TrainingOptions(train="lora"))
    with pytest.raises(ValueError, match="needs a ViT"):
        finetune(job)
    with pytest.raises(ValueError, match="--export-pth writes ViT"):
        finetune(replace(job, options=TrainingOptions()), export_pth=True)


def squares_of(side, size):
    """A label image of small squares."""
    labels = np.zeros(size, np.uint16)
    for i in range(30):
        labels[30 * i : 30 * i + side, 60 * i : 60 * i + side] = i + 1
    return labels


def refused(data, tmp_path, capsys, *more):
    """What ``finetune`` says, in one sentence, before it makes anything."""
    command = ["finetune", str(data), "-o", str(tmp_path / "out"), *more]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()
    return said


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [(picture(0)[0] // 200, picture(0)[1], "normalised"),
     (np.float32(picture(0)[0][..., 0] / 255), picture(0)[1], "--value-range LOW HIGH"),
     (picture(0)[0], np.full(SIZE, 7, np.uint8), "over all of it"),
     (np.full((900, 2000), 9, np.uint8), squares_of(6, (900, 2000)), "under 1.1 pixels"),
     (picture(0)[0], np.zeros(SIZE, np.uint16), "Where labels are not all 0")],
)  # fmt: skip
def test_pictures_that_no_model_learns_from(tmp_path, capsys, pixels, labels, words):
    ending = "tif" if pixels.dtype == np.float32 else "png"
    write(tmp_path / "data" / "images", f"a.{ending}", pixels)
    write(tmp_path / "data" / "labels", "a.tif", labels)
    assert words in refused(tmp_path / "data", tmp_path, capsys)


def test_both_sides_of_a_picture_are_seen_as_large_as_the_whole(tmp_path):
    """They were cut out, scaled to the model's input, and seen larger than in any later use."""
    pictures = open_data(write_data(tmp_path, 2))
    whole = examples_of(pictures, 25, None)
    sides = split(pictures, 25, None, "place")
    for side in sides:
        for one, picture_of in zip(side, whole):
            assert one.size == SIZE and Frame(SMALL, one.size) == Frame(SMALL, picture_of.size)
            x0, y0, x1, y1 = one.window
            beside = np.ones(SIZE, bool)
            beside[y0:y1, x0:x1] = False
            assert 0 < beside.mean() < 1 and not one.pixels()[beside].any()
            assert (one.pixels() == picture_of.pixels())[y0:y1, x0:x1].all()
            masks = one.masks(np.arange(len(one.objects)))
            assert masks.any(axis=(1, 2)).all() and not masks[:, beside].any()
            every = picture_of.masks(np.arange(len(picture_of.objects)))
            assert {m[:, x0:x1].tobytes() for m in masks} <= {m[:, x0:x1].tobytes() for m in every}
    check_apart(*sides)
    # Squares are seen as they are asked for.
    assert {e.size for e in split(pictures, 25, 20, "place")[0]} == {(20, 20)}


def test_what_lies_beside_a_part_is_not_searched(tmp_path):
    pictures = open_data(write_data(tmp_path, 1))
    (part,) = split(pictures, 25, None, "place")[1]
    search = SamAutomaticMaskGenerator(random_sam(SMALL), 10)
    (grid,) = within(search, part).point_grids
    x0, _, x1, _ = part.window
    assert len(grid) == 20 and (grid[:, 0] * SIZE[1] > x0).all()
    (one,) = examples_of(pictures, 25, None)
    assert within(search, one) is search and search.points_per_side == 10
    records = [
        {"segmentation": np.arange(SIZE[1])[None] * np.ones((SIZE[0], 1)) >= x, "predicted_iou": 1}
        for x in (x0 - 30, x0 - 10)
    ]

    class Search:
        generate = staticmethod(lambda embedding: records)

    assert searched(Search, None, part).records == records[1:]
    assert searched(Search, None, one).found.ious.shape == (2, 5)
