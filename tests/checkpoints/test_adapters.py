"""LoRA adapters merged at load, compared with the adapted originals."""

import copy
import json
import re
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from convert import parity
from convert.adapters import wrap_as_micro_sam
from convert.meta import build_meta
from sam_mlx import Sam, SamPredictor
from sam_mlx.checkpoints.adapters import read_adapter
from sam_mlx.cli import main
from sam_mlx.export import export
from sam_mlx.modeling.layers import is_quantized, weights_of
from tests.support import models
from tests.support.adapters import adapter_of, micro_sam_state
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original
BOUND = 1e-5


@pytest.fixture(scope="module")
def meta(small, tmp_path_factory):
    """Meta's model as a checkpoint."""
    path = tmp_path_factory.mktemp("meta") / "meta.safetensors"
    save_file(small[0].state_dict(), path)
    return path


@pytest.fixture(scope="module")
def transformers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers") / "hf"
    models.hugging_face(**models.HUGGING_FACE).save_pretrained(folder)
    return folder


def on_meta(meta, folder, **config) -> str:
    return adapter_of(build_meta(models.SMALL, load_file(meta)), folder, **config)


def worst(original, ours, image) -> float:
    """The largest difference in embedding, logits or predicted IoU."""
    ours, masks = parity.our_stages(ours, image), "masks, 1 - IoU"
    assert parity.worst_iou(original[masks], ours[masks]) >= 1 - 1e-4
    return max(difference(original[s], ours[s]) for s in ("embedding", "logits", "predicted IoU"))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The larger of the absolute difference and that relative to the largest value."""
    return float(np.abs(a - b).max() / min(1, np.abs(a).max()))


CONFIGS = {
    "plain": {"r": 4, "lora_alpha": 6},
    "rank-stabilised": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {r"blocks\.[01]\.attn\.qkv|layers\.[01]\.attn\.qkv": 2, "lin1": 3},
        "alpha_pattern": {"qkv": 5, r".*\.0\.mlp\.lin1": 1},
    },
    "convolutions": {"r": 4, "target_modules": [r"neck.0", "neck.conv1", "neck.conv2", "neck.2"]},
    "fan_in_fan_out": {"r": 4, "fan_in_fan_out": True},
    "biases": {"r": 4, "bias": "all"},
    "biases of its layers": {"r": 4, "bias": "lora_only", "target_modules": ["qkv"]},
    "whole modules": {
        "r": 4,
        "modules_to_save": ["iou_prediction_head", "output_hypernetworks_mlps.2", "neck"],
    },
    "whole modules and biases": {"r": 4, "modules_to_save": ["neck"], "bias": "all"},
    "heads": {"r": 4, "target_modules": r".*(iou_prediction_head|_mlps\.\d)\..*(\d|in|out)"},
    "everything linear": {"r": 4, "target_modules": "all-linear", "init_lora_weights": "gaussian"},
}


@pytest.fixture(params=["meta", "transformers"])
def base(request, meta, transformers):
    """The path of a checkpoint, a function that makes an adapter, and one that runs both."""

    def of_meta(folder, **config):
        return adapter_of(build_meta(models.SMALL, load_file(meta)), folder, **config)

    def of_transformers(folder, **config):
        return adapter_of(models.hugging_face(**models.HUGGING_FACE), folder, **config)

    def run_meta(image, adapter):
        config = Sam.from_pretrained(meta).config  # the decoder's heads show in no tensor
        return parity.meta_stages(config, load_file(meta), image, adapter)

    def run_transformers(image, adapter):
        config = Sam.from_pretrained(transformers).config
        return parity.hugging_face_stages(config, str(transformers), image, adapter)

    if request.param == "meta":
        return meta, of_meta, run_meta
    return transformers, of_transformers, run_transformers


@pytest.fixture(scope="module")
def unadapted(wide_photograph):
    return cache(lambda path: parity.our_stages(Sam.from_pretrained(path), wide_photograph))


# Measured: up to 4.9e-6, in the absolute differences of embeddings.
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_adapted_original(name, base, tmp_path, wide_photograph, unadapted):
    checkpoint, make, run = base
    adapter = make(tmp_path / "adapter", **CONFIGS[name])
    original = run(wide_photograph, adapter)
    found = worst(original, Sam.from_pretrained(checkpoint, adapter=adapter), wide_photograph)
    assert found <= BOUND
    # The adapter changes something.
    plain = unadapted(checkpoint)
    stages = ("embedding", "logits", "predicted IoU")
    assert max(difference(original[s], plain[s]) for s in stages) > 100 * BOUND


def test_a_converted_base_gives_the_same(base, tmp_path):
    checkpoint, make, _ = base
    adapter = make(tmp_path / "adapter", **CONFIGS["whole modules"], bias="all")
    Sam.from_pretrained(checkpoint).save_pretrained(tmp_path / "native")
    direct = Sam.from_pretrained(checkpoint, adapter=adapter)
    equal(Sam.from_pretrained(tmp_path / "native", adapter=adapter), direct)
    # And a merged model is saved like any other.
    direct.save_pretrained(tmp_path / "merged")
    equal(Sam.from_pretrained(tmp_path / "merged"), direct)


@pytest.fixture
def adapter(meta, tmp_path):
    return on_meta(meta, tmp_path / "adapter", r=4, modules_to_save=["neck"])


def test_sums_are_float32_and_then_cast(meta, adapter, tmp_path):
    name = "image_encoder.blocks.0.attn.qkv.weight"
    Sam.from_pretrained(meta, dtype="float16").save_pretrained(tmp_path / "half")
    change = np.array(read_adapter(tmp_path / "adapter", models.SMALL).changes[name])
    stored = np.array(weights_of(Sam.from_pretrained(tmp_path / "half"))[name])
    expected = stored.astype(np.float32) + change
    for dtype, kind in ((None, np.float16), ("float32", np.float32)):
        loaded = Sam.from_pretrained(tmp_path / "half", adapter=adapter, dtype=dtype)
        assert {str(w.dtype) for n, w in weights_of(loaded).items() if "gaussian" not in n} == {
            f"mlx.core.{np.dtype(kind).name}"
        }
        np.testing.assert_array_equal(np.array(weights_of(loaded)[name]), expected.astype(kind))


def test_weights_are_quantised_after_the_merge(meta, tmp_path):
    adapter = on_meta(meta, tmp_path / "adapter", r=4, target_modules=["lin2"])
    merged = Sam.from_pretrained(meta, adapter=adapter)
    merged.save_pretrained(tmp_path / "merged")
    quantized = Sam.from_pretrained(meta, adapter=adapter, quantize=8)
    assert is_quantized(quantized)
    equal(quantized, Sam.from_pretrained(tmp_path / "merged", quantize=8))
    quantized.save_pretrained(tmp_path / "8bit")
    with pytest.raises(ValueError, match="cannot be merged into 8-bit weights"):
        Sam.from_pretrained(tmp_path / "8bit", adapter=adapter)


def edit(adapter, **values) -> None:
    path = f"{adapter}/adapter_config.json"
    with open(path) as file:
        old = json.load(file)
    with open(path, "w") as file:
        json.dump({**old, **values}, file)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"use_dora": True},
            "is DoRA, use_dora=True, which is not merged here: merge it with peft",
        ),
        ({"peft_type": "LOHA"}, "is an adapter of type 'LOHA'; only LORA is merged here"),
        ({"peft_type": None}, "is an adapter of type None"),
        ({"lora_bias": True}, "a variant of LoRA, lora_bias=True"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"use_what_comes": [1]}, r"use_what_comes=\[1\]"),
        ({"r": 5}, r"gives \S+ rank 5 and alpha 8; .* have rank 4"),
        ({"r": None}, "rank None"),
        ({"lora_alpha": "much"}, "alpha 'much'"),
        (
            {"alpha_pattern": {"(": 3}},
            "adapter_config.json: alpha_pattern has .*, which is not a regular expression",
        ),
        ({"lora_alpha": float("nan")}, "alpha nan"),
        ({"alpha_pattern": [3]}, r"adapter_config.json: alpha_pattern is \[3\]"),
    ],
)
def test_what_is_not_merged_is_named(values, message, meta, adapter):
    edit(adapter, auto_mapping=[], **values)
    with pytest.raises(ValueError, match=message) as error:
        Sam.from_pretrained(meta, adapter=adapter)
    assert adapter in str(error.value) and "\n" not in str(error.value)


def test_other_tensors_are_named(meta, adapter):
    path = f"{adapter}/adapter_model.safetensors"
    tensors = load_file(path)
    lone = next(name for name in tensors if ".lora_B." in name)
    for changed, message in (
        ({n: w for n, w in tensors.items() if n != lone}, "lora_A.weight without image_encoder"),
        ({**tensors, lone: torch.ones(3)}, r", its other half \(3,\): they do not fit together"),
        ({**tensors, lone: torch.ones(9, 5)}, r"other half \(9, 5\): they do not fit together"),
        ({**tensors, "a.lora_magnitude_vector": torch.ones(3)}, "holds a.lora_magnitude_vector"),
        ({**tensors, "a.b": torch.ones(3)}, r"it changes a.b of shape \(3,\), .* no such tensor"),
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match=message) as error:
            Sam.from_pretrained(meta, adapter=adapter)
        assert "\n" not in str(error.value)


def test_an_adapter_of_another_base(meta, adapter, tmp_path):
    wide = tmp_path / "wide.safetensors"
    save_file(models.original(models.STRUCTURES["vit_b"]).state_dict(), wide)
    with pytest.raises(ValueError, match="for another base") as error:
        Sam.from_pretrained(wide, adapter=adapter)
    assert re.search(
        r"adapter is for another base: it changes image_encoder\.blocks\.0\.\S+ of shape "
        r"\(144, 48\), but this SAM custom has \(288, 96\) \(\d+ of \d+ tensors do not fit\)$",
        str(error.value),
    )


def test_a_convolution_that_is_folded_with_its_batch_norm(tmp_path):
    """As in MobileSAM; the name alone shows it."""
    folder = tmp_path / "mobile"
    folder.mkdir()
    stem = "base_model.model.image_encoder.patch_embed.seq.0.c.lora_"
    save_file(
        {f"{stem}A.weight": torch.ones(2, 3, 3, 3), f"{stem}B.weight": torch.ones(8, 2, 1, 1)},
        folder / "adapter_model.safetensors",
    )
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="adapts image_encoder.patch_embed.seq.0.c.weight, a lay"):
        Sam.from_pretrained("nano", adapter=folder)


@pytest.mark.parametrize("name", ["", "adapter_model.safetensors"])
def test_an_adapter_is_not_a_model(name, meta, adapter, tmp_path):
    with pytest.raises(ValueError, match=r"is an adapter.*adapter=.* in the shell$"):
        Sam.from_pretrained(tmp_path / "adapter" / name)
    edit(adapter, base_model_name_or_path="facebook/sam\n\x1b[1m-vit-base")
    with pytest.raises(ValueError, match="its base is ") as error:
        SamPredictor.from_pretrained(tmp_path / "adapter" / name)
    assert str(error.value).endswith(r"'facebook/sam\n\x1b[1m-vit-base'")


def test_no_adapter(meta, adapter, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "nothing", "no such file or folder"),
        (tmp_path / "empty", "empty is not an adapter: it holds no adapter_config.json"),
        (meta, "is not an adapter"),
        ("nano", "is not an adapter"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            Sam.from_pretrained(meta, adapter=path)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no adapter_model.safetensors"):
        Sam.from_pretrained(meta, adapter=adapter)
    (tmp_path / "adapter" / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"adapter_config.json holds \[\]; expected an object"):
        Sam.from_pretrained(meta, adapter=adapter)


def test_an_adapter_on_the_hub(meta, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--someone--adapter"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    adapter = on_meta(meta, repo / "snapshots" / ("a" * 40), r=2)
    merged = Sam.from_pretrained(meta, adapter="someone/adapter")
    equal(merged, Sam.from_pretrained(meta, adapter=adapter))
    with pytest.raises(ValueError, match="is an adapter, not a whole model"):
        Sam.from_pretrained("someone/adapter")


@pytest.mark.slow
def test_export_and_the_shell(meta, adapter, tmp_path, capsys):
    merged = Sam.from_pretrained(meta, adapter=adapter)
    written = export(meta, tmp_path / "exported", adapter=adapter)
    assert written["model"] == f"{meta} with the adapter {adapter}"
    of_a_model = export(Sam.from_pretrained(meta), tmp_path / "again", adapter=adapter)
    direct = export(merged, tmp_path / "direct")
    assert written["fingerprint"] == of_a_model["fingerprint"] == direct["fingerprint"]
    assert main(["info", str(meta), "--adapter", adapter]) == 0
    assert main(["info", str(meta), "--adapter", str(tmp_path)]) == 2
    assert "is not an adapter" in capsys.readouterr().err


class TestMicroSam:
    """Checkpoints whose linear layers are wrapped, as micro-sam's ``peft_sam.py`` wraps them."""

    @pytest.fixture
    def state(self, small):
        return micro_sam_state(small[0].state_dict())

    # Measured: 2.4e-6.
    @pytest.mark.parametrize("prefix", ["", "sam."])
    def test_equal_to_the_wrapped_original(self, state, prefix, tmp_path, wide_photograph):
        path = tmp_path / "micro_sam.safetensors"
        save_file({prefix + name: w for name, w in state.items()}, path)
        model = Sam.from_pretrained(path)
        config = model.config
        original = parity.meta_stages(config, state, wide_photograph)
        found = worst(original, model, wide_photograph)
        assert found <= BOUND
        plain = {n: w * (".w_b_" not in n) for n, w in state.items()}
        unadapted = parity.meta_stages(config, plain, wide_photograph)
        assert difference(original["embedding"], unadapted["embedding"]) > 100 * BOUND

    def test_the_wrappers_are_those_of_the_state(self, state, small):
        encoder = copy.deepcopy(small[0].image_encoder)
        wrap_as_micro_sam(encoder, state)
        names = {f"image_encoder.{name}" for name in encoder.state_dict()}
        assert names == {name for name in state if name.startswith("image_encoder.")}

    def test_the_type_is_kept(self, state, tmp_path):
        path = tmp_path / "micro_sam.safetensors"
        save_file({name: w.half() for name, w in state.items()}, path)
        assert Sam.from_pretrained(path).dtype == mx.float16

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("attn.qkv.FacTu.weight", "holds micro-sam's FacT; of its adapters, only LoRA"),
            ("mlp.mlp_proj.lin1.weight", "AdaptFormer"),
            ("attn.qkv.layer.weight", "SSF"),
            ("attn.proj.w_a_linear_q.weight", "without image_encoder.blocks.0.attn.proj.w_b_"),
        ],
    )
    def test_what_is_not_merged_is_named(self, state, tmp_path, name, message):
        state[f"image_encoder.blocks.0.{name}"] = torch.ones(3, 48)
        save_file(state, tmp_path / "micro_sam.safetensors")
        with pytest.raises(ValueError, match=message):
            Sam.from_pretrained(tmp_path / "micro_sam.safetensors")

    def test_a_part_of_another_size(self, state, tmp_path):
        state["image_encoder.blocks.0.attn.qkv.w_b_linear_q.weight"] = torch.ones(40, 3)
        save_file(state, tmp_path / "micro_sam.safetensors")
        with pytest.raises(
            ValueError, match=r"w_a_linear_q.weight gives a change \(40, 48\) .*\(48, 48\)"
        ):
            Sam.from_pretrained(tmp_path / "micro_sam.safetensors")


def rewritten(adapter, change) -> None:
    path = f"{adapter}/adapter_model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors), path)


A = "base_model.model.image_encoder.blocks.0.attn.qkv.lora_A.weight"
B = A.replace("lora_A", "lora_B")
TENSORS = {
    "B without A": (lambda t: {n: w for n, w in t.items() if n != A}, "lora_B.weight without "),
    "A without B": (lambda t: {n: w for n, w in t.items() if n != B}, "lora_A.weight without "),
    "nothing": (lambda t: {}, "holds no tensors"),
    "whole numbers": (lambda t: t | {A: t[A].int()}, r"lora_A.weight has type .*int32; expected"),
    "yes and no": (lambda t: t | {B: t[B] > 0}, r"lora_B.weight has type .*bool"),
    "NaN": (lambda t: t | {A: t[A] * float("nan")}, "lora_A.weight holds or gives values that are"),
    "infinity": (lambda t: t | {B: t[B] / 0}, "lora_B.weight holds or gives"),
    "a product that is infinite": (lambda t: t | {A: t[A] + 1e30, B: t[B] + 1e30}, "gives values"),
    "NaN in a whole module": (
        lambda t: {n: w * float("nan") if "neck.0" in n else w for n, w in t.items()},
        "neck.0.weight",
    ),
    "with and without the prefix": (
        lambda t: t | {A.removeprefix("base_model.model."): t[A] + 1},
        "with and without base_model",
    ),
    "two prefixes": (
        lambda t: t | {n.replace("image", "sam.image"): t[n] + 0 for n in (A, B)},
        r"changes image_encoder.blocks.0.attn.qkv.weight twice",
    ),
    "a whole weight too": (
        lambda t: t | {A.replace("lora_A.", ""): torch.ones(144, 48)}, "qkv.weight twice",
    ),
    "a product of terabytes": (
        lambda t: t | {A: torch.ones(4, 1 << 20), B: torch.ones(1 << 20, 4)},
        "more than 134,217,728",
    ),
    "a long name": (lambda t: t | {"a" * 2000: torch.ones(1)}, "has 2,000 characters"),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_are_no_adapters_are_named(name, meta, adapter):
    change, message = TENSORS[name]
    rewritten(adapter, change)
    with pytest.raises(ValueError, match=message) as error:
        Sam.from_pretrained(meta, adapter=adapter)
    text = str(error.value)
    assert adapter in text and "\n" not in text and len(text) < 1000


def test_base_that_is_not_finite_is_not_the_adapters_fault(meta, adapter, tmp_path):
    state = load_file(meta)
    state["image_encoder.blocks.0.attn.qkv.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / "base.safetensors")
    with pytest.raises(ValueError, match=r"base.safetensors holds NaN or infinite") as error:
        Sam.from_pretrained(tmp_path / "base.safetensors", adapter=adapter)
    assert adapter not in str(error.value)


VALUES = {
    "r": [10**400, True, 4.0, "4", [], {}], "use_rslora": ["false", [1], 3],
    "lora_alpha": [10**400, 1e39, -1e39, True, [], {}, "8", float("inf"), None],
    "rank_pattern": [[], "qkv", 3, {"(a+)+$(": 3}, {"qkv": []}, {"qkv": "4"}, {"qkv": 10**400}],
    "alpha_pattern": [[], {"qkv": {}}, {"qkv": float("nan")}, {"(?=x)": 1}, {r"(a)\1": 1}],
    "init_lora_weights": [[], {}, 10**400], "peft_type": [[], {}, 3, True],
    "modules_to_save": [], "use_dora": [10**400, [1]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in VALUES.items() for v in values]
)
def test_settings_that_do_not_fit_are_one_line(name, value, meta, adapter):
    edit(adapter, **{name: value})
    with pytest.raises(ValueError, match="rank|alpha|is an adapter of type|merged|use_rslora") as e:
        Sam.from_pretrained(meta, adapter=adapter)
    text = str(e.value)
    assert adapter in text and text.isprintable() and len(text) < 700


def test_patterns_that_would_never_end(meta, adapter):
    edit(adapter, rank_pattern={"(a|a|.)*(a|a|.)*(a|a|.)*(a|a|.)*x": 3})
    Sam.from_pretrained(meta, adapter=adapter)  # no name matches


def test_home_folders_in_an_adapters_path(meta, adapter, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    equal(
        Sam.from_pretrained(meta, adapter="~/adapter"), Sam.from_pretrained(meta, adapter=adapter)
    )
    (tmp_path / "sam.safetensors").write_bytes(meta.read_bytes())
    equal(Sam.from_pretrained("~/sam.safetensors"), Sam.from_pretrained(meta))
    equal(Sam.from_checkpoint(Path("~/sam.safetensors")), Sam.from_pretrained(meta))
    with pytest.raises(FileNotFoundError, match="no such file or folder: ~nobody-at-all/adapter"):
        Sam.from_pretrained(meta, adapter="~nobody-at-all/adapter")
