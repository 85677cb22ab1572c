"""Wrappers that trainers put around SAM's tensors, and tensors that are not SAM's."""

import argparse
import copy
import re
import warnings
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from sam_mlx import Sam
from sam_mlx.checkpoints.unwrap import roots
from sam_mlx.modeling.layers import weights_of
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original


class Trainer(torch.nn.Module):
    """Wraps a model as Lightning's trainers and others do."""

    def __init__(self, **parts: torch.nn.Module):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def training_state(sam: torch.nn.Module) -> dict:
    sam = copy.deepcopy(sam)  # a step changes it
    optimizer = torch.optim.AdamW(sam.parameters())
    sam.image_encoder.neck[0].weight.sum().backward()
    optimizer.step()
    sam.zero_grad()
    return {
        "optimizer": optimizer.state_dict(), "epoch": 3, "best": np.float64(0.3),
        "args": argparse.Namespace(lr=1e-4), "lr_schedulers": [{"last": torch.ones(1)}],
    }  # fmt: skip


def forms(sam: torch.nn.Module) -> dict[str, object]:
    """Checkpoints that hold a SAM, by their writers."""
    state = sam.state_dict()
    prefixed = {
        prefix: OrderedDict((f"{prefix}{name}", tensor) for name, tensor in state.items())
        for prefix in (
            "module.", "sam.", "model.", "sam_model.", "net.", "_orig_mod.", "module.sam.",
            "sam.module.", "model._orig_mod.", "_orig_mod.module.model.sam.",
        )
    }  # fmt: skip
    wrapped = {
        key: {key: state}
        for key in ("model", "state_dict", "model_state", "model_state_dict", "ema", "net")
    }
    inner = {
        name.replace("image_encoder.", "image_encoder.module."): t for name, t in state.items()
    }
    compiled = {name.replace(".blocks.", "._orig_mod.blocks."): t for name, t in state.items()}
    return {
        **prefixed, **wrapped,
        "SAM-Med2D": {"model": state, **training_state(sam)},
        "micro-sam": {"model_state": prefixed["sam."], **training_state(sam)},
        "Lightning": {"state_dict": Trainer(model=sam).state_dict(), "global_step": 9},
        "nested": {"checkpoint": {"state": {"model": prefixed["module."]}}},
        "encoder in parallel": inner, "encoder compiled": compiled,
        "a tuple": (state, 7), "with constants": state | {"pixel_mean": torch.ones(3, 1, 1)},
        "a module": sam, "a wrapped module": {"model": Trainer(net=sam)},
    }  # fmt: skip


@pytest.mark.slow
def test_every_form_loads_without_a_warning(small, tmp_path):
    reference, model = small
    for name, content in forms(reference).items():
        torch.save(content, tmp_path / "sam.pth")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                loaded = Sam.from_pretrained(tmp_path / "sam.pth")
            except (ValueError, UserWarning) as error:
                raise AssertionError(name) from error
        equal(loaded, model)
        if isinstance(content, OrderedDict):
            save_file(content, tmp_path / "sam.safetensors")
            equal(Sam.from_pretrained(tmp_path / "sam.safetensors"), model)


def test_trainers_own_parts_are_reported_and_ignored(small, tmp_path):
    reference, model = small
    state = {f"sam.{name}": tensor for name, tensor in reference.state_dict().items()}
    decoder = {f"decoder.{i}.weight": torch.ones(2) for i in range(12)}
    content = {"model_state": state | {"sam.head.weight": torch.ones(1)}, "decoder_state": decoder}
    torch.save(content | training_state(reference), tmp_path / "sam.pth")
    with pytest.warns(UserWarning, match="outside SAM are ignored") as caught:
        equal(Sam.from_pretrained(tmp_path / "sam.pth"), model)
    (text,) = [str(warning.message) for warning in caught]
    assert text.endswith(r"ignored: decoder_state (12), model_state.sam.head (1)")


def test_of_two_models_the_one_that_is_not_a_copy(small, tmp_path):
    reference, model = small
    state = reference.state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}
    for content in ({"ema": other, "model": state}, {"model": state, "second": other}):
        torch.save(content, tmp_path / "sam.pth")
        with pytest.warns(UserWarning, match="using 'model'; the file also holds '(ema|second)'"):
            equal(Sam.from_pretrained(tmp_path / "sam.pth"), model)


# One or two names that only these models have.
OTHERS = {
    "RobustSAM": ["mask_decoder.robust_mlp.layers.0.weight"],
    "SAM 2": ["image_encoder.trunk.patch_embed.proj.weight", "sam_mask_decoder.iou_token.weight"],
    "EdgeSAM": ["image_encoder.fuse_stage2.op_list.0.c.weight"],
    "RepViT-SAM": ["image_encoder.features.1.token_mixer.0.conv1.c.weight"],
    "EfficientViT-SAM": ["image_encoder.backbone.input_stem.op_list.0.conv.weight"],
    "EfficientSAM": ["mask_decoder.final_output_upscaling_layers.0.0.weight"],
    "SAM-Med2D with adapters": ["image_encoder.blocks.0.Adapter.channel.0.weight"],
    "Medical SAM Adapter": ["image_encoder.blocks.0.MLP_Adapter.D_fc1.weight"],
    "CellSAM": ["cellfinder.decode_head.transformer.weight"],
    "Cellpose-SAM": ["encoder.patch_embed.proj.weight", "W2"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_named(name, small, tmp_path):
    """Alone, and with SAM's tensors where these models have them too."""
    extra = {tensor: torch.ones(2, 2) for tensor in OTHERS[name]}
    torch.save({"model": extra}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=re.escape(f"is a checkpoint of {name}, not of SAM: ")):
        Sam.from_pretrained(tmp_path / "other.pth")
    if any(tensor.split(".")[0] in roots() for tensor in extra):
        torch.save(small[0].state_dict() | extra, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=re.escape(f"is a checkpoint of {name}")) as error:
            Sam.from_pretrained(tmp_path / "other.pth")
        assert f"unknown {OTHERS[name][0]}" in str(error.value)


def test_what_is_missing_or_unknown_is_named(small, tmp_path):
    state = small[0].state_dict()
    cases = {
        "holds no named tensors": {"epoch": 3},
        "not a SAM checkpoint": {"layer.weight": torch.ones(2)},
        "no image encoder and no prompt encoder": {
            name: t for name, t in state.items() if name.startswith("mask_decoder.")
        },
        "unknown mask_decoder.extra": state | {"mask_decoder.extra": torch.ones(2)},
        r"unknown 'image_encoder.\x1b[31m'": state | {"image_encoder.\x1b[31m": torch.ones(2)},
        "and 80 more": state | {f"mask_decoder.{i}": torch.ones(2) for i in range(100)},
    }
    for message, content in cases.items():
        torch.save(content, tmp_path / "sam.pth")
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            Sam.from_pretrained(tmp_path / "sam.pth")
        assert str(tmp_path / "sam.pth") in str(error.value) and "\x1b" not in str(error.value)
        assert "weights_only" not in str(error.value)


def prefixed(state, prefix) -> dict:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def encoder_of(state) -> dict:
    return {name: t for name, t in state.items() if name.startswith("image_encoder.")}


def moments(state, before="", after="") -> dict:
    return {f"{before}{name}{after}": tensor * 0 for name, tensor in state.items()}


def beside_others(state) -> dict[str, dict]:
    """Checkpoints in which other tensors have the same names as the model's."""
    other = {name: tensor + 1 for name, tensor in state.items()}
    states = {name: {"exp_avg": t * 0, "exp_avg_sq": t * 0} for name, t in state.items()}
    return {
        "an optimiser's, first": {"optimizer": states, "model": state},
        "FSDP's": {"optim": {"state": states, "param_groups": []}, "model": state},
        "an optimiser's, under no name of its own": {"state": states, "model": state},
        "moments by name": {"exp_avg": moments(state), "model": state},
        "moments with suffixes": {**moments(state, "opt.", ".exp_avg"), **prefixed(state, "sam.")},
        "Adam's, by its letters": {"m": moments(state), "v": moments(state), "model": state},
        "gradients": {"grads": moments(state), "net": state},
        "lightning's": {"optimizer_states": [{"state": states}], "state_dict": state},
        "a part more": {**prefixed(encoder_of(other), "module."), **state},
        "a compiled part more": {**prefixed(encoder_of(other), "_orig_mod."), **state},
        "activation checkpointing": {
            name.replace(".blocks.", ".blocks._checkpoint_wrapped_module."): t
            for name, t in state.items()
        },
        "FSDP's wrapper": prefixed(state, "_fsdp_wrapped_module."),
    }


def test_tensors_of_the_same_names_are_not_taken(small, tmp_path):
    reference, model = small
    for name, content in beside_others(reference.state_dict()).items():
        torch.save(content, tmp_path / "sam.pth")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            equal(Sam.from_pretrained(tmp_path / "sam.pth"), model)
        texts = [str(warning.message) for warning in caught]
        assert not any("also holds" in text for text in texts), (name, texts)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_never_parts_of_two_models(wrapper, small, tmp_path):
    """Of the same names, with and without a wrapper's word."""
    reference, model = small
    state = reference.state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}
    for content in ({**prefixed(other, wrapper), **state}, {**state, **prefixed(other, wrapper)}):
        torch.save(content, tmp_path / "sam.pth")
        with pytest.warns(UserWarning, match="; the file also holds"):
            loaded = Sam.from_pretrained(tmp_path / "sam.pth")
        first = model if next(iter(content)) in state else None
        token = weights_of(loaded)["mask_decoder.iou_token.weight"]
        own = weights_of(model)["mask_decoder.iou_token.weight"]
        encoder = weights_of(loaded)["image_encoder.neck.0.weight"]
        of_encoder = weights_of(model)["image_encoder.neck.0.weight"]
        shift = 0 if first else 1
        assert np.abs(np.array(token - own)).max() == pytest.approx(shift, abs=1e-6)
        assert np.abs(np.array(encoder - of_encoder)).max() == pytest.approx(shift, abs=1e-6)
    broken = {n: t for n, t in state.items() if not n.startswith("mask_decoder.")}
    broken |= prefixed({n: t for n, t in other.items() if not n.startswith("prompt")}, wrapper)
    torch.save(broken, tmp_path / "sam.pth")
    with pytest.raises(
        ValueError, match=r"sam.pth: it holds no (mask decoder|prompt encoder); SAM"
    ):
        Sam.from_pretrained(tmp_path / "sam.pth")


def test_a_part_that_alone_was_wrapped(small, tmp_path):
    reference, model = small
    state = reference.state_dict()
    rest = {name: t for name, t in state.items() if name not in encoder_of(state)}
    torch.save({**prefixed(encoder_of(state), "module."), **rest}, tmp_path / "sam.pth")
    equal(Sam.from_pretrained(tmp_path / "sam.pth"), model)


def test_a_tensor_that_is_there_twice(small, tmp_path):
    state = small[0].state_dict()
    inner = {n.replace("image_encoder.", "image_encoder.module."): t for n, t in state.items()}
    torch.save({**state, **inner}, tmp_path / "sam.pth")
    with pytest.raises(ValueError, match=r"it holds image_encoder\.\S+ twice, once as image_encod"):
        Sam.from_pretrained(tmp_path / "sam.pth")


@pytest.mark.parametrize(
    "copy",
    ["ema", "EMA", "model_ema", "modelEma", "EMAModel", "ema_model.module", "state_dict_ema",
     "Teacher", "averaged_model", "SWA", "shadow_params", "net.ema", "old_model", "target_net",
     "discriminator", "initial"],
)  # fmt: skip
def test_copies_are_known_in_any_case(copy, small, tmp_path):
    reference, model = small
    state = reference.state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({**prefixed(other, f"{copy}."), **prefixed(state, "model.")}, tmp_path / "sam.pth")
    with pytest.warns(UserWarning, match=f"using 'model'; the file also holds '{copy}'"):
        equal(Sam.from_pretrained(tmp_path / "sam.pth"), model)


PEFT = {
    "LoRA": "image_encoder.blocks.0.attn.qkv.lora_A.default.weight",
    "loralib": "image_encoder.blocks.0.attn.qkv.lora_A.weight",
    "a base layer": "image_encoder.blocks.0.attn.qkv.base_layer.weight",
    "DoRA": "image_encoder.blocks.0.attn.qkv.lora_magnitude_vector.default.weight",
    "an embedding": "mask_decoder.iou_token.lora_embedding_A.default",
    "LoHa": "image_encoder.blocks.0.attn.qkv.hada_w1_a.default",
    "LoKr": "image_encoder.blocks.0.attn.qkv.lokr_w1.default",
    "IA3": "image_encoder.blocks.0.attn.qkv.ia3_l.default",
    "OFT": "image_encoder.blocks.0.attn.qkv.oft_R.default.weight",
    "VB-LoRA": "image_encoder.blocks.0.attn.qkv.vblora_logits_A.default",
    "HRA": "image_encoder.blocks.0.attn.qkv.hra_u.default",
    "Bone": "image_encoder.blocks.0.attn.qkv.bone_block.default",
    "poly": "image_encoder.blocks.0.attn.qkv.poly_lora_A.default",
    "norms": "image_encoder.blocks.0.norm1.ln_tuning_layers.default.weight",
    "C3A": "image_encoder.blocks.0.attn.qkv.c3a_kernel.default",
    "VeRA": "image_encoder.blocks.0.attn.qkv.vera_lambda_b.default",
}


@pytest.mark.parametrize("name", PEFT)
def test_adapters_within_a_model_are_named(name, small, tmp_path):
    """Of peft's models, saved whole: their scale is not in the file."""
    extra = {PEFT[name]: torch.ones(2, 2)}
    kind = "a LoRA adapter" if "lora" in PEFT[name] or "base" in PEFT[name] else "an adapter"
    for content in (prefixed(small[0].state_dict() | extra, "base_model.model."), extra):
        torch.save(content, tmp_path / "sam.pth")
        save_file(content, tmp_path / "sam.safetensors")
        for path in (tmp_path / "sam.pth", tmp_path / "sam.safetensors"):
            with pytest.raises(ValueError, match=f"it holds {kind} of peft's .*merge_and_unload"):
                Sam.from_pretrained(path)
