"""How pictures are prepared, as transformers' folders say it: two layouts, and any other."""

import json
import os
import re
import warnings
from dataclasses import replace

import pytest

from sam_mlx.checkpoints.families import parse_config, prepared
from sam_mlx.checkpoints.families.processors import KEY, NESTED, PLAIN, preprocessing
from sam_mlx.registry import VARIANTS

VIT_B = VARIANTS["vit_b"]
HALVES = {
    "do_resize": True, "size": {"longest_edge": 1024}, "resample": 2, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "do_pad": True, "do_convert_rgb": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
    "image_processor_type": "SamImageProcessor", "mask_size": {"longest_edge": 256},
    "mask_pad_size": {"height": 256, "width": 256}, "pad_size": {"height": 1024, "width": 1024},
}  # fmt: skip
FOUND = replace(VIT_B, pixel_mean=(127.5,) * 3, pixel_std=(63.75,) * 3)


def approximately(config):
    return replace(
        config,
        pixel_mean=tuple(round(x, 6) for x in config.pixel_mean),
        pixel_std=tuple(round(x, 6) for x in config.pixel_std),
    )


def in_folder(folder, **files):
    for name, values in files.items():
        (folder / f"{name}.json").write_text(
            values if isinstance(values, str) else json.dumps(values)
        )
    return approximately(prepared(folder, VIT_B))


def test_both_layouts(tmp_path):
    """Of transformers 5, nested, and of older versions; of both, the first, as there."""
    assert prepared(tmp_path, VIT_B) is VIT_B
    other = {**HALVES, "image_mean": [0.1] * 3}
    assert in_folder(tmp_path, preprocessor_config=HALVES) == FOUND
    assert in_folder(tmp_path, processor_config={KEY: HALVES, "processor_class": "X"}) == FOUND
    assert in_folder(tmp_path, preprocessor_config=other) == FOUND
    assert in_folder(tmp_path, processor_config={"processor_class": "X"}) != FOUND
    assert in_folder(tmp_path, preprocessor_config=HALVES) == FOUND
    assert in_folder(tmp_path, processor_config={KEY: None}) == FOUND


def test_resizing_and_filters_are_read_from_the_new_layout(tmp_path):
    changed = {**HALVES, "size": {"height": 1024, "width": 1024}, "resample": 3}
    found = in_folder(tmp_path, processor_config={KEY: changed})
    assert found == replace(FOUND, resize="square", resample="bicubic")


OTHERS = {
    "another key": ("processor_config", {"vision_processor": HALVES}, "vision_processor"),
    "deeper": ("processor_config", {"processors": [{"image": HALVES}]}, "processors.0.image"),
    "nested in the old file": ("preprocessor_config", {KEY: HALVES}, KEY),
    "another file": ("image_processor_config", HALVES, "its top"),
    "video": ("video_preprocessor_config", {"a": {"image_mean": 0.5}}, "a"),
    "the model's": ("config", {"model_type": "sam", "preprocessing": HALVES}, "preprocessing"),
    "a part of it": ("x", {"steps": [{"do_normalize": False}]}, "steps.0"),
    "timm's": ("x", {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}, "pretrained_cfg"),
    "torchvision's": ("x", {"steps": [{"mean": [0, 0, 0], "std": [1, 1, 1]}]}, "steps.0"),
    "a factor": ("x", {"rescale_factor": 1}, "its top"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_layouts_are_named(name, tmp_path):
    file, values, place = OTHERS[name]
    message = f"{file}.json describes how pictures are prepared in a layout that is not known, at "
    with pytest.raises(ValueError, match=re.escape(f"{message}{place}: move this to {PLAIN}, or")):
        in_folder(tmp_path, **{file: values})


def test_other_files_say_nothing(tmp_path):
    (tmp_path / "large.json").write_text(json.dumps({"image_mean": "x" * (1 << 20)}))
    os.symlink("/dev/zero", tmp_path / "endless.json")
    files = {
        "scores": {"mean": [0.1, 0.2], "std": [0.1, 0.2], "iou": {"mean": 0.5, "std": 0.1}},
        "generation_config": {"a": [1]},
        "broken": "{",
        "deep": "[" * 99999,
        "list": "[1, [2]]",
    }
    assert in_folder(tmp_path, **files) == approximately(VIT_B)


def test_without_a_config_and_with_another_preparation(small, tmp_path, originals):
    """Meta's names in a folder with a processor's file; an option decides what it does not know."""
    from safetensors.torch import save_file

    from sam_mlx import Sam

    save_file(small[0].state_dict(), tmp_path / "model.safetensors")
    side = small[1].config.image_size
    sized = {**HALVES, "size": {"longest_edge": side}, "pad_size": None}
    (tmp_path / NESTED).write_text(json.dumps({KEY: sized}))
    assert Sam.from_pretrained(tmp_path).config.pixel_mean == pytest.approx((127.5,) * 3)
    (tmp_path / NESTED).write_text(json.dumps({"new": sized}))
    with pytest.raises(ValueError, match="preprocess='sam' or another"):
        Sam.from_pretrained(tmp_path)
    loaded = Sam.from_pretrained(tmp_path, preprocess="sam")
    assert loaded.config.pixel_mean == VIT_B.pixel_mean


WRONG = {
    "image_mean": ["abc", [1, 2], [[1], [2], [3]], {}, ["a", "b", "c"], [10**400] * 3, True,
                   [float("nan")] * 3, [1e308 * 10] * 3],
    "image_std": [[0, 1, 1], [-1, 1, 1], [None, 1, 1], [], 0],
    "rescale_factor": [0, -1, "1", True, 1e39, -1e39, 1e-320, 10**400,
                       float("nan"), float("inf"), []],
    "resample": [1, "2", 2.5, [], {}, True, 10**400], "do_pad": ["false", 0, []],
    "do_resize": [False, "true"], "do_rescale": ["x"], "do_normalize": [1],
    "size": [[], "x", 512, {"shortest_edge": 1024}, {"longest_edge": 10**400}, [1024, 1024]],
    "pad_size": [[1, 2], "x", 7, {"height": 1024}], "do_center_crop": [True],
    "do_\x1b[31m": [True],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_values_that_do_not_fit_are_one_line(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / NESTED))}: ") as error:
        in_folder(tmp_path, processor_config={KEY: {**HALVES, name: value}})
    text = str(error.value)
    assert text.isprintable() and len(text) < 600 and " is " in text and name[:3] in text


@pytest.mark.parametrize("change", [{"image_mean": [1e9] * 3}, {"image_std": [1e-9] * 3}])
def test_what_would_compute_infinity_is_refused(change, tmp_path):
    with pytest.raises(ValueError, match=r"pixel_(mean|std) is .*; expected three"):
        in_folder(tmp_path, preprocessor_config={**HALVES, **change})


@pytest.mark.parametrize("values", ["[]", "3", "null", '"x"', "{", '{"image_processor": []}'])
def test_what_is_not_an_object_is_named(values, tmp_path):
    with pytest.raises(ValueError, match=NESTED):
        in_folder(tmp_path, processor_config=values)


def test_one_number_stands_for_three():
    given = {**HALVES, "image_mean": 0.5, "image_std": 0.25}
    assert approximately(preprocessing(given, VIT_B)) == FOUND


@pytest.mark.parametrize(
    "field",
    [{KEY: HALVES}, {"transforms": [{"mean": [0.5] * 3, "std": [0.5] * 3}]}, {"a": {"b": HALVES}}],
)
def test_settings_within_settings_are_named(field):
    """They were passed over with a warning, and the defaults of transformers taken."""
    with pytest.raises(ValueError, match="^(image_processor|transforms|a) describes how pictures"):
        preprocessing(field, VIT_B)


def test_fields_that_are_not_known_are_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preprocessing({**HALVES, "new": None, "other": False}, VIT_B)
    with pytest.warns(UserWarning, match="fields of the image processor that are not known: gamma"):
        preprocessing({**HALVES, "gamma": 2.2}, VIT_B)


SECTIONS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
MISFITS = [
    *[({part: value}, f"{part} is ") for part in SECTIONS for value in ([], "abc", 3, True)],
    ({"vision_config": {"hidden_size": 10**400}}, "hidden_size is 1000"),
    ({"vision_config": {"hidden_size": []}}, "hidden_size is []"),
    ({"vision_config": {"mlp_ratio": 1e39}}, "mlp_ratio 1e+39"),
    ({"vision_config": {"mlp_ratio": float("nan")}}, "mlp_ratio nan"),
    ({"vision_config": {"mlp_ratio": 1e-320}}, "mlp_dim is 0"),
    ({"vision_config": {"mlp_ratio": "4"}}, "mlp_ratio '4'"),
    ({"vision_config": {"global_attn_indexes": 3}}, "global_blocks is 3"),
    ({"vision_config": {"global_attn_indexes": "25"}}, "global_blocks is '25'"),
    ({"vision_config": {"global_attn_indexes": {"a": 1}}}, "global_blocks is {'a': 1}"),
    ({"vision_config": {"layer_norm_eps": 10**400}}, "layer_norm_eps is 1000"),
    ({"vision_config": {"image_size": [1024]}}, "prompt_encoder_config.image_size is"),
    ({"mask_decoder_config": {"num_multimask_outputs": 65535}}, "multimask_outputs is 65535"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), MISFITS)
def test_sizes_that_are_not_sizes_are_named(values, message):
    if "image_size" in str(values):
        values["prompt_encoder_config"] = {"image_size": 1024}
    with pytest.raises(ValueError, match="^config: ") as error:
        parse_config({"model_type": "sam", **values})
    assert message in str(error.value) and len(str(error.value)) < 600
