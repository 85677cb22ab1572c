"""Configurations from files: every field has a type and a range, and one error names them all."""

import json

import pytest

from sam_mlx import Sam
from sam_mlx.checkpoints.families import parse_config
from sam_mlx.config import check
from sam_mlx.registry import VARIANTS, config_of

NANO = VARIANTS["nano"].to_dict()
ENCODER = NANO["encoder"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_released_models_pass(variant):
    config = VARIANTS[variant]
    assert check(config) is config
    assert config_of(json.loads(json.dumps(config.to_dict()))) == config


WRONG = [
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
    assert message in str(error.value) and "\n" not in str(error.value)
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
