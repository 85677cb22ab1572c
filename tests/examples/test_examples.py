"""The examples: each is run as a reader runs it, and its output compared with the package's."""

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sam_mlx import ImageEmbedding, MaskPredictions, SamAutomaticMaskGenerator, SamPredictor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
COINS, SHAPES = FOLDER / "images" / "coins.png", FOLDER / "images" / "shapes.png"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def run(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the script in ``folder``; it prints one line that says what it wrote."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert (folder / done.stdout.split()[0].rstrip(":,")).exists()
    return done


def read(path: Path) -> np.ndarray:
    """The mask in a PNG."""
    mask = np.asarray(Image.open(path))
    assert mask.dtype == bool
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def box(mask: np.ndarray) -> list[int]:
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max(), y.max()]


@pytest.fixture(scope="module")
def predictor() -> SamPredictor:
    return SamPredictor.from_pretrained("nano")


@pytest.fixture(scope="module")
def coins(predictor) -> SamPredictor:
    """A separate predictor, so that no check changes the picture of another."""
    of_coins = SamPredictor(predictor.model)
    of_coins.set_image(COINS)
    return of_coins


@pytest.fixture(scope="module")
def generator(predictor) -> SamAutomaticMaskGenerator:
    return SamAutomaticMaskGenerator(predictor.model, points_per_side=16)


@pytest.fixture(scope="module")
def answers(generator) -> MaskPredictions:
    """All answers of the model, including those that no script selects."""
    return generator.predict(COINS, keep_iou=0)


def check_one_click(folder, request):
    masks, scores, _ = request.getfixturevalue("coins").predict([[138, 53]], [1])
    mask = read(folder / "one_click.png")
    np.testing.assert_array_equal(mask, masks[np.argsort(scores)[-1]])
    # One coin: a disc around the click, which covers pi / 4 of its box.
    x0, y0, x1, y1 = box(mask)
    assert (x0 + x1) / 2 == pytest.approx(138, abs=3) and (y0 + y1) / 2 == pytest.approx(53, abs=3)
    assert mask.sum() / ((x1 - x0 + 1) * (y1 - y0 + 1)) == pytest.approx(np.pi / 4, abs=0.02)


def check_boxes_from_a_detector(folder, request):
    boxes = [115, 28, 160, 76], [41, 30, 87, 76], [213, 26, 254, 65]
    assert len(list(folder.glob("box_*.png"))) == len(boxes)
    for i, given in enumerate(boxes):
        expected, _, _ = request.getfixturevalue("coins").predict(box=given, multimask_output=False)
        mask = read(folder / f"box_{i}.png")
        assert iou(mask, expected[0]) > 0.99  # a batch may round differently than a single prompt
        np.testing.assert_allclose(box(mask), given, atol=5)


def check_everything_to_coco(folder, request):
    generator = request.getfixturevalue("generator")
    records = generator.select(
        request.getfixturevalue("answers"), pred_iou_thresh=0.85, stability_score_thresh=0.9
    )
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(folder / "coins.json")
        dataset.info()
    (image,) = dataset.loadImgs(dataset.getImgIds())
    assert (image["width"], image["height"]) == Image.open(COINS).size
    assert (COINS.parent / image["file_name"]).exists()
    annotations = dataset.loadAnns(dataset.getAnnIds(imgIds=image["id"], catIds=[1]))
    assert len(annotations) == len(records) > 20
    for annotation, record in zip(annotations, records):
        mask = dataset.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(mask, record["segmentation"])
        assert annotation["area"] == mask.sum()
        x0, y0, x1, y1 = box(mask)
        assert annotation["bbox"] == [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def check_cutout(folder, request):
    masks, _, _ = request.getfixturevalue("coins").predict(
        box=[115, 28, 160, 76], multimask_output=False
    )
    x0, y0, x1, y1 = box(masks[0])
    inside = np.s_[y0 : y1 + 1, x0 : x1 + 1]
    cutout = Image.open(folder / "cutout.png")
    assert cutout.mode == "RGBA"
    *colours, alpha = cutout.split()
    np.testing.assert_array_equal(np.asarray(alpha), masks[0][inside] * np.uint8(255))
    np.testing.assert_array_equal(
        np.dstack(colours), np.asarray(Image.open(COINS).convert("RGB"))[inside]
    )


def check_saved_embedding(folder, request):
    coins = request.getfixturevalue("coins")
    saved, own = ImageEmbedding.load(folder / "embedding.safetensors"), coins.get_image_embedding()
    np.testing.assert_array_equal(saved.features, own.features)
    assert (saved.original_size, saved.fingerprint) == (own.original_size, own.fingerprint)
    for i, click in enumerate([[65, 52], [109, 210]]):
        masks, _, _ = coins.predict([click], [1], multimask_output=False)
        mask = read(folder / f"later_{i}.png")
        np.testing.assert_array_equal(mask, masks[0])
        assert mask[click[1], click[0]]


def check_a_folder(folder, request):
    pictures = sorted(COINS.parent.iterdir())
    written = sorted(path.name for path in (folder / "masks").iterdir())
    assert written == [picture.name for picture in pictures] and len(pictures) > 1  # all are PNG
    for picture in pictures:
        mask = read(folder / "masks" / picture.name)
        np.testing.assert_array_equal(mask, middle(request.getfixturevalue("predictor"), picture))


def middle(predictor: SamPredictor, picture: Path) -> np.ndarray:
    predictor.set_image(picture)
    width, height = Image.open(picture).size
    masks, scores, _ = predictor.predict([[width / 2, height / 2]], [1])
    return masks[np.argsort(scores)[-1]]


def check_thresholds(folder, request):
    generator, answers = (request.getfixturevalue(name) for name in ("generator", "answers"))
    saved = MaskPredictions.load(folder / "predictions.safetensors")
    kept = answers.predicted_iou > np.float32(0.8)
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(saved.predicted_iou, answers.predicted_iou[kept])
    np.testing.assert_array_equal(saved.points, answers.points[kept])
    np.testing.assert_array_equal(np.array(saved.logits), np.array(answers.logits)[kept])
    rows = list(csv.DictReader((folder / "thresholds.csv").open()))
    counts = [int(row["masks"]) for row in rows]
    # The pairs are ordered from few masks to many, beginning with the original's defaults.
    assert counts == sorted(set(counts)) and len(counts) == 5
    for row, count in zip(rows, counts):
        thresholds = {k: float(row[k]) for k in ("pred_iou_thresh", "stability_score_thresh")}
        assert count == len(generator.select(answers, **thresholds))


def check_refine(folder, request):
    predictor = request.getfixturevalue("predictor")
    predictor.set_image(SHAPES)
    clicks = [[180, 188], [196, 224]]
    masks, scores, logits = predictor.predict(clicks[:1], [1])
    best = int(scores.argmax())
    single = {"multimask_output": False}
    expected, _, _ = predictor.predict(clicks, [1, 1], mask_input=logits[best : best + 1], **single)
    refined = read(folder / "refined.png")
    np.testing.assert_array_equal(refined, expected[0])
    # The whole pill, as with a box around it. Neither the first click nor both clicks find it.
    pill, _, _ = predictor.predict(box=[148, 174, 224, 253], **single)
    without, _, _ = predictor.predict(clicks, [1, 1], **single)
    assert iou(refined, pill[0]) > 0.95
    assert iou(masks[best], pill[0]) < 0.1 and iou(without[0], pill[0]) < 0.7


CHECKS = {
    "a_folder": check_a_folder,
    "boxes_from_a_detector": check_boxes_from_a_detector,
    "cutout": check_cutout,
    "everything_to_coco": check_everything_to_coco,
    "one_click": check_one_click,
    "refine": check_refine,
    "saved_embedding": check_saved_embedding,
    "thresholds": check_thresholds,
}


def test_every_script_has_a_check():
    assert [script.stem for script in SCRIPTS] == sorted(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_result(script, tmp_path, request, same_forms):
    run(script, tmp_path)
    CHECKS[script.stem](tmp_path, request)
    shown = list(tmp_path.glob("*_shown.png"))
    assert bool(shown) == (script.stem not in ("a_folder", "cutout"))  # which one can look at
    assert all(len(Image.open(path).convert("RGB").getcolors(1 << 16)) > 100 for path in shown)


def test_a_bad_picture_does_not_stop_a_folder(tmp_path, predictor):
    pictures = tmp_path / "pictures"
    (pictures / "a folder").mkdir(parents=True)
    (pictures / "damaged.png").write_bytes(COINS.read_bytes()[:5000])
    (pictures / "notes.txt").write_text("nothing")
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere.png")
    shutil.copy(SHAPES, pictures / "last.png")
    done = run(FOLDER / "a_folder.py", tmp_path, str(pictures))
    assert done.stdout == "masks/: 1 masks\n" and done.stderr.count("left out") == 4
    (mask,) = (tmp_path / "masks").iterdir()
    np.testing.assert_array_equal(read(mask), middle(predictor, SHAPES))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_short_and_in_the_readme(script):
    assert f"[{script.name}]({script.name})" in (FOLDER / "README.md").read_text()
    first, *_ = script.read_text().splitlines()
    command = f"python examples/{script.name}"
    assert first.startswith('"""') and first.endswith('"""') and command in first
    with script.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    beside = {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE}
    beside |= {tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {n for t in tokens if t.type not in beside for n in range(t.start[0], t.end[0] + 1)}
    assert len(lines - {1}) <= 20  # without the docstring


def test_links_of_the_readme():
    text = (FOLDER / "README.md").read_text()
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert {"cpp", "swift", "benchmarks", "nano"} <= set(links)
    assert [link for link in links if not (FOLDER / link).exists()] == []
