"""The files that hold a folder's model: ``convert`` and ``from_pretrained`` read the same ones."""

import json
import os
import re

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from convert.__main__ import main as convert
from sam_mlx import Sam
from sam_mlx.checkpoints.files import weight_files
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original


@pytest.fixture
def shards(small, tmp_path):
    """A model in two files, and their index."""
    state = small[0].state_dict()
    folder = tmp_path / "model"
    folder.mkdir()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    weight_map = {tensor: names[i % 2] for i, tensor in enumerate(sorted(state))}
    for name in names:
        part = {n: t.contiguous() for n, t in state.items() if weight_map[n] == name}
        save_file(part, folder / name)
    write_index(folder, weight_map)
    return folder


def write_index(folder, weight_map) -> None:
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)


def refused(folder, message: str, capsys) -> None:
    """Both refuse in the same words."""
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        Sam.from_pretrained(folder)
    assert convert([str(folder), str(folder.parent / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.strip() == f"convert: {error.value}" and not (folder.parent / "out").exists()


def test_shards_with_and_without_an_index(shards, small, tmp_path):
    equal(Sam.from_pretrained(shards), small[1])
    assert convert([str(shards), str(tmp_path / "out")]) == 0
    equal(Sam.from_pretrained(tmp_path / "out"), small[1])
    (shards / "model.safetensors.index.json").unlink()
    equal(Sam.from_pretrained(shards), small[1])


def test_one_file_takes_precedence_over_shards(shards, small):
    save_file(small[0].state_dict(), shards / "model.safetensors")
    assert [path.name for path in weight_files(shards)] == ["model.safetensors"]
    equal(Sam.from_pretrained(shards), small[1])


def test_shards_that_are_not_the_models(shards, capsys):
    save_file({"x": torch.ones(2)}, shards / "model-00003-of-00003.safetensors")
    refused(shards, "model-00003-of-00003.safetensors is in the folder, but not among them", capsys)
    (shards / "model.safetensors.index.json").unlink()
    refused(shards, "holds several models", capsys)
    (shards / "model-00003-of-00003.safetensors").unlink()
    (shards / "model-00002-of-00002.safetensors").unlink()
    refused(shards, "(model-00001-of-00002.safetensors), or a part of one", capsys)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../other.safetensors"}, "does not name files in its own folder"),
        ({"a": "/etc/passwd"}, "does not name files in its own folder"),
        ({"a": 3}, "does not name files in its own folder"),
        ({}, "does not name files in its own folder"),
        ([], "does not name files in its own folder"),
        ({"a": "model-00009-of-00009.safetensors"}, "is in the folder, but not among them"),
    ],
)
def test_an_index_that_does_not_fit(weight_map, message, shards, capsys):
    write_index(shards, weight_map)
    refused(shards, message, capsys)


def test_a_tensor_in_two_files(shards, small, capsys):
    save_file(small[0].state_dict(), shards / "model-00002-of-00002.safetensors")
    refused(shards, "which another file holds too", capsys)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_neither_a_file_nor_a_folder(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        Sam.from_pretrained(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        Sam.from_pretrained("/dev/zero")
    with pytest.raises(ValueError, match=r"model\.safetensors: it is a pipe, not a file"):
        Sam.from_pretrained(tmp_path)
