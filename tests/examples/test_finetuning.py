"""The benchmarks of fine-tuning: a case of the proof on small frames; the losses of both sides."""

import json

import mlx.core as mx
import numpy as np
import pytest

pytest.importorskip("scipy")

from examples.benchmarks import finetune_cost, finetune_proof
from sam_mlx.tuner.prompts import Prompts
from sam_mlx.tuner.step import counted, round_loss
from sam_mlx.tuner.targets import Frame, shares
from tests.support.models import SMALL
from tests.support.tuner import picture


@pytest.mark.slow
def test_a_case_is_trained_judged_and_shown(tmp_path, monkeypatch, capsys):
    frames = [picture(i) for i in range(20)]
    stacks = [np.stack([f[0][..., 0] for f in frames]), np.stack([f[1] for f in frames])]
    monkeypatch.setattr(
        finetune_proof,
        "stack",
        lambda name, folder: stacks["mask" in name.lower() or "SEG" in name],
    )
    monkeypatch.setattr(finetune_proof, "HALVES", {})
    monkeypatch.setattr(finetune_proof, "KEPT_VALIDATION", 1)
    for name in ("SCENES", "KEPT_SCENES", "POINTS_PER_SIDE"):
        monkeypatch.setattr(finetune_proof, name, 2)
    cases = [finetune_proof.Case("hela", 0), finetune_proof.Case("hela", 2, keep=True, instances=2)]
    monkeypatch.setattr(finetune_proof, "cases", lambda: iter(cases))
    command = ["proof", str(tmp_path), "--iters", "2", "--objects", "2", "--clicks", "0"]
    monkeypatch.setattr("sys.argv", command)
    finetune_proof.main()
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["case"]["pictures"] for line in lines] == [0, 2]
    assert "instances_AP50" in lines[1]["test"]["means"] and "other" in lines[1]
    said = capsys.readouterr().out
    assert "| hela | 2 | 0 | decoder, --keep, --instances, 2 objects | 2, " in said
    finetune_proof.main()  # has nothing left to do
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2
    monkeypatch.setattr(finetune_proof, "SPREAD", {10: [0, 1]})
    alone = [next(finetune_proof.grid())]
    monkeypatch.setattr(finetune_proof, "grid", lambda: iter(alone))
    monkeypatch.setattr("sys.argv", [*command, "--grid"])
    finetune_proof.main()
    last = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[-1])
    assert "AP50" not in last["test"]["means"] and last["case"]["learning_rate"] == 1e-4


def test_both_sides_have_one_loss(originals):
    torch = originals.torch
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    masks = np.stack([(x - 40) ** 2 + (y - 30) ** 2 < 400, (x - 80) ** 2 + (y - 90) ** 2 < 900])
    logits = rng.normal(0, 3, (2, 4, 64, 64)).astype(np.float32)
    predicted = rng.random((2, 4)).astype(np.float32)
    theirs = finetune_cost.torch_loss(
        torch.tensor(logits[:, 1:]), torch.tensor(predicted[:, 1:]), torch.tensor(masks)
    )
    frame = Frame(SMALL, (128, 128))
    clicks = Prompts(np.zeros((2, 1, 2)), np.ones((2, 1), int), np.full((2, 4), np.nan))
    truth = mx.array(shares(masks, frame)), mx.array(masks)
    answers = mx.array(logits), mx.array(predicted)
    ours, _ = round_loss(answers, counted(clicks, 4), truth, frame)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
