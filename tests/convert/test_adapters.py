"""``python -m convert`` with adapters, and its check against the adapted originals."""

import json

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert import __main__ as convert
from convert.meta import build_meta
from sam_mlx import Sam
from tests.support import models
from tests.support.adapters import adapter_of, micro_sam_state
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original


def run(*arguments) -> int:
    return convert.main([str(a) for a in arguments])


@pytest.fixture
def checkpoint(small, tmp_path):
    torch.save(small[0].state_dict(), tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


@pytest.fixture
def adapter(small, tmp_path):
    model = build_meta(models.SMALL, small[0].state_dict())
    return adapter_of(model, tmp_path / "adapter", modules_to_save=["neck"])


@pytest.fixture
def check(tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    return "--check", tmp_path / "photograph.png"


def passed(folder) -> bool:
    stages = json.loads((folder / "parity.json").read_text())["stages"]
    return bool(stages) and all(stage["passed"] for stage in stages)


def test_of_meta(checkpoint, adapter, check, tmp_path):
    assert run(checkpoint, tmp_path / "out", "--adapter", adapter, *check) == 0
    assert passed(tmp_path / "out")
    assert run(checkpoint, tmp_path / "plain") == 0
    equal(
        Sam.from_pretrained(tmp_path / "out"),
        Sam.from_pretrained(tmp_path / "plain", adapter=adapter),
    )


def test_of_transformers(check, tmp_path):
    model = models.hugging_face(**models.HUGGING_FACE)
    model.save_pretrained(tmp_path / "hf")
    adapter = adapter_of(model, tmp_path / "adapter")
    assert run(tmp_path / "hf", tmp_path / "out", "--adapter", adapter, *check) == 0
    assert passed(tmp_path / "out")


def test_of_micro_sam(small, check, tmp_path):
    torch.save(micro_sam_state(small[0].state_dict()), tmp_path / "micro.pt")
    assert run(tmp_path / "micro.pt", tmp_path / "out", *check) == 0
    assert passed(tmp_path / "out")


def test_a_wrong_merge_is_detected(checkpoint, adapter, check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sam_mlx.checkpoints.adapters.Scaling.of", lambda *_: 0.9)
    assert run(checkpoint, tmp_path / "out", "--adapter", adapter, *check) == 1
    assert "FAILED" in capsys.readouterr().out and not (tmp_path / "out").exists()


def test_names_of_the_other_original_are_merged_and_not_checked(
    checkpoint, check, tmp_path, capsys
):
    """transformers' names on Meta's checkpoint: peft would silently leave them out."""
    sizes = {**models.HUGGING_FACE["vision"], "num_hidden_layers": 4}
    model = models.hugging_face(**{**models.HUGGING_FACE, "vision": sizes})
    adapter = adapter_of(model, tmp_path / "adapter", target_modules=["qkv"])
    assert run(checkpoint, tmp_path / "out", "--adapter", adapter) == 0
    capsys.readouterr()
    assert run(checkpoint, tmp_path / "checked", "--adapter", adapter, *check) == 2
    error = capsys.readouterr().err
    assert "which it was not made for; leave out --check" in error and error.count("\n") == 1
    assert not (tmp_path / "checked").exists()


def test_an_adapter_that_is_not_there(checkpoint, tmp_path, capsys):
    nothing = str(tmp_path / "nothing")
    assert run(checkpoint, tmp_path / "out", "--adapter", nothing) == 2
    assert capsys.readouterr().err == f"convert: no such file or folder: {nothing}\n"
