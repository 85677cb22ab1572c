"""``export.json``, which tells an app everything about the files beside it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config import SamConfig
from ..embedding import encoder_fingerprint
from ..files import sha256
from ..machine.precision import device_kind, uses_tf32
from ..registry import MASK_DECODER, decoders_of, mask_decoder_of
from ..sam import Sam
from .schema import Trace, dtype_name, feature_name


def describe(
    folder: Path,
    model: Sam,
    source: str,
    points: list[int],
    files: dict[str, list[Trace]],
    differences: dict[str, float],
) -> dict[str, Any]:
    """files: the traces of every file in ``folder``; differences: what ``check`` measured."""
    config, kind = model.config, device_kind()
    return {
        "format": "sam_mlx.export",
        "format_version": 1,
        "model": source,
        "fingerprint": encoder_fingerprint(model),
        "config": config.to_dict(),
        "dtype": dtype_name(model.dtype),
        "device": {"kind": kind, "tf32": uses_tf32(), "note": device_note(kind)},
        "mlx": {
            "version": version("mlx"),
            "note": "load the files with this version: MLX promises no compatibility between "
            "versions, and 0.32.1 changed the format in both directions",
        },
        "image_size": config.image_size,
        "mask_size": config.mask_size,
        "points": points,
        "features": {
            "names": [feature_name(name) for name in mask_decoder_of(config).takes],
            "note": "all outputs of the encoder, in this order, are the decoder's first inputs",
        },
        "left_out": [k.sizes.type for k in decoders_of(config) if k.part != MASK_DECODER],
        "preprocessing": preprocessing(config),
        "masks": masks(model),
        "files": {name: describe_file(folder / name, traces) for name, traces in files.items()},
        "differences_from_predictor": differences,
    }


def preprocessing(config: SamConfig) -> dict[str, Any]:
    """What an app does with a picture before ``encoder.mlxfn``, in words and numbers."""
    S = config.image_size
    return {
        "channels": "RGB",
        "range": [0, 255],
        "resize": f"antialiased bilinear (triangle filter) so that the longer side is {S}",
        "size_rule": f"side = max(1, int(side * {S} / longer side + 0.5))",
        "placement": f"top left corner of the {S}x{S} square, not centred",
        "pixel_mean": list(config.pixel_mean),
        "pixel_std": list(config.pixel_std),
        "note": "the encoder itself subtracts pixel_mean, divides by pixel_std and then sets "
        "pixels outside input_size to 0: give it plain pixels",
    }


def masks(model: Sam) -> dict[str, Any]:
    """What an app has to know of the masks that come out."""
    return {
        "threshold": model.mask_threshold,
        "order": "index 0: the single mask, for prompts of several points or a box; "
        f"1 to {model.config.multimask_outputs}: alternatives for an ambiguous prompt such as one "
        "click; usually the one with the highest score is wanted",
        "frame": "masks and areas from the decoder are in pixels of the resized image, those "
        "from masks_HEIGHTxWIDTH.mlxfn in pixels of the original image",
        "no_slot_filled": "the same as predict() without points and box",
    }


def describe_file(path: Path, traces: list[Trace]) -> dict[str, Any]:
    """A file's digest, size, and the inputs and outputs of its traces."""
    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "inputs_are": "positional, in this order",
        "traces": [
            {
                "inputs": [tensor.to_dict() for tensor in trace.inputs],
                "outputs": [tensor.to_dict() for tensor in trace.outputs],
            }
            for trace in traces
        ],
    }


def device_note(kind: str) -> str:
    """On which devices the files run."""
    return (
        f"traced on {kind}, and for {kind} only: a file traced on one kind of device does not "
        "run on another. Export on the kind of device that the app runs on"
    )
