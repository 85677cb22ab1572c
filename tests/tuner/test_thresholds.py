"""Thresholds of automatic masks: chosen on examples, kept in config.json, used by every search."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from sam_mlx import Sam, SamAutomaticMaskGenerator, cli
from sam_mlx.automatic.options import thresholds_of
from sam_mlx.batch.checks import OF_THE_MODEL, check_settings
from sam_mlx.batch.processes import SETTINGS
from sam_mlx.checkpoints.families import parse_config
from sam_mlx.config import check
from sam_mlx.embedding import fingerprint
from sam_mlx.masks import record_of, run_lengths
from sam_mlx.modeling.layers import weights_of
from sam_mlx.predictor import SamPredictor
from sam_mlx.registry import VARIANTS
from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.evaluation import evaluate, searched
from sam_mlx.tuner.examples import examples_of
from sam_mlx.tuner.matches import Found, ious_with
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.run import Job, finetune
from sam_mlx.tuner.thresholds import LOW, Candidates, best_thresholds
from sam_mlx.web.automatic import MIN_IOU, MIN_STABILITY, defaults
from tests.support.models import SMALL
from tests.support.tuner import picture, write_data

LAST = "mask_decoder.iou_prediction_head.layers.2."


@pytest.fixture(scope="module")
def nano():
    return Sam.from_pretrained("nano")


@pytest.fixture
def modest():
    """nano, with predicted IoU of 0.8 of what it has: under its thresholds."""
    model = Sam.from_pretrained("nano")
    weights = weights_of(model)
    changed = [(n, 0.8 * w) for n, w in weights.items() if n.startswith(LAST)]
    assert len(changed) == 2
    model.load_weights(changed, strict=False)
    return model


def candidates(rows, truths):
    """Of squares at x, each with its predicted IoU and stability."""
    records, masks = [], []
    for x, score, stability in rows:
        mask = np.zeros((20, 100), bool)
        mask[5:15, x : x + 10] = True
        masks.append(mask)
        rle = run_lengths(mask, (0, 0), mask.shape)
        records.append(record_of(rle, score, stability, [[x, 5]], crop_box=[0, 0, 100, 20]))
    found = Found(np.array([row[1] for row in rows]), ious_with(masks, np.stack(masks[:truths])))
    return Candidates(records, found)


def test_the_pair_between_right_and_wrong_masks_is_chosen():
    right = [(0, 0.78, 0.88), (20, 0.77, 0.86), (40, 0.76, 0.87)]
    wrong = [(60, 0.72, 0.99), (80, 0.79, 0.72)]
    found = candidates([*right, *wrong], 3)
    assert best_thresholds([found], SMALL) == {
        "pred_iou_thresh": 0.75, "stability_score_thresh": 0.85,
    }  # fmt: skip


def test_where_nothing_is_better_the_models_own_stay():
    for rows in ([(0, 0.97, 0.99)], [(0, 0.4, 0.4)]):
        assert best_thresholds([candidates(rows, 1)], VARIANTS["nano"]) == thresholds_of(
            VARIANTS["nano"]
        )
    eager = replace(SMALL, pred_iou_thresh=0.1)  # asks for masks that are not searched for
    assert best_thresholds([candidates([(0, 0.97, 0.99)], 1)], eager)["pred_iou_thresh"] == 0.9


@pytest.mark.slow
def test_the_choice_gives_what_a_search_with_the_pair_gives(nano, tmp_path):
    (example,) = examples_of(open_data(write_data(tmp_path, 1)), 25, None)
    embedding = SamPredictor(nano).embed(example.pixels())
    low = searched(SamAutomaticMaskGenerator(nano, 8, **LOW), embedding, example)
    assert len(low.records) > 10
    for pair in ((0.85, 0.9), (0.7, 0.5), (0.9, 0.95)):
        ours = low.matches(dict(zip(("pred_iou_thresh", "stability_score_thresh"), pair)))
        other = SamAutomaticMaskGenerator(nano, 8, 64, *pair)
        theirs = searched(other, embedding, example).found.matches()
        np.testing.assert_array_equal(ours.hits, theirs.hits)
        np.testing.assert_array_equal(ours.scores, theirs.scores)


def test_the_page_keeps_what_chosen_thresholds_ask_for():
    assert LOW["pred_iou_thresh"] >= MIN_IOU and LOW["stability_score_thresh"] >= MIN_STABILITY


def test_a_config_may_hold_thresholds(nano):
    own = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.7}
    config = check(replace(nano.config, **own))
    assert thresholds_of(config) == own and config.to_dict().items() >= own.items()
    assert parse_config(config.to_dict()) == config
    assert not nano.config.to_dict().keys() & own
    # Embeddings do not depend on them.
    weights = weights_of(nano.mask_decoder)
    assert fingerprint(config, weights) == fingerprint(nano.config, weights)
    for wrong in (2, -0.1, "0.5", True, float("nan")):
        with pytest.raises(ValueError, match="pred_iou_thresh is .* a number from 0 to 1"):
            check(replace(nano.config, pred_iou_thresh=wrong))


@pytest.mark.slow
def test_a_trained_model_finds_masks_with_defaults(modest, tmp_path, capsys, monkeypatch):
    """After a training, ``auto`` found nothing: scores were under the thresholds of the variant."""
    quick = partial(evaluate, points_per_side=8)
    monkeypatch.setattr("sam_mlx.tuner.run.evaluate", quick)
    data, out = write_data(tmp_path / "data", 3), tmp_path / "mine"
    assert SamAutomaticMaskGenerator(modest, 8).generate(picture(5)[0]) == []
    options = TrainingOptions(iters=2, objects=2, clicks=0, steps_per_eval=2, learning_rate=1e-9)
    job = Job(modest, "nano", open_data(data), out, options, split_by="file")
    results = finetune(job)
    pairs = [results[name]["thresholds"] for name in ("before", "after")]
    assert pairs[0] == pairs[1] and pairs[1]["pred_iou_thresh"] < 0.8
    assert results["before"]["means"]["mSA"] == results["after"]["means"]["mSA"] > 0.3
    trained = Sam.from_pretrained(out)
    begun = defaults(trained.config)  # of the page
    assert {name: begun[name] for name in pairs[1]} == pairs[1]
    assert len(SamAutomaticMaskGenerator(trained, 8).generate(picture(5)[0])) >= 3
    value = f"{pairs[1]['pred_iou_thresh']:g} and {pairs[1]['stability_score_thresh']:g}"
    for file in ("report.md", "README.md"):
        assert f"after {value}" in (out / file).read_text()
    again = quick(trained, job.sides()[1])
    assert again["thresholds"] == pairs[1]
    assert again["means"]["mSA"] == results["after"]["means"]["mSA"]
    command = ["auto", str(data / "images" / "a.png"), "-o", str(tmp_path / "o"), "--format", "rle"]
    command += ["--model", str(out), "--points-per-side", "8"]
    assert cli.main(command) == 0
    assert f"--pred-iou-thresh {pairs[1]['pred_iou_thresh']}" in capsys.readouterr().out
    assert cli.main(command) == 0  # the same settings as before, known without the model
    assert "were there already" in capsys.readouterr().out


def test_results_with_a_models_own_thresholds_are_known_without_it(tmp_path):
    own = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.7}
    path = tmp_path / SETTINGS
    path.write_text(json.dumps({"model": "mine", **own, OF_THE_MODEL: list(own)}))
    assert check_settings(path, {"model": "mine"}) == set()
    path.write_text(json.dumps({"model": "mine", **own}))  # which were given
    with pytest.raises(ValueError, match="pred_iou_thresh=0.6 \\(now the model's own\\)"):
        check_settings(path, {"model": "mine"})
