"""X-AnyLabeling's protocol: as its client writes it, and with its own client and window."""

from importlib.util import find_spec

import numpy as np
import pytest

from tests.support.serve import CLICK, COINS, coins, serving  # isort: skip  it skips all where it must

from sam_mlx import SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.automatic.options import thresholds_of
from sam_mlx.masks import outlines, polygons
from sam_mlx.masks.simplify import perimeter, simplified
from sam_mlx.serve.backend import Backend
from sam_mlx.serve.x_anylabeling import MIN_SHARE, area_of
from sam_mlx.tuner.data.polygons import fill
from tests.support.windows import run, shrink

POINT = {"type": "point", "data": CLICK, "label": 1}
BOX = [110, 28, 165, 82]


def ask(client, *marks, **params):
    params = {"marks": list(marks), "conf_threshold": 0.0, "iou_threshold": 0.0} | params
    body = {"model": "nano", "image": f"data:image/png;base64,{coins()}", "params": params}
    return client.post("/v1/predict", json=body)


def marks(*given):
    return {"params": {"marks": list(given)}}


def mask_of(points):
    return fill([np.array(points[:-1])], (256, 256))


def predicted(nano, **prompt):
    predictor = SamPredictor(nano)
    predictor.set_image(COINS)
    masks, scores, _ = predictor.predict(**prompt)
    return masks[scores.argmax()]


def test_the_list_of_models(nano):
    from starlette.testclient import TestClient

    from sam_mlx.serve.application import application
    from sam_mlx.serve.tools import chosen

    backend = Backend({"nano": nano, "other": nano})
    with TestClient(
        application(backend, chosen("x-anylabeling")), base_url="http://localhost"
    ) as c:
        data = c.get("/v1/models").json()["data"]
        assert c.get("/sam/version/").status_code == 404  # another tool's
    assert list(data) == ["nano", "other"]
    assert all(model["batch_processing_mode"] == "default" for model in data.values())
    backend.close()


def test_a_point_gives_the_predictors_mask(client, coin):
    answer = ask(client, POINT, epsilon_factor=0).json()
    assert answer["success"] and answer["data"]["replace"] is False
    (shape,) = answer["data"]["shapes"]
    assert shape["label"] == "AUTOLABEL_OBJECT" and shape["shape_type"] == "polygon"
    assert shape["points"][0] == shape["points"][-1]
    outer, holes = polygons(coin[0])
    largest = max(map(area_of, outer))
    assert [ring.tolist() for ring in outer if area_of(ring) >= MIN_SHARE * largest] == [
        shape["points"][:-1]
    ]
    assert shape["score"] == pytest.approx(min(coin[1], 1), abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.0001, 0.001, 0.01])
def test_fineness(client, coin, epsilon):
    """Left-out corners are within the tolerance; a coarser outline has fewer."""
    (shape,) = ask(client, POINT, epsilon_factor=epsilon).json()["data"]["shapes"]
    (exact,) = ask(client, POINT, epsilon_factor=0).json()["data"]["shapes"]
    assert len(shape["points"]) < len(exact["points"])
    mask = mask_of(shape["points"])
    assert (mask & coin[0]).sum() / (mask | coin[0]).sum() > 0.93


def test_rectangles_in_any_order_of_corners(client, nano):
    expected = predicted(nano, box=BOX, multimask_output=False)
    x0, y0, x1, y1 = BOX
    for corners in (BOX, [x1, y1, x0, y0], [x0, y1, x1, y0]):
        mark = {"type": "rectangle", "data": corners, "label": 1}
        shapes = ask(client, mark, epsilon_factor=0).json()["data"]["shapes"]
        found = np.logical_or.reduce([mask_of(shape["points"]) for shape in shapes])
        filled = np.logical_or.reduce(
            [fill([region[0]], (256, 256)) for region in outlines(expected)]
        )
        assert (found == filled).all()


def test_two_rectangles_are_two_objects_with_the_points_within_them(client, nano):
    boxes = [BOX, [30, 30, 80, 90]]
    marks = [{"type": "rectangle", "data": box, "label": 1} for box in boxes]
    within = {"type": "point", "data": [115, 33], "label": 0}
    shapes = ask(client, *marks, within, epsilon_factor=0).json()["data"]["shapes"]
    first = predicted(nano, box=BOX, point_coords=[[115, 33]], point_labels=[0],
                      multimask_output=False)  # fmt: skip
    second = predicted(nano, box=boxes[1], multimask_output=False)
    rings = [ring.tolist() for mask in (first, second) for ring in polygons(mask)[0]]
    assert all(shape["points"][:-1] in rings for shape in shapes) and len(shapes) >= 2


@pytest.mark.slow
def test_everything(client, nano):
    answer = ask(client, epsilon_factor=0).json()["data"]
    generator = SamAutomaticMaskGenerator(nano, **thresholds_of(nano.config))
    expected = generator.generate(COINS)
    assert answer["replace"] is None  # as the box in the window says
    assert len(answer["shapes"]) >= len(expected) > 10
    assert {shape["label"] for shape in answer["shapes"]} == {"object"}
    assert all(0 <= shape["score"] <= 1 for shape in answer["shapes"])
    few = ask(client, epsilon_factor=0, conf_threshold=0.95).json()["data"]["shapes"]
    assert 0 < len(few) < len(answer["shapes"])
    assert all(shape["score"] >= 0.95 for shape in few)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"model": "other"}, 404, "MODEL_NOT_FOUND"),
        ({"image": "data:image/png;base64,AAAA"}, 415, "INVALID_IMAGE"),
        ({"params": {"text_prompt": "coin"}}, 501, "INFERENCE_ERROR"),
        (marks(POINT | {"data": [1, 2, 3]}), 400, "INVALID_REQUEST"),
        (marks({"type": "rectangle", "data": BOX, "label": 0}), 400, "INVALID_REQUEST"),
        (marks({"type": "circle", "data": BOX, "label": 0}), 400, "INVALID_REQUEST"),
    ],
)  # fmt: skip
def test_errors_have_the_clients_form(client, given, status, code):
    body = {"model": "nano", "image": coins(), "params": {"marks": [POINT]}} | given
    answer = client.post("/v1/predict", json=body)
    assert answer.status_code == status
    assert answer.json()["success"] is False
    assert answer.json()["error"]["code"] == code and answer.json()["error"]["message"]


def test_a_full_queue_is_503(client, monkeypatch):
    from sam_mlx.web import queue

    monkeypatch.setattr(queue, "MAX_OF_ONE", dict.fromkeys(queue.MAX_OF_ONE, 0))
    answer = ask(client, POINT)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_a_search_that_was_given_up_is_there_for_who_asks_again(backend):
    """The client waits for 30 seconds, and its user tries again."""
    model, content = backend.model(), backend.pictures.of_text(coins())
    first = backend.search(model, content, {"points_per_side": 6}, "client")
    first.drop()
    found = backend.search(model, content, {"points_per_side": 6}, "client").future.result(60)
    assert found and found is first.future.result(60)
    again = backend.search(model, content, {"points_per_side": 6}, "client").future.result(60)
    assert again is found  # it is kept
    left = backend.search(model, content, {"points_per_side": 64}, "client")
    left.drop()
    backend.search(model, content, {"points_per_side": 65}, "client").drop()
    assert left.work.stopped.is_set()  # one that nobody waits for is enough


@pytest.mark.parametrize("seed", range(20))
def test_simplified_outlines_stay_near(seed):
    random = np.random.default_rng(seed)
    mask = np.zeros((60, 70), bool)
    for _ in range(5):
        y, x, r = random.integers(5, 50, 3)
        mask[y : y + r // 2, x : x + r // 2 + 3] = True
    mask &= random.random(mask.shape) > 0.02
    from shapely import LineString, Point, Polygon

    for region in outlines(mask):
        for ring in region:
            for tolerance in (0, 0.75, 3):
                fewer = simplified(ring, tolerance)
                assert {tuple(c) for c in fewer.tolist()} <= {tuple(c) for c in ring.tolist()}
                line = LineString([*fewer.tolist(), fewer[0].tolist()])
                assert max(line.distance(Point(c)) for c in ring.tolist()) <= tolerance + 1e-9
            assert perimeter(ring) == pytest.approx(Polygon(ring).length)


# Its own client, and its window.

needs_it = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("anylabeling") is None,
        reason="X-AnyLabeling is missing: pip install --no-deps -r tests/serve/clients.txt",
    ),
]


@pytest.fixture
def tokened(backend):
    with serving(backend, token="t0ken-t0ken") as address:
        yield address


class TestClientOfTheWheel:
    pytestmark = needs_it

    def test_its_client(self, tokened, nano, coin, tmp_path):
        found = run("x_anylabeling_.py", tokened, COINS, "t0ken-t0ken", home=tmp_path)
        answers, said = found["answers"], found["said"]
        assert found["calm"] == 0, said
        assert list(answers["models"]) == ["nano"] and answers["mode"] == "default"
        for name in ("exact", "no path"):
            (shape,) = answers[name]["shapes"]
            expected = max(polygons(coin[0])[0], key=area_of).tolist()
            assert shape["points"][: len(expected)] == expected and shape["closed"]
        assert len(answers["coarse"]["shapes"][0]["points"]) < len(
            answers["fine"]["shapes"][0]["points"]
        ) < len(answers["exact"]["shapes"][0]["points"])  # fmt: skip
        assert len(answers["two boxes"]["shapes"]) >= 2
        assert answers["everything"]["replace"] and len(answers["everything"]["shapes"]) > 10
        assert [line.split(": ")[1].split()[0] for line in said] == ["400", "501", "404"]

    def test_its_window(self, live, coin, tmp_path, kept):
        picture = kept("x-anylabeling.png")
        found = run("x_anylabeling_window.py", live, COINS, picture, home=tmp_path)
        shrink(picture)
        assert picture.stat().st_size > 20_000
        assert {"button_add_point", "button_add_rect", "mask_fineness_slider"} <= {
            *found["widgets"]
        }
        mask = fill([np.array(found["shapes"][0])], (256, 256))
        assert (mask & coin[0]).sum() / (mask | coin[0]).sum() > 0.95
