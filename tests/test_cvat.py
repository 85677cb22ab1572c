"""CVAT's functions with its own SDK and the classes of its command line and agent."""

import logging
import os
import subprocess
import sys
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cvat_sdk", reason="install tests/serve/clients.txt")

from importlib import import_module

from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor, show
from sam_mlx.automatic.options import thresholds_of
from sam_mlx.files import packaged
from sam_mlx.tuner.data.polygons import fill
from tests.support.cvat_server import TASK, cvat
from tests.support.windows import shrink

sdk_masks = import_module("cvat_sdk.masks")
common = import_module("cvat_cli._internal.common")
driver = import_module("cvat_sdk.auto_annotation.driver")
agent = import_module("cvat_cli._internal.agent_driver")
interaction = import_module("cvat_cli._internal.agent_driver_interaction")

COINS = packaged("coins.png")


def load(**parameters):
    return common.FunctionLoader("sam_mlx.cvat", None, {"model": "nano"} | parameters).load()


def decoded(points):
    return sdk_masks.decode_mask(points, image_width=256, image_height=256)


class Context:
    frame_name = "coins.png"
    conf_threshold = None
    conv_mask_to_poly = False

    def __init__(self, **given):
        vars(self).update(given)


@pytest.fixture(scope="module")
def nano():
    return Sam.from_pretrained("nano")


@pytest.mark.slow
def test_everything(nano):
    function = load(points_per_side=6, label="coin")
    assert [label.name for label in function.spec.labels] == ["coin"]
    with Image.open(COINS) as image:
        found = function.detect(Context(), image)
        polygons = function.detect(Context(conv_mask_to_poly=True), image)
        few = function.detect(Context(conf_threshold=0.93), image)
    generator = SamAutomaticMaskGenerator(nano, points_per_side=6, **thresholds_of(nano.config))
    expected = [record["segmentation"] for record in generator.generate(COINS)]
    assert {shape.type.value for shape in found} == {"mask"}
    assert len(found) == len(expected) > 3
    assert all((decoded(s.points) == mask).all() for s, mask in zip(found, expected))
    assert 0 < len(few) < len(found)
    assert {shape.type.value for shape in polygons} == {"polygon"}
    rings = [np.array(shape.points).reshape(-1, 2) for shape in polygons]
    union = np.logical_or.reduce([fill([ring], (256, 256)) for ring in rings])
    assert (union >= np.logical_or.reduce(expected)).all()


@pytest.mark.parametrize("polygons", [False, True])
def test_the_drivers_checks_pass(polygons):
    """Those that ``cvat-cli task auto-annotate`` makes between the function and the server."""
    models = import_module("cvat_sdk.models")
    function = load(points_per_side=4)
    label = models.Label(id=5, name="object", attributes=[], type="any", sublabels=[])
    mapper = driver._AnnotationMapper(
        logging.getLogger(), function.spec.labels, [label], allow_unmatched_labels=False,
        conv_mask_to_poly=polygons,
    )  # fmt: skip
    with Image.open(COINS) as image:
        found = function.detect(Context(conv_mask_to_poly=polygons), image)
    tags, shapes = mapper.validate_and_remap(found, 3)
    assert not tags and len(shapes) == len(found) > 0
    assert {(shape.label_id, shape.frame) for shape in shapes} == {(5, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("polygons", [False, True])
def test_the_command(nano, tmp_path, kept, polygons):
    """cvat-cli as the guide has it: it fetches the task, runs the function, uploads the masks."""
    flags = ["--conv-mask-to-poly"] if polygons else []
    with cvat(COINS.read_bytes(), (256, 256)) as server:
        command = [
            sys.executable, "-m", "cvat_cli", "--server-host", server.address, "task",
            "auto-annotate", str(TASK), "--function-module", "sam_mlx.cvat", "-p",
            "model=str:nano", "-p", "points_per_side=int:8", *flags,
        ]  # fmt: skip
        variables = {"HOME": str(tmp_path), "CVAT_ACCESS_TOKEN": "a-token"}
        done = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Upload complete" in done.stderr
    ((address, given),) = server.uploaded
    assert address.startswith(f"/api/tasks/{TASK}/annotations") and "action=create" in address
    shapes = given["shapes"]
    assert {(s["label_id"], s["frame"], s["source"]) for s in shapes} == {(5, 0, "auto")}
    if polygons:
        assert {shape["type"] for shape in shapes} == {"polygon"}
        return
    generator = SamAutomaticMaskGenerator(nano, points_per_side=8, **thresholds_of(nano.config))
    expected = [record["segmentation"] for record in generator.generate(COINS)]
    found = [decoded(shape["points"]) for shape in shapes]
    assert len(found) == len(expected) > 5
    assert all((mask == other).all() for mask, other in zip(found, expected))
    picture = kept("cvat.png")
    show(COINS, found).resize((512, 512)).save(picture)
    shrink(picture)


class Executor:
    """The agent's process, here."""

    @staticmethod
    def submit(task, *arguments):
        future = Future()
        future.set_result(task(*arguments))
        return future

    @staticmethod
    def result(future):
        return future.result()


@pytest.fixture
def interactor():
    """The agent's own driver over our function."""
    function = load(interactive=True)
    agent.set_worker_current_function(function)
    interaction.AgentInteractionFunctionDriver.init_worker(None)
    made = interaction.AgentInteractionFunctionDriver(None, Executor, function.spec)
    made._get_sample_from_ar_params = lambda params: (None, None)
    made._load_image_for_ar = lambda sample, params: Image.open(COINS)
    return function, made


def test_interaction(interactor, nano, monkeypatch):
    function, made = interactor
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    embedded = []
    embed = function.predictor.embed
    monkeypatch.setattr(function.predictor, "embed", lambda *a: embedded.append(1) or embed(*a))

    def ask(**given):
        params = {"type": "interact", "task": 1, "frame": 0, "pos_points": [], "neg_points": [],
                  "obj_bbox": []} | given  # fmt: skip
        (shape,) = made.calculate_result_for_ar(params, None)["shapes"]
        assert shape["type"] == "mask"
        (confidence,) = shape["attributes"]
        assert (
            0
            <= float(confidence["value"] if isinstance(confidence, dict) else confidence.value)
            <= 1
        )
        return decoded(shape["points"])

    masks, scores, _ = predictor.predict([[138, 53]], [1])
    assert (ask(pos_points=[[138, 53]]) == masks[scores.argmax()]).all()
    box = [[110, 28], [165, 82]]
    (mask,), _, _ = predictor.predict(box=np.ravel(box), multimask_output=False)
    assert (ask(obj_bbox=box) == mask).all()
    (mask,), _, _ = predictor.predict(
        [[138, 53], [115, 33]], [1, 0], np.ravel(box), multimask_output=False
    )
    assert (ask(pos_points=[[138, 53]], neg_points=[[115, 33]], obj_bbox=box) == mask).all()
    assert len(embedded) == 1  # the agent keeps what preprocess_image gave
    fields = made.get_remote_function_fields(function.spec)
    assert fields == {"min_pos_points": 0, "min_neg_points": 0, "startswith_box_optional": True}
    with pytest.raises(ValueError, match="no prompt"):
        ask(frame=0)


def test_without_the_sdk(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvat_sdk.auto_annotation", None)
    with pytest.raises(ImportError, match="pip install cvat-sdk"):
        load()
