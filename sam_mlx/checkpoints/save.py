"""Write a model as a folder that ``load`` takes, and check that such a folder is undamaged."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from ..files import check_file, read_json, sha256, write_json
from ..machine.worker import long_work
from ..modeling.layers import QuantizedLinear, is_quantized, weights_of
from ..tensor_files import writing
from .card import Origin, card
from .files import MAX_FILE

WEIGHTS = "model.safetensors"


def write_checkpoint(folder: Path, model: nn.Module, config: SamConfig) -> None:
    """Write ``config.json``, with the digest of the weights, and ``model.safetensors`` into an
    existing folder.
    """
    weights = weights_of(model)
    # To a file and not to its name, which MLX takes in UTF-8 alone.
    with writing(WEIGHTS), open(folder / WEIGHTS, "wb") as file:
        long_work(mx.save_safetensors)(file, weights, {"format": "mlx"})
    values = config.to_dict() | {"sha256": {WEIGHTS: sha256(folder / WEIGHTS)}}
    if is_quantized(model):
        values["quantization"] = quantization(model)
    write_json(folder / "config.json", values, indent=2)


def write_card(
    folder: Path, name: str, model: Any, config: SamConfig, origin: Origin, parity: str = ""
) -> None:
    """Write ``README.md``, the model card.

    name: what ``from_pretrained`` takes; parity: a table in Markdown, with a heading sentence.
    """
    weights = precision(model, model.dtype)
    in_unicode = name.encode(errors="backslashreplace").decode()  # paths may have other bytes
    text = card(in_unicode, config, weights, origin, parity)
    (folder / "README.md").write_text(text, encoding="utf-8")


def verify(path: Path) -> str:
    """The SHA-256 of a saved folder's weights, checked against its ``config.json``.

    Raises ValueError if they differ, or if ``config.json`` has none.
    """
    config = path / "config.json"
    values = read_json(config) if config.is_file() else {}
    digests = values.get("sha256") if isinstance(values, dict) else None
    expected = digests.get(WEIGHTS) if isinstance(digests, dict) else None
    if not isinstance(expected, str):
        raise ValueError(
            f"{path} has no digest to compare with: save_pretrained and python -m convert write "
            "one into the config.json of their folders"
        )
    check_file(path / WEIGHTS, MAX_FILE)
    found = sha256(path / WEIGHTS)
    if found != expected:
        raise ValueError(
            f"{path / WEIGHTS} has SHA-256 {found}, but config.json says {expected}: it is damaged "
            "or was changed; download or save it again"
        )
    return found


def precision(model: nn.Module, dtype: mx.Dtype) -> str:
    """The type of a model's weights, in words."""
    packed = ", image encoder's linear weights in 8 bits" if is_quantized(model) else ""
    return f"{str(dtype).removeprefix('mlx.core.')}{packed}"


def quantization(model: nn.Module) -> dict[str, Any]:
    """How layers are quantised, in mlx-lm's form: the common settings, then the exceptions."""
    common = {"group_size": 64, "bits": QuantizedLinear.bits, "mode": "affine"}
    others = {
        path: {**common, "group_size": module.group_size}
        for path, module in model.named_modules()
        if isinstance(module, QuantizedLinear) and module.group_size != common["group_size"]
    }
    return {**common, **others}
