"""Configurations from files: every field has a type and a range, and one error names them all."""

import json
import os
import re

import pytest

from sam_mlx import Sam
from sam_mlx.checkpoints.families import parse_config, prepared
from sam_mlx.config import check
from sam_mlx.registry import VARIANTS, config_of

NANO = VARIANTS["nano"].to_dict()
ENCODER = NANO["encoder"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_released_models_pass(variant):
    config = VARIANTS[variant]
    assert check(config) is config
    assert config_of(json.loads(json.dumps(config.to_dict()))) == config


BIG = 10**400
WRONG = [
    ({"image_size": BIG}, "image_size is 1000"),
    ({"image_size": []}, "image_size is ()"),
    ({"multimask_outputs": 65535}, "multimask_outputs is 65535; expected a whole number from 1 to"),
    ({"pixel_mean": [1e39, 0, 0]}, "pixel_mean is (1e+39, 0, 0); expected three numbers, -65536"),
    ({"pixel_mean": [BIG] * 3}, "pixel_mean is (1000"),
    ({"pixel_mean": [[1], [2], [3]]}, "pixel_mean is ([1], [2], [3])"),
    ({"pixel_mean": [float("inf")] * 3}, "pixel_mean is (inf, inf, inf)"),
    ({"pixel_std": [1e-320] * 3}, "pixel_std is (1e-320, 1e-320, 1e-320); expected three positive"),
    ({"pixel_std": [-1e39] * 3}, "pixel_std is (-1e+39"),
    ({"pixel_std": {"a": 1}}, "pixel_std is {'a': 1}"),
    ({"variant": "\x1b[31m"}, r"variant is '\x1b[31m'; expected a name of at most 100 printable"),
    ({"variant": []}, "variant is ()"),
    ({"resize": []}, "resize is ()"),
    ({"decoders": {}}, "decoders is {}; expected a list"),
    ({"decoders": [[]]}, "decoder is []; expected an object"),
    ({"decoders": [{"type": {}}]}, "decoder is {}; expected an object"),
    ({"decoders": [{"type": "sam"}] * 1000}, "decoders are ['sam', 'sam', "),
    ({"encoder": {**ENCODER, "type": []}}, "encoder is []; expected an object"),
    ({"encoder": {**ENCODER, "mlp_dim": 1e39}}, "mlp_dim is 1e+39"),
    ({"encoder": {**ENCODER, "global_blocks": [[]]}}, "global_blocks is ([],)"),
    ({"encoder": {**ENCODER, "global_blocks": [BIG]}}, "global_blocks is (1000"),
    ({"model_type": []}, "config has model_type []"),
    ({"image_size": 0}, "image_size is 0; expected a whole number from 1 to 65536"),
    ({"image_size": "320"}, "image_size is '320'"),
    ({"image_size": 320.0}, "image_size is 320.0"),
    ({"image_size": True}, "image_size is True"),
    ({"image_size": 321}, "image_size 321 is not a multiple of patch_size 8"),
    ({"image_size": 1 << 40}, "expected a whole number from 1 to 65536"),
    ({"decoder_depth": 10**9}, "decoder_depth is 1000000000; expected a whole number"),
    ({"decoder_heads": 3}, "cannot be divided among 3 heads"),
    ({"prompt_dim": [128]}, "prompt_dim is"),
    ({"pixel_std": [1, 1, 0]}, "pixel_std is (1, 1, 0); expected three positive numbers"),
    ({"pixel_std": [1, 1, float("nan")]}, "pixel_std"),
    ({"pixel_mean": [1, 1]}, "pixel_mean is (1, 1)"),
    ({"pixel_mean": "abc"}, "pixel_mean is 'abc'"),
    ({"resize": "round"}, "resize is 'round'"),
    ({"encoder": {**ENCODER, "depth": -1}}, "depth is -1"),
    ({"encoder": {**ENCODER, "heads": 5}}, "dim 128 cannot be divided among 5 heads"),
    ({"encoder": {**ENCODER, "global_blocks": [9]}}, "global_blocks (9,) are not all below depth"),
    ({"encoder": {**ENCODER, "global_blocks": 2}}, "global_blocks is 2; expected whole numbers"),
    ({"encoder": {**ENCODER, "type": "cnn"}}, "expected an object with type"),
    ({"encoder": None}, "encoder is None"),
    ({"image_size": 0, "decoder_depth": -1, "encoder": {**ENCODER, "dim": 0}}, "dim is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_values_are_named(change, message, tmp_path):
    with pytest.raises(ValueError, match="^the file: ") as error:
        parse_config({**NANO, **change}, "the file")
    assert message in str(error.value) and str(error.value).isprintable()
    assert len(str(error.value)) < 600
    if len(change) == 3:
        assert all(name in str(error.value) for name in ("image_size is 0", "decoder_depth is -1"))


HF = {
    "vision_config": {"layer_norm_eps": 1e-5, "num_channels": 4, "hidden_act": "relu"},
    "prompt_encoder_config": {"num_point_embeddings": 5, "image_size": 512, "hidden_size": 128},
    "mask_decoder_config": {
        "hidden_act": "gelu", "layer_norm_eps": 1e-5, "attention_downsample_rate": 4,
        "hidden_size": 64,
    },
}  # fmt: skip


@pytest.mark.parametrize(("section", "key"), [(s, key) for s, keys in HF.items() for key in keys])
def test_fields_of_transformers_that_would_change_numbers_are_refused(section, key):
    value = HF[section][key]
    with pytest.raises(ValueError, match=rf"{section}.{key} is {value!r}; this SAM has"):
        parse_config({"model_type": "sam", section: {key: value}})


def test_a_folder_with_a_wrong_config_builds_nothing(tmp_path):
    Sam.from_pretrained("nano").save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**NANO, "encoder": {**ENCODER, "depth": 10**9}}))
    with pytest.raises(ValueError, match="config.json: depth is 1000000000"):
        Sam.from_pretrained(tmp_path / "model")


TEXTS = {
    "[" * 100_000: "it is nested too deeply", '{"a": ' * 50_000: "it is nested too deeply",
    '{"a": ' + "9" * 500_000 + "}": "it has a number of more digits than Python reads",
    json.dumps({"a": "b" * (1 << 20)}): "expected at most 1,048,576", "": "Expecting value",
    "null": "config is None", "[]": "config is []", "3": "config is 3", '"x"': "config is 'x'",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:9])
def test_files_that_are_no_configs_are_one_line(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="config.json: ") as error:
        Sam.from_pretrained(tmp_path)
    assert TEXTS[text] in str(error.value) and "\n" not in str(error.value)


MEMBERS = [
    "config.json", "model.safetensors", "preprocessor_config.json", "processor_config.json",
    "model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["a pipe", "a device", "sparse", "a link to nothing"])
@pytest.mark.parametrize("member", MEMBERS)
def test_members_of_folders_that_are_no_files_are_refused_at_once(kind, member, tmp_path):
    folder = tmp_path / "folder"
    Sam.from_pretrained("nano").save_pretrained(folder)
    if member.startswith("adapter"):
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if member.endswith("index.json"):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    path = folder / member
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 1 << 37)
    else:
        path.symlink_to("/dev/zero" if kind == "a device" else "nowhere")
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(str(path))):
        load_with(member, folder)


def load_with(member: str, folder) -> None:
    if "processor" in member:  # Hugging Face's
        prepared(folder, VARIANTS["vit_b"])
    elif member.startswith("adapter"):
        Sam.from_pretrained("nano", adapter=folder)
    else:
        Sam.from_pretrained(folder)
