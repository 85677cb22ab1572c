"""Prompts on large pictures: answered in windows, none dropped, none clipped."""

from dataclasses import replace

import numpy as np
import pytest

from sam_mlx import Sam, SamPredictor
from sam_mlx.large import Window, open_large, window
from sam_mlx.machine import budget
from sam_mlx.machine.cache import Cache
from tests.support.large import Drawn, geotiff


@pytest.fixture(scope="module")
def model():
    return Sam.from_pretrained("nano")


@pytest.fixture
def drawn():
    return Drawn(9000, 12_000, cell=100, most=0.35)


@pytest.fixture
def predictor(model, drawn):
    predictor = SamPredictor(model)
    predictor.set_image(open_large(drawn))
    return predictor


@pytest.fixture
def encoded(predictor, monkeypatch):
    """The sizes of the windows that are encoded."""
    sizes, embed = [], predictor.windows._embed

    def count(pixels):
        sizes.append(pixels.shape[:2])
        return embed(pixels)

    monkeypatch.setattr(predictor.windows, "_embed", count)
    return sizes


def box_of(drawn, row, column, more=3):
    x, y, radius, _ = drawn.disc(row, column)
    reach = radius + more
    return [x - reach, y - reach, x + reach, y + reach]


def iou_with_disc(answer, drawn, row, column, i=0):
    x, y, radius, _ = drawn.disc(row, column)
    (h, w), window = answer.masks.shape[1:], answer.window
    yy, xx = np.mgrid[:h, :w]
    points = window.outside(np.stack([xx + 0.5, yy + 0.5], -1))
    disc = ((points - (x, y)) ** 2).sum(-1) <= radius**2
    mask = answer.masks[i]
    return (mask & disc).sum() / (mask | disc).sum()


def test_nothing_is_encoded_before_a_prompt(predictor, drawn):
    assert predictor.is_image_set and predictor.original_size == (9000, 12_000)
    assert "image 9000 x 12000" in repr(predictor) and drawn.read == 0
    with pytest.raises(RuntimeError, match=r"an embedding for each window: windows\.embedding"):
        predictor.get_image_embedding()


def test_an_answer_is_that_of_its_window_bit_for_bit(predictor, model, drawn, encoded):
    box = box_of(drawn, 41, 63)
    answer = predictor.predict(box=box)
    masks, scores, logits = answer
    window = answer.window
    assert encoded == [(320, 320)] and drawn.read == 320 * 320
    assert iou_with_disc(answer, drawn, 41, 63, scores.argmax()) > 0.85
    alone = SamPredictor(model)
    x0, y0, x1, y1 = window.box
    alone.set_image(drawn[y0:y1, x0:x1])
    wanted = alone.predict(box=np.array(box) - np.tile((x0, y0), 2))
    assert all((a == b).all() for a, b in zip(answer, wanted))
    point = predictor.predict([np.mean([box[:2], box[2:]], axis=0)], [1], return_logits=True)
    assert point.masks.dtype == np.float32 and point.masks.shape == (3, 320, 320)
    again = predictor.windows.predict(box=box, mask_input=logits[:1], window=window)
    wanted = alone.predict(box=np.array(box) - np.tile((x0, y0), 2), mask_input=logits[:1])
    assert (again.logits == wanted[2]).all()
    assert len(encoded) == 1  # the point is near


def test_prompts_at_edges_and_beyond_are_answered(predictor, encoded):
    for coords in ([[0, 0]], [[11_999, 8999]], [[-50, 20]], [[12_400, 9300]]):
        answer = predictor.predict(coords, [1])
        assert answer.masks.shape == (3, 320, 320)
    assert answer.window == Window(12_000 - 320, 9000 - 320, 320, 320)


def test_what_is_larger_than_a_window_is_answered_at_a_coarser_scale(model, monkeypatch):
    monkeypatch.setattr(window, "MAX_SIDE", 640)
    big = Drawn(2000, 2400, cell=800)
    predictor = SamPredictor(model)
    predictor.set_image(open_large(big))
    answer = predictor.predict(box=box_of(big, 1, 1, 20), multimask_output=False)
    assert answer.window == Window(0, 0, 2400, 2000, 4) and answer.masks.shape == (1, 500, 600)
    assert iou_with_disc(answer, big, 1, 1) > 0.85
    # Two points far apart belong to one window.
    x0, y0, x1, y1 = predictor.predict([[100, 100], [900, 500]], [1, 1]).window.box
    assert x0 <= 100 and y0 <= 100 and x1 > 900 and y1 > 500


@pytest.mark.slow
def test_many_prompts_are_grouped_by_window(predictor, drawn, encoded):
    cells = [(10, 5), (30, 40), (50, 7)]
    boxes = [box_of(drawn, *cell, more) for more in (2, 2.5, 3) for cell in cells]
    one = [predictor.predict(box=box, multimask_output=False) for box in boxes]
    windows = {answer.window for answer in one}
    assert len(windows) == 3 and len(encoded) == 3
    predictor.windows.cache = Cache(1)  # holds one embedding
    del encoded[:]
    each = list(predictor.predict_each(boxes=boxes, multimask_output=False))
    assert len(encoded) == 3
    batch = predictor.predict_batch(boxes=boxes, multimask_output=False)
    masks, scores, logits = batch
    assert batch.windows == [answer.window for answer in one]
    assert scores.shape == (9, 1) and logits.shape == (9, 1, 160, 160)
    for i, answer in enumerate(one):
        # Prompts that are decoded together may differ in the last bits.
        assert each[i].window == answer.window and (each[i].logits == logits[i]).all()
        assert np.abs(logits[i] - answer.logits).max() < 1e-3
        assert (masks[i] != answer.masks).mean() < 1e-4 and (each[i].masks == masks[i]).all()
    none = predictor.predict_batch(boxes=[])
    assert [len(part) for part in none] == [0, 0, 0] and none.windows == []
    assert list(predictor.predict_each(boxes=np.zeros((0, 4)))) == []


def test_prompts_in_any_mixture(predictor):
    coords = [[[500, 500]], None, np.array([[900, 900], [910, 910]])]
    labels = [[1], None, [1, 0]]
    boxes = np.array([[450, 450, 560, 560], [10, 10, 90, 90], [880, 880, 960, 960]])
    batch = predictor.predict_batch(coords, labels, boxes)
    assert len(batch[0]) == 3 and batch[1].shape == (3, 3)
    one = predictor.predict(coords[2], labels[2], boxes[2])
    assert np.abs(one.logits - batch[2][2]).max() < 1e-3
    with pytest.raises(ValueError, match="prompts differ in number"):
        predictor.predict_batch(coords, labels, boxes[:2])


def test_embeddings_are_kept_up_to_a_number_of_bytes(model, drawn):
    nbytes = SamPredictor(model).embed(np.zeros((9, 9, 3), np.uint8)).nbytes
    budget.use(replace(budget.budget(), embedding_bytes=int(2.5 * nbytes)))
    try:
        predictor = SamPredictor(model)
        predictor.set_image(open_large(drawn))
        for x in (300, 3000, 6000, 9000):
            predictor.predict([[x, 300]], [1])
        assert predictor.windows.cache.nbytes == 2 * nbytes
    finally:
        budget.use(None)


@pytest.mark.slow
def test_embeddings_ahead_of_time(model, tmp_path):
    scene = Drawn(600, 500, cell=100, most=0.35)
    path = geotiff(tmp_path / "a.tif", scene.whole())

    def opened():
        predictor = SamPredictor(model)
        predictor.set_image(open_large(path))
        return predictor

    predictor, done = opened(), []
    folder = tmp_path / "a.emb"

    def stop(i, total):
        done.append((i, total))
        if i == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.windows.embed_tiles(folder, progress=stop)
    files = {p: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")}
    assert len(files) == 3 and done[-1] == (3, 9)
    predictor.windows.embed_tiles(folder)
    assert len(list(folder.glob("*.safetensors"))) == 9
    assert all(p.stat().st_mtime_ns == t for p, t in files.items())
    later = opened()
    later.windows.keep_in(folder)
    later.windows._embed = None  # nothing is encoded any more
    box = box_of(scene, 3, 2)
    answer = later.predict(box=box, multimask_output=False)
    predictor = opened()
    wanted = predictor.windows.predict(box=box, multimask_output=False, window=answer.window)
    assert (answer.logits == wanted.logits).all()
    assert iou_with_disc(answer, scene, 3, 2) > 0.85
    damaged = later.windows.stored.path(answer.window)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    renewed = opened()
    renewed.windows.keep_in(folder)
    assert (renewed.predict(box=box, multimask_output=False).logits == answer.logits).all()
    assert len(damaged.read_bytes()) > 1000
    with pytest.raises(ValueError, match=r"holds results made from tile 320 \(now 800\)"):
        renewed.windows.keep_in(folder, tile=800, overlap=320)
    geotiff(path, 255 - scene.whole())
    with pytest.raises(ValueError, match="holds results made from digest"):
        opened().windows.keep_in(folder)
    with pytest.raises(ValueError, match="overlap from a quarter of it"):
        opened().windows.keep_in(tmp_path / "b", tile=640, overlap=100)
    assert not (tmp_path / "b").exists()


def test_windows_without_a_value_are_not_encoded(model, tmp_path):
    values = np.zeros((600, 500, 3), np.uint8)
    values[590:, 490:] = 200
    predictor = SamPredictor(model)
    predictor.set_image(open_large(geotiff(tmp_path / "a.tif", values, nodata=0)))
    predictor.windows.embed_tiles(tmp_path / "emb")
    assert len(list((tmp_path / "emb").glob("*.safetensors"))) == 1


def test_bad_prompts(predictor):
    box = [10, 10, 50, 50]
    mask = np.zeros((1, 160, 160))
    for prompt, message in [
        (dict(), "needs a point or a box"),
        (dict(point_coords=[[5, 5]], point_labels=[-1]), "needs a point or a box"),
        (dict(box=box, mask_input=mask), "mask_input is of one window"),
        (dict(box=[50, 10, 10, 50]), "expected x0 <= x1"),
        (dict(point_coords=[[5, 5]]), "go together"),
        (dict(point_coords=[[5, 5]], point_labels=[3]), "expected 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            predictor.predict(**prompt)
    with pytest.raises(ValueError, match="open_large"):
        predictor.set_image(open_large(np.zeros((9, 9))), value_range=(0, 9))
    predictor.set_image(np.zeros((60, 80, 3), np.uint8))
    assert predictor.predict(box=box)[0].shape == (3, 60, 80)
    with pytest.raises(RuntimeError, match="no large picture"):
        _ = predictor.windows
