"""A model as a folder that ``read`` takes."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from ..modeling.layers import QuantizedLinear, is_quantized, weights_of


def write_checkpoint(folder: Path, model: nn.Module, config: SamConfig) -> None:
    """Write ``config.json`` and ``model.safetensors`` into a folder that is there."""
    values = config.to_dict()
    if is_quantized(model):
        values["quantization"] = quantization(model)
    text = json.dumps(values, indent=2)
    (folder / "config.json").write_text(text + "\n")
    weights = weights_of(model)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


def quantization(model: nn.Module) -> dict[str, Any]:
    """How layers are quantised, in the form that mlx-lm writes: what most have, and the others."""
    common = {"group_size": 64, "bits": QuantizedLinear.bits, "mode": "affine"}
    others = {
        path: {**common, "group_size": module.group_size}
        for path, module in model.named_modules()
        if isinstance(module, QuantizedLinear) and module.group_size != common["group_size"]
    }
    return {**common, **others}
