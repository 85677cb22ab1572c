"""The model as a ``.pth`` for PyTorch: Meta's names, and micro-sam's layout with its decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..checkpoints.families.micro_sam import DECODER_STATE
from ..checkpoints.files.writing import write_pth
from ..checkpoints.layouts import to_torch
from ..modeling.image_encoder import ImageEncoderViT
from ..modeling.instance_decoder import EPS, PART
from ..modeling.layers import as_float32, weights_of
from ..sam import Sam

MODEL_STATE = "model_state"  # in micro-sam's files
DECONVS = range(1, 5)


def check_exported(model: Sam) -> None:
    """Raise ValueError for encoders whose weights no longer have their original's layout."""
    if not isinstance(model.image_encoder, ImageEncoderViT):
        raise ValueError(
            "--export-pth writes ViT models: MobileSAM's layout has batch norms, which are folded "
            "into the weights here"
        )


def export(model: Sam, path: Path) -> None:
    """A state dict as Meta's; with an instance decoder two, as micro-sam exports them."""
    weights = to_torch(weights_of(model), model)
    arrays = {name: np.array(as_float32(weight)) for name, weight in weights.items()}
    prefix = f"{PART}."
    decoder = {
        name.removeprefix(prefix): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(prefix)
    }
    if not decoder:
        return write_pth(path, arrays)
    write_pth(path, {MODEL_STATE: arrays, DECODER_STATE: decoder | batch_norms(decoder)})


def batch_norms(decoder: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Norms that change nothing: those of the original are folded into convolutions here."""
    found: dict[str, np.ndarray] = {}
    for i in DECONVS:
        name = f"deconv{i}.block.2"
        ones = np.ones_like(decoder[f"deconv{i}.block.1.block.bias"])
        found |= {
            f"{name}.weight": ones,
            f"{name}.bias": 0 * ones,
            f"{name}.running_mean": 0 * ones,
            f"{name}.running_var": ones - np.float32(EPS),
            f"{name}.num_batches_tracked": np.zeros((), np.int64),
        }
    return found
