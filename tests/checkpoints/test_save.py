"""A saved folder's contents besides the weights: their digest, and a model card."""

import hashlib
import json
import re

import pytest
from huggingface_hub import ModelCard

from sam_mlx import Sam
from sam_mlx.checkpoints.card import Origin
from sam_mlx.cli import main
from sam_mlx.config import SamConfig
from sam_mlx.modeling.image_encoder import ViTConfig
from sam_mlx.modeling.layers import weights_of

TINY = SamConfig(
    ViTConfig(dim=32, depth=1, heads=2, global_blocks=(0,), mlp_dim=32, window=5),
    image_size=64,
    prompt_dim=16,
    decoder_mlp_dim=16,
    iou_head_dim=16,
)


@pytest.fixture
def folder(tmp_path):
    Sam(TINY).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def verify(path, capsys) -> tuple[int, str]:
    code = main(["info", str(path), "--verify"])
    output = capsys.readouterr()
    assert output.err.count("\n") == (code != 0)
    return code, output.out + output.err


def test_the_digest_is_that_of_the_file(folder, capsys):
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads((folder / "config.json").read_text())["sha256"] == {
        "model.safetensors": digest
    }
    code, output = verify(folder, capsys)
    assert code == 0 and f"sha256       {digest}, as config.json says\n" in output
    assert main(["info", str(folder)]) == 0
    assert digest not in capsys.readouterr().out
    assert Sam.from_pretrained(folder).config == TINY


@pytest.mark.parametrize("where", [0, 9, 200, 0.5, -1])
def test_one_flipped_bit_is_found(folder, capsys, where):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[int(where * len(data)) if where == 0.5 else where] ^= 1
    file.write_bytes(data)
    code, output = verify(folder, capsys)
    assert code == 2 and "is damaged or was changed; download or save it again" in output
    assert hashlib.sha256(data).hexdigest() in output


def test_the_model_in_the_package_is_verified(capsys):
    assert verify("nano", capsys)[0] == 0


@pytest.mark.parametrize("digest", [None, [], {}, {"model.safetensors": 3}])
def test_a_missing_digest_is_reported(folder, capsys, digest):
    values = json.loads((folder / "config.json").read_text())
    values["sha256"] = digest
    (folder / "config.json").write_text(json.dumps(values))
    code, output = verify(folder, capsys)
    assert code == 2 and "has no digest to compare with" in output
    assert main(["info", str(folder)]) == 0


def test_a_lone_file_has_no_digest(folder, capsys):
    assert "has no digest" in verify(folder / "model.safetensors", capsys)[1]


def card_of(folder) -> ModelCard:
    return ModelCard((folder / "README.md").read_text())


def test_the_card_as_the_hub_reads_it(tmp_path):
    model = Sam(TINY)
    model.save_pretrained(tmp_path / "mine", base_model="facebook/sam-vit-base", license="mit")
    assert card_of(tmp_path / "mine").data.to_dict() == {
        "library_name": "mlx",
        "pipeline_tag": "mask-generation",
        "license": "mit",
        "base_model": "facebook/sam-vit-base",
        "tags": ["mlx", "sam_mlx", "segment-anything"],
    }
    assert "custom, float32" in card_of(tmp_path / "mine").text


def test_the_card_does_not_claim_what_is_unknown(folder):
    data = card_of(folder).data.to_dict()
    assert data["license"] == "unknown" and "base_model" not in data
    assert "made from" not in card_of(folder).text


def test_the_card_mentions_8_bits(folder, tmp_path):
    model = Sam.from_pretrained(folder, quantize=8)
    model.save_pretrained(tmp_path / "8bit")
    assert "image encoder's linear weights in 8 bits" in card_of(tmp_path / "8bit").text
    assert main(["info", str(tmp_path / "8bit"), "--verify"]) == 0


@pytest.mark.parametrize("name", ["model", 'a "quoted" name', "lines\n# of\ttext", "Zürich 分割"])
def test_the_two_lines_of_the_card_run(tmp_path, monkeypatch, name):
    model = Sam(TINY)
    model.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    card = (tmp_path / name / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    names: dict = {}
    exec(code, names)
    assert code.count("\n") == 2
    assert weights_of(names["predictor"].model).keys() == weights_of(model).keys()
    assert re.findall("^# .*", card, re.M) == [f"# {' '.join(name.split())}"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_model": "sam"}, "base_model is 'sam'; expected a hub repository, owner/name"),
        ({"base_model": "a/b\nlicense: mit"}, "base_model is 'a/b"),
        ({"base_model": "a/b/c"}, "base_model is 'a/b/c'"),
        ({"license": "Apache 2.0"}, "license is 'Apache 2.0'; expected an identifier"),
        ({"license": "mit\ntags: x"}, "license is"),
        ({"license": ""}, "license is ''"),
    ],
)
def test_invalid_names_are_refused_before_anything_is_written(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        Origin(**values)
    with pytest.raises(ValueError, match=message):
        Sam(TINY).save_pretrained(tmp_path / "model", **values)
    assert list(tmp_path.iterdir()) == []
