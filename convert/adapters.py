"""Unmerged adapters: peft's on the originals, and micro-sam's wrappers of linear layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from .reference import import_peft


def adapted(model: torch.nn.Module, adapter: str | None) -> Any:
    """A model with a folder's adapter, unmerged. Raises ValueError if it does not fit."""
    if adapter is None:
        return model
    peft = import_peft()
    with warnings.catch_warnings():
        # peft carries on without tensors that it does not find.
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        try:
            return peft.PeftModel.from_pretrained(model, adapter).base_model.model.eval()
        except (UserWarning, RuntimeError) as error:
            raise ValueError(
                f"--check runs {adapter} on {type(model).__name__}, the base's original, which "
                "it was not made for; leave out --check"
            ) from error


class LowRankRows(torch.nn.Module):
    """micro-sam's attention: thirds of the rows of ``qkv``, each with or without a product."""

    def __init__(self, qkv: torch.nn.Linear, ranks: Mapping[str, int]):
        super().__init__()
        self.qkv_proj = qkv
        self.ranks = ranks
        for part, rank in ranks.items():
            self.add_module(f"w_a_linear_{part}", torch.nn.Linear(qkv.in_features, rank, False))
            self.add_module(f"w_b_linear_{part}", torch.nn.Linear(rank, qkv.in_features, False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        thirds = dict(zip("qkv", self.qkv_proj(x).chunk(3, dim=-1)))
        for part in self.ranks:
            low = self.get_submodule(f"w_a_linear_{part}")(x)
            thirds[part] = thirds[part] + self.get_submodule(f"w_b_linear_{part}")(low)
        return torch.cat(list(thirds.values()), dim=-1)


class LowRankMLP(torch.nn.Module):
    """micro-sam's MLP: each of its two layers with its product."""

    def __init__(self, mlp: Any, rank: int):
        super().__init__()
        self.mlp_layer = mlp
        for part, layer in (("1", mlp.lin1), ("2", mlp.lin2)):
            self.add_module(f"w_a_linear_{part}", torch.nn.Linear(layer.in_features, rank, False))
            self.add_module(f"w_b_linear_{part}", torch.nn.Linear(rank, layer.out_features, False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mlp = self.mlp_layer
        for part, layer in (("1", mlp.lin1), ("2", mlp.lin2)):
            low = self.get_submodule(f"w_a_linear_{part}")(x)
            x = layer(x) + self.get_submodule(f"w_b_linear_{part}")(low)
            x = mlp.act(x) if part == "1" else x
        return x


def wrap_as_micro_sam(encoder: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Give an image encoder the wrappers whose tensors a state dict has."""
    for i, block in enumerate(encoder.blocks):
        ranks = {
            part: len(state[name])
            for part in "qkv12"
            for owner in ("attn.qkv", "mlp")
            if (name := f"image_encoder.blocks.{i}.{owner}.w_a_linear_{part}.weight") in state
        }
        if f"image_encoder.blocks.{i}.attn.qkv.qkv_proj.weight" in state:
            rows = {part: rank for part, rank in ranks.items() if part in "qkv"}
            block.attn.qkv = LowRankRows(block.attn.qkv, rows)
        if "1" in ranks:
            block.mlp = LowRankMLP(block.mlp, ranks["1"])
