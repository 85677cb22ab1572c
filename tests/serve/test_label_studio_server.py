"""The real Label Studio: a project made by its SDK, a picture uploaded, calls as its editor makes
them, and a click in its editor. It runs in an environment of its own, which the test makes, or at
LABEL_STUDIO_URL, if that is set.
"""

import io
import os
import secrets
import shutil
import socket
import subprocess
import sys

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.serve import CLICK, COINS, serving  # isort: skip  first: it skips all where it must

from sam_mlx import SamPredictor
from sam_mlx.interop import from_label_studio
from sam_mlx.masks import decode_rle
from sam_mlx.serve.backend import Backend
from sam_mlx.serve.label_studio.media import Media
from sam_mlx.serve.label_studio.projects import Projects
from tests.support.label_studio import Editor
from tests.support.web import until
from tests.support.windows import shrink

sdk = pytest.importorskip("label_studio_sdk", reason="install tests/serve/clients.txt")
pytestmark = pytest.mark.slow

VERSION = "1.23.2"
PATIENCE = 300  # seconds, for one of its answers on a busy machine
# Without these it asks no server of this machine, and makes no webhook to one.
LOCAL = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="tag" toName="image" smart="false"><Label value="Coin"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels>
</View>"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Label Studio's, running."""
    if url := os.environ.get("LABEL_STUDIO_URL"):
        yield url
        return
    folder = tmp_path_factory.mktemp("label-studio")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    # uv, where it is, takes a tenth of pip's time.
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    install += ["-q", f"label-studio=={VERSION}"]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"Label Studio cannot be installed: {done.stderr[-300:]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"), "COLLECT_ANALYTICS": "false",
                 "LATEST_VERSION_CHECK": "false", **LOCAL}  # fmt: skip
    command = [str(folder / "venv" / "bin" / "label-studio"), "start", "--no-browser", "--port",
               str(port), "--internal-host", "127.0.0.1"]  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            command, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            until(lambda: answers(f"http://localhost:{port}/health"), 600)
            yield f"http://localhost:{port}"
        finally:
            server.terminate()
            server.wait(30)


def answers(url):
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def person(address):
    """Somebody who has signed up: (name, password, personal access token)."""
    name, password = f"{secrets.token_hex(4)}@example.com", "secret-secret-1"
    with httpx.Client(base_url=address, follow_redirects=True, timeout=PATIENCE) as browser:
        browser.get("/user/signup/")
        form = {"email": name, "password": password,
                "csrfmiddlewaretoken": browser.cookies["csrftoken"]}  # fmt: skip
        browser.post("/user/signup/", data=form, headers={"Referer": f"{address}/user/signup/"})
        headers = {"X-CSRFToken": browser.cookies["csrftoken"], "Referer": address}
        settings = browser.get("/api/jwt/settings").json()
        assert settings["legacy_api_tokens_enabled"] is False  # so what it sends opens no picture
        token = browser.post("/api/token/", headers=headers).json()["token"]
    return name, password, token


def plain(address, token, method, path, **given):
    """A request that the SDK has no method for, or one that keeps no answer."""
    with httpx.Client(base_url=address, timeout=PATIENCE) as http:
        access = http.post("/api/token/refresh/", json={"refresh": token}).json()["access"]
        headers = {"Authorization": f"Bearer {access}"}
        answer = http.request(method, path, headers=headers, **given)
        assert answer.status_code in (200, 201), answer.text
        return answer


@pytest.fixture(scope="module")
def ours(address, person, nano):
    """The address of our server."""
    backend = Backend({"nano": nano}, {"nano": "nano"})
    backend.tools["label-studio"] = Projects(Media(address, token=person[2]))
    with serving(backend) as found:
        yield found
    backend.close()


def connected(address, person, ours, **plainly):
    """A project with the coins, connected to our server: (SDK's client, project, task, backend)."""
    client = sdk.LabelStudio(base_url=address, api_key=person[2], timeout=PATIENCE)
    made = client.projects.create(title="Coins", label_config=CONFIG, **plainly)
    file = {"file": ("coins.png", COINS.read_bytes(), "image/png")}
    plain(address, person[2], "POST", f"/api/projects/{made.id}/import", files=file)
    (task,) = list(client.tasks.list(project=made.id))
    ml = client.ml.create(url=ours, project=made.id, title="SAM", is_interactive=True)
    return client, made, task, ml


@pytest.fixture(scope="module")
def project(address, person, ours):
    return connected(address, person, ours)


def key_point():
    return {
        "original_width": 256, "original_height": 256, "image_rotation": 0, "is_positive": True,
        "value": {"x": CLICK[0] / 2.56, "y": CLICK[1] / 2.56, "width": 0.4,
                  "keypointlabels": ["Coin"]},
        "type": "keypointlabels", "from_name": "point", "to_name": "image", "id": "abc",
    }  # fmt: skip


def test_an_interactive_call_gives_the_predictors_mask(address, person, project, coin):
    client, made, task, ml = project
    context = {"task": task.id, "context": {"result": [key_point()]}}
    path = f"/api/ml/{ml.id}/interactive-annotating"
    answer = plain(address, person[2], "POST", path, json=context).json()
    (region,) = answer["data"]["result"]
    (record,) = from_label_studio([region])
    assert (decode_rle([record["segmentation"]])[0] == coin[0]).all()
    # Kept as an annotation, it is exported as the same picture.
    client.annotations.create(id=task.id, result=[region])
    path = f"/api/projects/{made.id}/export?exportType=BRUSH_TO_PNG"
    exported = plain(address, person[2], "GET", path).content
    picture = np.array(Image.open(io.BytesIO(exported)))  # one picture comes without an archive
    assert ((picture > 0) == coin[0]).all()


def test_predictions_of_a_task(project):
    client, made, task, _ = project
    client.actions.create(
        id="retrieve_tasks_predictions", project=made.id,
        selected_items={"all": True, "excluded": []},
    )  # fmt: skip
    (prediction,) = list(client.predictions.list(project=made.id))
    assert prediction.model_version == "sam_mlx nano"
    assert len(from_label_studio(prediction.result)) > 10


def test_a_click_in_its_editor(address, person, ours, nano, chromium, kept):
    """A smart key point in headless Chromium: the region that appears, and is submitted, has the
    mask that ``SamPredictor`` gives for the point that the editor sent.
    """
    client, made, task, _ = connected(address, person, ours, show_collab_predictions=False)
    editor = Editor(chromium, address)
    editor.log_in(*person[:2])
    editor.open(f"/projects/{made.id}/data?task={task.id}")
    sent = editor.click(0.54, 0.21, "Coin")  # on a coin
    picture = kept("label-studio.png")
    editor.keep(picture)
    shrink(picture)
    editor.submit()
    (annotation,) = until(lambda: list(client.annotations.list(id=task.id)))
    (region,) = [r for r in annotation.result if r["type"] == "brushlabels"]
    assert region["value"]["brushlabels"] == ["Coin"] and region["from_name"] == "tag"
    (record,) = from_label_studio([region])
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    (point,) = sent["context"]["result"]
    at = np.array([point["value"]["x"], point["value"]["y"]]) * 2.56  # percent of 256 pixels
    assert np.abs(at - CLICK).max() < 8 and point["is_positive"]
    masks, scores, _ = predictor.predict([at], [1])
    mask = masks[scores.argmax()]
    assert 1000 < mask.sum() < 4000
    assert (decode_rle([record["segmentation"]])[0] == mask).all()
