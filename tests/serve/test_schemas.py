"""Each tool's own schema of requests and answers: bodies made by it, and our answers read by it."""

import os
import sys
from importlib import import_module
from unittest.mock import MagicMock

import pytest
from shapely.geometry import shape

from tests.support.serve import coins  # isort: skip  first: it skips all where it must

from hypothesis import given
from hypothesis import strategies as st

from sam_mlx.serve import qupath
from sam_mlx.serve.application import application
from sam_mlx.serve.backend import Backend
from sam_mlx.serve.tools import document
from tests.support.fuzz import from_document, of_each
from tests.support.tool_schemas import (
    SAMAPI,
    X_ANYLABELING,
    Failed,
    Found,
    Health,
    document_of,
)

BODIES = SAMAPI | X_ANYLABELING
SCHEMA = from_document(document_of(BODIES))
REFUSED = (400, 404, 413, 415, 501)


@pytest.mark.parametrize("path", BODIES)
def test_bodies_that_the_tools_schema_allows(client, path):
    """Whatever it allows is answered or refused; half the bodies have a real picture."""
    count = 0

    @of_each(25)
    @given(SCHEMA[path]["POST"].as_strategy())
    def ask(case):
        nonlocal count
        count += 1
        body = case.body
        if count % 2:
            body |= {key: coins() for key in ("image", "b64img") if key in body}
        if path == "/sam/automask/":
            body |= {"points_per_side": 2, "crop_n_layers": 0}
        answer = client.post(path, json=body)
        assert answer.status_code == 200 or answer.status_code in REFUSED, answer.text
        if answer.status_code != 200 and path in X_ANYLABELING:
            Failed.model_validate(answer.json())

    ask()


# What each tool sends when it works: none of it may be refused.

WITHIN = st.integers(0, 255)
SPOT = st.lists(WITHIN, min_size=2, max_size=2)
CORNERS = st.tuples(WITHIN, WITHIN, WITHIN, WITHIN)
SIGN = st.integers(0, 1)
LABELLED = st.lists(st.tuples(SPOT, SIGN), min_size=1, max_size=4)


def or_none(strategy):
    return st.none() | strategy


@of_each(12)
@given(
    prompts=LABELLED, corners=or_none(CORNERS), several=st.booleans(), nulls=st.booleans(),
    size=st.sampled_from(["vit_t", "vit_b", "vit_l", "vit_h"]),
)  # fmt: skip
def test_prompts_of_qupath(four_sizes, prompts, corners, several, nulls, size):
    xs, ys = (sorted(corners[i::2]) for i in (0, 1)) if corners else ((), ())
    body = {
        "type": size, "b64img": coins(), "multimask_output": several,
        "bbox": [xs[0], ys[0], xs[1], ys[1]] if corners else None,
        "point_coords": [spot for spot, _ in prompts], "point_labels": [s for _, s in prompts],
        "b64mask": None, "checkpoint_url": None,
    }  # fmt: skip
    if not nulls:  # as Gson writes them by default
        body = {key: value for key, value in body.items() if value is not None}
    SAMAPI["/sam/"].model_validate(body)
    answer = four_sizes.post("/sam/", json=body)
    assert answer.status_code == 200, answer.text
    features = answer.json()
    assert len(features) <= (3 if several else 1)
    for feature in features:
        assert feature["type"] == "Feature" and shape(feature["geometry"]).is_valid
        assert {*feature["properties"]} == {"object_idx", "label", "quality", "sam_model"}
        assert feature["properties"]["sam_model"] == size


@pytest.fixture(scope="module")
def four_sizes(nano):
    """A server with a model of each size of QuPath's menu; all have nano's weights."""
    from dataclasses import replace

    from starlette.testclient import TestClient

    from sam_mlx.sam import Sam

    models = {"nano": nano}
    for size in ("vit_b", "vit_l", "vit_h"):
        models[size] = Sam(replace(nano.config, variant=size))
        models[size].update(nano.parameters())
    backend = Backend(models)
    with TestClient(application(backend, [qupath.TOOL]), base_url="http://localhost:8000") as c:
        yield c
    backend.close()


MARK = st.one_of(
    st.builds(lambda at, s: {"type": "point", "data": at, "label": s}, SPOT, SIGN),
    st.builds(lambda at: {"type": "rectangle", "data": [*at], "label": 1}, CORNERS),
)


@of_each(12)
@given(
    marks=st.lists(MARK, min_size=1, max_size=5),
    fineness=or_none(st.floats(0, 0.1)),
    replace=st.booleans(),
)
def test_marks_of_x_anylabeling(shared_client, marks, fineness, replace):
    params = {"marks": marks, "conf_threshold": 0.25, "iou_threshold": 0.7,
              "epsilon_factor": fineness, "current_task": None}  # fmt: skip
    body = {"model": "nano", "image": f"data:image/png;base64,{coins()}", "params": params}
    X_ANYLABELING["/v1/predict"].model_validate(body)
    answer = shared_client.post("/v1/predict", json=body)
    assert answer.status_code == 200, answer.text
    found = Found.model_validate(answer.json())
    assert all(one.shape_type == "polygon" and len(one.points) >= 4 for one in found.data.shapes)


@pytest.fixture(scope="module")
def shared_client(nano):
    from starlette.testclient import TestClient

    from sam_mlx.serve.tools import TOOLS

    backend = Backend({"nano": nano})
    with TestClient(application(backend, TOOLS), base_url="http://localhost:8000") as c:
        yield c
    backend.close()


def test_health_as_x_anylabelings_server_says_it(client):
    Health.model_validate(client.get("/health").json())


KINDS = {"brushlabels": "BrushLabels", "bitmasklabels": "BitmaskLabels",
         "polygonlabels": "PolygonLabels"}  # fmt: skip
PERCENT = st.floats(0, 100)


@of_each(12)
@given(
    kind=st.sampled_from([*KINDS]),
    points=st.lists(st.tuples(PERCENT, PERCENT, st.booleans()), min_size=1, max_size=4),
    corners=or_none(st.tuples(PERCENT, PERCENT, PERCENT, PERCENT)),
)
def test_regions_pass_label_studios_own_checks(shared_client, kind, points, corners):
    sdk = pytest.importorskip("label_studio_sdk", reason="install tests/serve/clients.txt")
    interface = import_module(f"{sdk.__name__}.label_interface").LabelInterface
    labels = '<Label value="Coin"/>'
    config = (
        f'<View><Image name="i" value="$image"/><{KINDS[kind]} name="m" toName="i">{labels}'
        f'</{KINDS[kind]}><KeyPointLabels name="k" toName="i" smart="true">{labels}'
        f'</KeyPointLabels><RectangleLabels name="r" toName="i" smart="true">{labels}'
        "</RectangleLabels></View>"
    )
    size = {"original_width": 256, "original_height": 256, "image_rotation": 0, "to_name": "i"}
    context = [
        {**size, "id": "a", "from_name": "k", "type": "keypointlabels", "is_positive": good,
         "value": {"x": x, "y": y, "width": 0.4, "keypointlabels": ["Coin"]}}
        for x, y, good in points
    ]  # fmt: skip
    if corners:
        x, y, width, height = corners
        value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["Coin"]}
        context.append({**size, "id": "b", "from_name": "r", "type": "rectanglelabels",
                        "is_positive": True, "value": value})  # fmt: skip
    task = {"id": 1, "data": {"image": f"data:image/png;base64,{coins()}"}}
    params = {"login": None, "password": None, "context": {"result": context}}
    body = {"tasks": [task], "project": "1.1", "label_config": config, "params": params}
    answer = shared_client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    assert interface(config).validate_prediction(prediction, return_errors=True) == []


# samapi itself, and our document beside its own.

IGNORED = {"points_per_batch"}  # changes no result: ours has a size of its own


def test_our_document_has_the_fields_of_samapis_bodies():
    """All of them, with the same ones required, whatever null may stand for."""
    paths = document()["paths"]
    for path, body in SAMAPI.items():
        ours = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        theirs = body.model_json_schema()
        assert {*ours["properties"]} == {*theirs["properties"]} - IGNORED, path
        assert {*ours["required"]} == {*theirs["required"]}, path
        assert ours["additionalProperties"] is True


@pytest.fixture
def samapi(monkeypatch, tmp_path):
    """samapi's own application from a checkout; what needs torch and weights is a stand-in."""
    if not (source := os.environ.get("SAMAPI")):
        pytest.skip("samapi is in no index: set SAMAPI to the src folder of a checkout")
    pytest.importorskip("fastapi")
    models, weights = MagicMock(), MagicMock()
    for size in ("h", "l", "b", "t"):
        builder = getattr(models, f"build_sam_vit_{size}")
        builder.return_value.load_state_dict.return_value = ([], [])
    stand_ins = {"mobile_sam": models, "samapi.hub_extension": weights, "torch": MagicMock(),
                 "geojson": MagicMock()}  # fmt: skip
    for name in ("sam2.build_sam", "sam2.automatic_mask_generator", "sam2.sam2_image_predictor",
                 "sam3.model_builder", "sam3.model.box_ops", "sam3.model.sam3_image_processor",
                 "sam3.model.sam3_video_predictor"):  # fmt: skip
        stand_ins[name] = MagicMock()
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.7.1")
    monkeypatch.setenv("SAMAPI_ROOT_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(source)
    return import_module("samapi.main").app.openapi()


def test_samapis_own_application_has_these_fields(samapi):
    """What is written in tests/support/tool_schemas.py, and an address of ours for each of its."""
    for path, body in SAMAPI.items():
        content = samapi["paths"][path]["post"]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        theirs, written = samapi["components"]["schemas"][name], body.model_json_schema()
        assert {*theirs["properties"]} == {*written["properties"]}, path
        assert {*theirs["required"]} == {*written["required"]}, path
        for field, about in written["properties"].items():
            given = theirs["properties"][field]
            assert about.get("default") == given.get("default"), (path, field)
    ours = document()["paths"]
    for path, methods in samapi["paths"].items():
        assert {*methods} == {*ours[path]}, path
