"""Adapters with random tensors: peft's, as it saves them, and micro-sam's checkpoints."""

import torch

from convert.reference import import_peft

TARGETS = ["qkv", "lin1", "mask_decoder.transformer.layers.0.self_attn.q_proj"]


def adapter_of(model, folder, **config) -> str:
    """An adapter as peft saves it, with no zero tensors."""
    peft = import_peft()
    torch.manual_seed(1)
    adapted = peft.get_peft_model(model, peft.LoraConfig(**{"target_modules": TARGETS, **config}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(folder)
    return str(folder)


def micro_sam_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A small model's tensors with LoRA, by block: on q and v; on k; none; on all and the MLP."""
    state = dict(state)
    torch.manual_seed(2)
    for i, parts in enumerate(("qv", "k", "", "qkv12")):
        stem = f"image_encoder.blocks.{i}"
        if parts:
            wrap(state, f"{stem}.attn.qkv", f"{stem}.attn.qkv.qkv_proj")
        if "1" in parts:
            for layer in ("lin1", "lin2"):
                wrap(state, f"{stem}.mlp.{layer}", f"{stem}.mlp.mlp_layer.{layer}")
        for part in parts:
            owner = f"{stem}.mlp" if part in "12" else f"{stem}.attn.qkv"
            rows, columns = {"1": (96, 48), "2": (48, 96)}.get(part, (48, 48))
            state[f"{owner}.w_a_linear_{part}.weight"] = torch.randn(3, columns) * 0.2
            state[f"{owner}.w_b_linear_{part}.weight"] = torch.randn(rows, 3) * 0.2
    return {name: tensor.contiguous() for name, tensor in state.items()}


def wrap(state: dict[str, torch.Tensor], old: str, new: str) -> None:
    for kind in ("weight", "bias"):
        state[f"{new}.{kind}"] = state.pop(f"{old}.{kind}")
