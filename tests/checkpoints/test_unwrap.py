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
    "RepViT-SAM or EdgeSAM": ["image_encoder.features.1.token_mixer.0.conv1.c.weight"],
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
    with pytest.raises(ValueError, match=re.escape(f"is a checkpoint of {name}, not of SAM")):
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
