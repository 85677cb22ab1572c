"""osam's models on MLX: with osam itself, with labelme's session, and by the launcher."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("osam", reason="install tests/serve/clients.txt")

from importlib import import_module

from sam_mlx import Sam, SamPredictor
from sam_mlx import osam as ours
from sam_mlx.files import packaged
from tests.support.windows import run, shrink

osam = import_module("osam")
import_module("osam.apis")
COINS = packaged("coins.png")
NAMES = ("sam:100m", "sam:300m", "sam:latest")


@pytest.fixture
def registered():
    before = list(osam.apis.registered_model_types)
    ours.install(dict.fromkeys(NAMES, "nano"))
    yield osam.apis.registered_model_types
    osam.apis.registered_model_types[:] = before


@pytest.fixture(scope="module")
def predictor():
    predictor = SamPredictor(Sam.from_pretrained("nano"))
    predictor.set_image(COINS)
    return predictor


@pytest.fixture(scope="module")
def picture():
    return np.array(Image.open(COINS).convert("RGB"))


def mask_of(response, size=(256, 256)):
    (found,) = response.annotations
    box, mask = found.bounding_box, np.zeros(size, bool)
    mask[box.ymin : box.ymax + 1, box.xmin : box.xmax + 1] = found.mask
    return mask


def ask(kind, picture, points, labels, **given):
    prompt = osam.types.Prompt(points=np.array(points, float), point_labels=np.array(labels))
    request = osam.types.GenerateRequest(model=kind.name, prompt=prompt, image=picture, **given)
    return kind.generate(request)


def test_the_names_of_labelmes_menu(registered):
    assert [osam.apis.get_model_type_by_name(name).name for name in NAMES] == list(NAMES)
    kind = osam.apis.get_model_type_by_name("sam")
    assert kind.name == "sam:latest" and issubclass(kind, osam.types.Model)
    assert kind.get_size() is None  # so that labelme shows that it is fetched
    kind.pull(progress=lambda *_: None)
    assert kind.get_size() > 1_000_000 and len(kind.get_id()) == 12
    others = {kind.name for kind in registered} - {*NAMES}
    assert "sam2:latest" in others
    assert osam.apis.get_model_type_by_name("sam2:latest").__module__.startswith("osam.")


def test_masks_are_the_predictors(registered, predictor, picture):
    model = osam.apis.get_model_type_by_name("sam:100m")()
    masks, scores, _ = predictor.predict([[138, 53]], [1])
    answer = ask(model, picture, [[138, 53]], [1])
    assert (mask_of(answer) == masks[scores.argmax()]).all()
    assert answer.annotations[0].score == pytest.approx(scores.max())
    embedding = model.encode_image(picture)
    assert (embedding.original_height, embedding.original_width) == (256, 256)
    assert embedding.embedding.ndim == 3 and embedding.embedding.dtype == np.float32
    both = [[138, 53], [115, 33]]
    (mask,), _, _ = predictor.predict(both, [1, 0], multimask_output=False)
    assert (mask_of(ask(model, None, both, [1, 0], image_embedding=embedding)) == mask).all()
    (mask,), _, _ = predictor.predict(box=[110, 28, 165, 82], multimask_output=False)
    for corners, labels in (([[110, 28], [165, 82]], [2, 3]), ([[165, 82], [110, 28]], [3, 2])):
        found = mask_of(ask(model, None, corners, labels, image_embedding=embedding))
        assert (found == mask).all()
    middle = osam.types.GenerateRequest(model=model.name, image_embedding=embedding)
    assert model.generate(middle).annotations


def test_what_is_wrong_is_said(registered, picture):
    model = osam.apis.get_model_type_by_name("sam:100m")()
    with pytest.raises(ValueError, match="expected .H, W, 3."):
        model.encode_image(picture[..., 0])
    with pytest.raises(ValueError, match="corners"):
        ask(model, picture, [[1, 1]], [2])
    texts = osam.types.GenerateRequest(
        model=model.name, image=picture, prompt=osam.types.Prompt(texts=["coin"])
    )
    with pytest.raises(ValueError, match="no points"):
        model.generate(texts)
    with pytest.raises(ValueError, match="osam has no sam:9"):
        ours.install({"sam:9": "nano"})


def test_labelmes_session(registered, predictor, picture, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("labelme", reason="install tests/serve/clients.txt")
    session = import_module("labelme._automation").OsamSession(model_name="sam:300m")
    masks, scores, _ = predictor.predict([[138, 53]], [1])
    count = 0
    embed = SamPredictor.embed

    def counted(*given):
        nonlocal count
        count += 1
        return embed(*given)

    monkeypatch.setattr(SamPredictor, "embed", counted)
    for _ in range(2):
        answer = session.run(picture, "coins", np.array([[138.0, 53.0]]), np.array([1]))
        assert (mask_of(answer) == masks[scores.argmax()]).all()
    assert count == 1


@pytest.mark.slow
def test_labelmes_window(tmp_path, kept):
    """The launcher, labelme's menu, a click: the mask is the predictor's, pixel for pixel, of the
    picture that labelme 6.3.1 hands to its models: with red and blue exchanged.
    """
    pytest.importorskip("labelme", reason="install tests/serve/clients.txt")
    picture = kept("labelme.png")
    launcher = ["-m", "sam_mlx.osam", "sam:100m=nano"]
    shutil.copy(COINS, tmp_path / "coins.png")
    given = dict(home=tmp_path, launcher=launcher, cwd=tmp_path)
    found = run("labelme_window.py", "coins.png", picture, **given)
    shrink(picture)
    assert picture.stat().st_size > 20_000
    assert (found["type"], found["label"]) == ("mask", "coin")
    predictor = SamPredictor(Sam.from_pretrained("nano"))
    predictor.set_image(np.array(Image.open(COINS).convert("RGB"))[..., ::-1])
    masks, scores, _ = predictor.predict([found["clicked"]], [1])
    mask, (x, y) = np.array(found["mask"], bool), map(int, found["corner"])
    expected = masks[scores.argmax()]
    assert mask.sum() == expected.sum() > 1000
    assert (expected[y : y + mask.shape[0], x : x + mask.shape[1]] == mask).all()


@pytest.mark.slow
def test_the_launcher(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, osam.apis\nkind = osam.apis.get_model_type_by_name('sam:100m')\n"
        "print(kind.__doc__, sys.argv[1:], __name__)\n"
    )
    command = [sys.executable, "-m", "sam_mlx.osam"]
    given = dict(capture_output=True, text=True, cwd=tmp_path, check=False)
    done = subprocess.run([*command, "sam:100m=nano", "program", "--x"], **given)
    assert done.stdout == "nano on MLX. ['--x'] __main__\n", done.stderr
    assert "usage" in subprocess.run(command, **given).stderr
    wrong = subprocess.run([*command, "sam:9=nano", "program"], **given)
    assert wrong.returncode == 1 and "osam has no sam:9" in wrong.stderr
