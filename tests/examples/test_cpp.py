"""The C++ example, built and run as its README says."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_mlx import Sam, SamPredictor
from sam_mlx.export import export
from tests.support.hq import hq_nano

SOURCE = Path(__file__).parents[2] / "examples" / "cpp"
MISSING = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    build = tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", str(SOURCE), "-B", str(build)]
    for command in (
        [*configure, f"-DPython_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", str(build)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "segment"


@pytest.fixture(scope="module")
def model() -> Sam:
    return Sam.from_pretrained("nano")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    export(model, folder, points=[1, 4])
    return folder


def picture(height: int, width: int) -> Image.Image:
    return Image.open(SOURCE.parent / "images" / "plate.png").resize((width, height))


def run(program: Path, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize(
    "size, points, box",
    [
        ((256, 256), [(0.4, 0.5, 1)], None),
        ((120, 333), [(0.4, 0.5, 1), (0.9, 0.1, 0)], None),
        ((517, 400), [], True),
        ((60, 9), [(0.5, 0.5, 1)], True),
    ],
    ids=["click", "points", "box", "box and point"],
)
def test_mask_equals_pythons(program, exported, model, tmp_path, size, points, box):
    image, (height, width) = picture(*size), size
    image.save(tmp_path / "image.ppm")
    points = [(x * width, y * height, label) for x, y, label in points]
    box = box and (0.1 * width, 0.2 * height, 0.7 * width, 0.8 * height)
    arguments = [*(("--box", *box) if box else ()), *(value for p in points for value in p)]
    done = run(program, exported, tmp_path / "image.ppm", tmp_path / "mask.pgm", *arguments)
    assert done.returncode == 0, done.stderr
    mask = np.array(Image.open(tmp_path / "mask.pgm"))
    assert set(np.unique(mask)) <= {0, 255}

    predictor = SamPredictor(model)
    predictor.set_image(image)
    prompt = {"box": box}
    if points:
        prompt["point_coords"] = [p[:2] for p in points]
        prompt["point_labels"] = [p[2] for p in points]
    logits, scores, _ = predictor.predict(
        **prompt, multimask_output=len(points) == 1 and not box, return_logits=True
    )
    best = scores.argmax()
    assert float(done.stdout.split()[-1]) == pytest.approx(scores[best], abs=1e-4)
    # Another BLAS adds in another order, which changed the sign of one pixel of one picture.
    differing = (mask > 0) != (logits[best] > 0)
    assert np.abs(logits[best][differing]).max(initial=0) < 1e-4 * np.abs(logits[best]).max()


def test_sam_hq(program, tmp_path):
    """The encoder's second output goes to the decoder; the best mask is what predict() gives."""
    model = hq_nano()
    export(model, tmp_path / "hq", points=[1])
    image = picture(120, 160)
    image.save(tmp_path / "image.ppm")
    done = run(program, tmp_path / "hq", tmp_path / "image.ppm", tmp_path / "mask.pgm", 64, 60, 1)
    assert done.returncode == 0, done.stderr
    predictor = SamPredictor(model)
    predictor.set_image(image)
    logits, scores, _ = predictor.predict([[64, 60]], [1], return_logits=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(scores[0], abs=1e-4)
    mask = np.array(Image.open(tmp_path / "mask.pgm"))
    differing = (mask > 0) != (logits[0] > 0)
    assert np.abs(logits[0][differing]).max(initial=0) < 1e-4 * np.abs(logits).max()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "usage"),
        (["10", "10"], "X Y LABEL"),
        (["10", "10", "2"], "label 2"),
        (["ten", "10", "1"], "'ten' is not a number"),
        (["1", "1", "1"] * 5, "more points than the decoder has slots"),
    ],
)
def test_bad_input(program, exported, tmp_path, arguments, message):
    picture(8, 8).save(tmp_path / "image.ppm")
    files = [exported, tmp_path / "image.ppm", tmp_path / "mask.pgm"]
    done = run(program, *(files if arguments else []), *arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "mask.pgm").exists()


def test_bad_files(program, exported, tmp_path):
    (tmp_path / "broken.ppm").write_bytes(b"P6\n# a comment\n4 4\n255\n123")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    for folder, image, message in (
        (exported, "broken.ppm", "ends too early"),
        (exported, "image.png", "not a binary PPM"),
        (exported, "none.ppm", "no such image"),
        (tmp_path, "broken.ppm", "no export.json"),
    ):
        done = run(program, folder, tmp_path / image, tmp_path / "mask.pgm", 1, 1, 1)
        assert done.returncode == 2 and message in done.stderr
