"""Training: it goes on with the same numbers after any stop, and writes what others load."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import Sam, cli
from sam_mlx.modeling.layers import weights_of
from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.examples import examples_of
from sam_mlx.tuner.levels import LEVELS
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.outputs import used_in_squares, write_adapter
from sam_mlx.tuner.run import Job, about, finetune
from sam_mlx.tuner.state import load_state
from sam_mlx.tuner.trainer import MAX_FORGOTTEN, SHARES, Trainer, split
from tests.support.models import SMALL, random_sam
from tests.support.tuner import write_data

OPTIONS = TrainingOptions(
    iters=6, objects=2, clicks=1, views=2, steps_per_report=2, steps_per_eval=3, learning_rate=1e-3
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), 3)


@pytest.fixture(scope="module")
def examples(data):
    found = examples_of(open_data(data), 25, None)
    return found[:2], found[2:]


def trainer(examples, folder, options=OPTIONS):
    return Trainer(random_sam(SMALL), *examples, options, folder)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_a_stopped_training_goes_on_with_the_same_numbers(examples, tmp_path, level):
    options = replace(OPTIONS, train=level)
    whole = trainer(examples, tmp_path / "whole", options)
    whole.run()
    first = trainer(examples, tmp_path / "parts", options)
    stop, lines = threading.Event(), []

    def report(line):
        lines.append(line)
        if line["iteration"] == 4:
            stop.set()

    with pytest.raises(BaseException, match="cancelled"):
        first.run(report, stop)
    second = trainer(examples, tmp_path / "parts", options)
    second.resume()
    assert second.progress.iteration == 4
    second.run()
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1] and logs[0].count("\n") == 6
    for name, weight in whole.level.parameters.items():
        assert mx.array_equal(weight, second.level.parameters[name]), name


def test_a_killed_training_goes_on_from_its_last_state(examples, tmp_path, monkeypatch):
    """As after kill -9: nothing is saved at the end, and the log's last line is cut off."""
    trainer(examples, tmp_path / "whole").run()
    first = trainer(examples, tmp_path / "parts")

    def die(line):
        if line["iteration"] == 4:
            monkeypatch.setattr(first, "save_last", lambda: None)
            raise SystemExit

    with pytest.raises(SystemExit):
        first.run(die)
    with (tmp_path / "parts" / "log.jsonl").open("a") as file:
        file.write('{"iteration": 5, "tra')
    second = trainer(examples, tmp_path / "parts")
    second.resume()
    assert second.progress.iteration == 3
    second.run()
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_control_c_saves(examples, tmp_path):
    def interrupt(line):
        if line["iteration"] == 4:
            raise KeyboardInterrupt

    first = trainer(examples, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupt)
    second = trainer(examples, tmp_path)
    second.resume()
    assert second.progress.iteration == 4


def test_gradients_are_the_means_over_the_pictures_of_a_step(examples, tmp_path):
    one = trainer(examples, tmp_path, replace(OPTIONS, batch_size=2))
    loss, total = one.gradients(3)
    (loss_a, a), (loss_b, b) = one.one(6), one.one(7)
    assert loss == (loss_a + loss_b) / 2
    for name, gradient in total.items():
        assert mx.array_equal(gradient, (a[name] + b[name]) / 2), name


def test_a_state_of_another_training_is_refused(examples, tmp_path):
    trainer(examples, tmp_path).run()
    for options, parts in (
        (replace(OPTIONS, seed=1), examples),
        (replace(OPTIONS, learning_rate=2e-3), examples),
        (OPTIONS, examples[::-1]),
    ):
        with pytest.raises(ValueError, match="other data, options or another model"):
            trainer(parts, tmp_path, options).resume()


def test_a_loss_that_is_no_number_ends_with_the_state_before_it(examples, tmp_path):
    options = replace(OPTIONS, learning_rate=1e30, iters=50, warmup=0)
    one = trainer(examples, tmp_path, options)
    with pytest.raises(RuntimeError, match="lower learning rate"):
        one.run()
    again = trainer(examples, tmp_path, options)
    again.resume()
    assert 0 < again.progress.iteration < 50


def test_without_gain_it_ends_and_the_best_is_kept(examples, tmp_path):
    options = replace(OPTIONS, learning_rate=1e-12, iters=1000, steps_per_eval=1, patience=2)
    one = trainer(examples, tmp_path, options)
    one.run()
    assert one.progress.iteration == one.progress.best_iteration + 2 < 1000


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_trains_what_it_says(examples, tmp_path, level):
    one = trainer(examples, tmp_path, replace(OPTIONS, train=level, iters=1, steps_per_eval=1))
    before = weights_of(one.model)
    one.step(lambda **line: None)
    after = weights_of(one.model)
    changed = {name for name in before if not mx.array_equal(before[name], after[name])}
    decoder = {n for n in before if n.startswith(("prompt_encoder.", "mask_decoder."))}
    assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" not in changed
    encoder = {name.rpartition(".attn.")[2] for name in changed - decoder}
    if level == "decoder":
        assert changed <= decoder
    elif level == "lora":
        assert encoder == {"qkv.weight"}
        middle = slice(SMALL.encoder.dim, 2 * SMALL.encoder.dim)  # keys
        name = "image_encoder.blocks.0.attn.qkv.weight"
        assert mx.array_equal(before[name][middle], after[name][middle])
    else:
        assert {"rel_pos_h", "image_encoder.pos_embed", "image_encoder.neck.0.weight"} <= encoder


@pytest.fixture
def model(tmp_path):
    random_sam(SMALL).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_the_folder_is_a_model_with_a_report(data, model, tmp_path):
    pictures = open_data(data)
    out = tmp_path / "out"
    job = Job(Sam.from_pretrained(model), str(model), pictures, out, OPTIONS, split_by="file")
    results = finetune(job, export_pth=True)
    ours = Sam.from_pretrained(out)
    for name, weight in weights_of(job.model).items():
        assert mx.array_equal(weight, weights_of(ours)[name])
    other = Sam.from_pretrained(out / "model.pth")
    assert other.config.encoder == ours.config.encoder
    for name, weight in weights_of(other).items():
        assert mx.array_equal(weight, weights_of(ours)[name])
    assert json.loads((out / "report.json").read_text()) == results
    sides = json.loads((out / "split.json").read_text())
    assert [len(sides[side]) for side in ("training", "validation")] == [2, 1]
    assert "IoU of a box" in (out / "report.md").read_text()
    for name in ("curve.png", "examples.png", "README.md", "finetune.yaml", "config.json"):
        assert (out / name).stat().st_size > 0
    with pytest.raises(FileExistsError):
        finetune(job)


def test_the_pth_is_metas(originals, tmp_path):
    from convert.meta import build_meta
    from sam_mlx.tuner.pth import export

    model = random_sam(SMALL)
    export(model, tmp_path / "model.pth")
    state = originals.torch.load(tmp_path / "model.pth", weights_only=True)
    reference = build_meta(SMALL)
    reference.load_state_dict(state)
    image = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    with originals.torch.no_grad():
        theirs = reference.image_encoder(originals.torch.tensor(image).permute(0, 3, 1, 2))
    ours = model.encode_image(mx.array(image))
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), atol=2e-5)


@pytest.mark.slow
def test_loras_adapter_loads_here_and_gives_the_model(data, model, tmp_path):
    options = replace(OPTIONS, train="lora", iters=2, steps_per_eval=2)
    job = Job(
        Sam.from_pretrained(model), str(model), open_data(data), tmp_path / "out", options,
        split_by="file",
    )  # fmt: skip
    finetune(job)
    found = weights_of(Sam.from_pretrained(model, adapter=tmp_path / "out" / "adapter"))
    for name, weight in weights_of(Sam.from_pretrained(tmp_path / "out")).items():
        np.testing.assert_allclose(found[name], weight, atol=1e-6)


@pytest.mark.original
def test_peft_itself_loads_the_adapter(originals, tmp_path):
    """Measured: embeddings within 2e-6, the decoder's weights bit for bit."""
    from convert.reference import import_peft
    from tests.support.models import pair

    peft = import_peft()
    reference, ours = pair(SMALL)
    level = LEVELS["lora"](ours, TrainingOptions(train="lora", lora_rank=3, lora_alpha=6))
    rng = np.random.default_rng(0)
    for name, weight in sorted(level.parameters.items()):
        change = mx.array(rng.normal(0, 0.05, weight.shape).astype(np.float32))
        level.parameters[name] = weight + change
    level.put(level.parameters)
    write_adapter(tmp_path, "somewhere", level)
    adapted = peft.PeftModel.from_pretrained(reference, tmp_path)
    image = np.random.default_rng(0).normal(size=(1, 128, 128, 3)).astype(np.float32)
    with originals.torch.no_grad():
        theirs = adapted.base_model.model.image_encoder(
            originals.torch.tensor(image).permute(0, 3, 1, 2)
        )
    trained, before = ours.encode_image(mx.array(image)), pair(SMALL)[1]
    np.testing.assert_allclose(trained, theirs.permute(0, 2, 3, 1), atol=1e-5)
    assert np.abs(np.array(before.encode_image(mx.array(image)) - trained)).max() > 0.01
    decoder = adapted.base_model.model.mask_decoder.modules_to_save["default"].state_dict()
    token = weights_of(ours)["mask_decoder.iou_token.weight"]
    np.testing.assert_array_equal(decoder["iou_token.weight"].numpy(), token)
    assert not mx.array_equal(token, weights_of(before)["mask_decoder.iou_token.weight"])


@pytest.mark.slow
def test_what_has_ended_is_resumed_and_written_again(data, model, tmp_path):
    options = replace(OPTIONS, train="lora", iters=2, steps_per_eval=2)
    out = tmp_path / "cells"

    def run(resume):
        job = Job(Sam.from_pretrained(model), str(model), open_data(data), out, options,
                  split_by="file")  # fmt: skip
        return finetune(job, resume=resume)

    first, files = run(False), {}
    names = [p.relative_to(out) for p in sorted(out.rglob("*")) if p.is_file()]
    for name in names:
        files[name] = (out / name).read_bytes()
    assert run(True) == first
    assert [p.relative_to(out) for p in sorted(out.rglob("*")) if p.is_file()] == names
    times = {"report.md", "README.md"}  # how long it took is there
    changed = {n for n in names if (out / n).read_bytes() != files[n]} - {
        Path("state") / n for n in ("last.safetensors",)
    }
    assert {str(n) for n in changed} <= times
    card = (out / "README.md").read_text()
    assert "\n# cells\n" in card and "| IoU of a box |" in card
    digest = json.loads((out / "config.json").read_text())["sha256"]["model.safetensors"]
    assert digest in card


@pytest.mark.slow
def test_what_is_kept_is_trained_on_and_reported(data, model, tmp_path):
    kept = open_data(write_data(tmp_path / "kept", 3, first=4))
    job = Job(Sam.from_pretrained(model), "it", open_data(data), tmp_path / "out", OPTIONS,
              split_by="file", keep=kept)  # fmt: skip
    results = finetune(job)
    assert {"before", "after"} == results["kept"].keys()
    assert results["share_of_trained_weights"] in SHARES
    assert "AP50" not in results["kept"]["after"]["means"]
    assert "What the model knew before" in (tmp_path / "out" / "report.md").read_text()


def test_a_share_of_the_steps_is_on_what_is_kept(examples, tmp_path):
    others = examples_of(open_data(write_data(tmp_path / "kept", 2, first=4)), 25, None)
    one = Trainer(random_sam(SMALL), *examples, OPTIONS, tmp_path / "a", (others, []))
    drawn = [one.example(i) for i in range(400)]
    share = np.mean([each in others for each in drawn])
    assert 0.18 < share < 0.32 and {e.digest for e in drawn} == {
        e.digest for e in [*others, *examples[0]]
    }
    alone = trainer(examples, tmp_path / "b")
    assert all(alone.example(i) in examples[0] for i in range(400))
    assert alone.made_from != one.made_from
    changed = replace(OPTIONS, keep_share=0.5)  # which changes nothing where nothing is kept
    assert trainer(examples, tmp_path / "c", changed).made_from == alone.made_from


def test_weights_are_mixed_with_those_before_until_little_is_forgotten(examples, tmp_path):
    kept = examples_of(open_data(write_data(tmp_path / "kept", 2, first=4)), 25, None)
    options = replace(OPTIONS, iters=3, steps_per_eval=3, learning_rate=3e-2)
    one = Trainer(random_sam(SMALL), *examples, options, tmp_path, (kept[:1], kept[1:]))
    one.run()
    first, best = (
        split(load_state(tmp_path / f"{name}.safetensors", one.made_from)[0])[0]
        for name in ("first", "best")
    )
    for name, weight in one.level.parameters.items():
        mixture = first[name] + one.share * (best[name] - first[name])
        assert mx.array_equal(weight, mixture)
    found = {}
    for share in (0, *SHARES):
        one.level.put({n: w + share * (best[n] - w) for n, w in first.items()})
        found[share] = one.validate()["iou_kept"]
    little = [share for share in SHARES if found[share] >= found[0] - MAX_FORGOTTEN]
    assert one.share == (little[0] if little else SHARES[-1])


def test_a_full_disk_leaves_the_last_state(examples, tmp_path, monkeypatch):
    one = trainer(examples, tmp_path)
    one.run(lambda line: None)
    kept = (tmp_path / "last.safetensors").read_bytes()
    again = trainer(examples, tmp_path, replace(OPTIONS))
    again.resume()
    again.progress.iteration = 4

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mx, "save_safetensors", full)
    with pytest.raises(OSError, match="space"):
        again.run()
    assert (tmp_path / "last.safetensors").read_bytes() == kept


def test_a_config_of_another_model_is_refused(data, model, tmp_path, capsys):
    config = tmp_path / "finetune.yaml"
    text = f"model: {model}\nmodel_digest: 0123\ndata: {data}\nsplit: file\n"
    config.write_text(text)
    assert cli.main(["finetune", "--config", str(config), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "written for another model" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    config.write_text(text.replace("0123", "null") + "nonsense: 1\n")
    assert cli.main(["finetune", "--config", str(config), "-o", str(tmp_path / "out")]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_resuming_with_other_data_is_refused_before_anything_is_computed(
    data, model, tmp_path, monkeypatch
):
    monkeypatch.setattr("sam_mlx.tuner.run.judged", lambda *_: {"validation": {}})
    out = tmp_path / "out"
    (out / "state").mkdir(parents=True)
    found = examples_of(open_data(data), 25, None)
    Trainer(Sam.from_pretrained(model), found[:2], found[2:], OPTIONS, out / "state").save_last()

    def nothing(*_):
        raise AssertionError("it computed")

    monkeypatch.setattr("sam_mlx.tuner.run.judged", nothing)
    other = open_data(write_data(tmp_path / "other", 3, first=3))
    job = Job(Sam.from_pretrained(model), "it", other, out, OPTIONS, split_by="file")
    with pytest.raises(ValueError, match="other data, options or another model"):
        finetune(job, resume=True)


@pytest.mark.slow
def test_the_command(data, model, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["finetune", str(data), "-o", str(out), "--model", str(model), "--split", "file"]
    small = ["--iters", "2", "--objects", "2", "--clicks", "0", "--steps-per-eval", "1"]
    assert cli.main([*command, *small]) == 0
    assert "| IoU of a box |" in capsys.readouterr().out
    assert cli.main([*command, *small]) == 2
    assert "--resume" in capsys.readouterr().err
    again = tmp_path / "again"
    config = ["finetune", "--config", str(out / "finetune.yaml"), "-o", str(again)]
    assert cli.main(config) == 0
    assert (again / "report.json").read_text() == (out / "report.json").read_text()
    assert cli.main(["evaluate", str(model), str(out), str(data), "--prompts-only"]) == 0
    assert capsys.readouterr().out.count("IoU of a box") == 2


def test_what_is_little_or_small_is_said_before_training(data, tmp_path):
    pictures = open_data(data)[:2]
    job = Job(random_sam(SMALL), "it", pictures, tmp_path, OPTIONS)
    said = "\n".join(about(job, *job.sides()))
    assert "2 pictures in all: what is for validation is beside what is trained on" in said
    assert "--crop" not in said
    small = Job(random_sam(replace(SMALL, image_size=32)), "it", pictures, tmp_path, OPTIONS)
    said = "\n".join(about(small, *small.sides()))
    assert re.search(r"under \d pixels at the model's scale.* --crop \d+ cuts .*--tile \d+", said)


def test_the_report_of_a_model_of_squares_says_their_size():
    assert used_in_squares(None) == []
    assert "--tile 40`" in used_in_squares(40)[0] and "--crop 40`" in used_in_squares(40)[0]


def test_check_trains_nothing(data, tmp_path, capsys):
    assert cli.main(["finetune", str(data), "-o", str(tmp_path / "out"), "--check"]) == 0
    assert "15 objects, 5 in a picture" in capsys.readouterr().out
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["contact_sheet.png"]
