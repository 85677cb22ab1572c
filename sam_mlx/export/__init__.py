"""Export a model as files that apps load without Python: image encoder and mask decoder.

An ``.mlxfn`` file holds MLX's own graph and the weights. C++ loads it with
``mlx::core::import_function``, Swift with ``importFunction(from:)``. Every input has a fixed
shape; a file holds one trace for each combination of shapes and types that it accepts (``schema``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..checkpoints.load import Checkpoint
from ..checkpoints.locate import resolve
from ..checkpoints.options import LoadOptions
from ..config import CHOICES, SamConfig
from ..files import refuse_existing, whole_folder, write_json
from ..machine.advice import warn_about
from ..machine.worker import long_work
from ..messages import short
from ..modeling.layers import weights_of
from ..options import whole_number
from ..prompts import MAX_POINTS
from ..sam import Sam
from . import graphs, schema
from .check import check
from .manifest import describe
from .readers import check_reader
from .steps import Step, Steps

SLOTS, SIDE = whole_number(1, MAX_POINTS), whole_number(1)
MAX_EXPORTED = 1 << 28  # pixels of a mask at full size, of which a file makes four


def export(
    model: Sam | str | Path,
    out_folder: str | Path,
    *,
    points: int | Sequence[int] = 4,
    sizes: Sequence[tuple[int, int]] = (),
    dtype: mx.Dtype | str | None = None,
    quantize: int | None = None,
    revision: str | None = None,
    adapter: str | Path | None = None,
    image_size: int | None = None,
    preprocess: str | None = None,
    reader: str | None = None,
) -> dict[str, Any]:
    """Write ``encoder.mlxfn``, ``decoder.mlxfn`` and ``export.json`` into a new folder.

    model: a model, or what ``Sam.from_pretrained`` takes. dtype, quantize, revision, adapter,
    image_size and preprocess: as there; all but revision also apply to a given model. points:
    prompt slots of the decoder, one number or several; a box takes two. sizes: (height, width) in
    pixels of original images; each adds a file ``masks_HEIGHTxWIDTH.mlxfn``. reader: "swift" if an
    mlx-swift app is to load the files. ``export.json`` describes every file; ``examples/cpp`` and
    ``examples/swift`` use them.

    Decoders beside the one for masks, such as micro-sam's for instances, are left out; ``left_out``
    in ``export.json`` names them.

    The files are loaded again and compared with ``SamPredictor`` on a test image; the folder
    appears only if they agree. They run only on the kind of device they were traced on.

    Returns the content of ``export.json``. Raises FileExistsError if the folder exists, OSError if
    it cannot be written, ValueError for arguments out of range and for models with preprocessing
    other than SAM's, RuntimeError if the files differ from the model or do not run here, or if the
    reader has another MLX.
    """
    check_reader(reader)
    folder = refuse_existing(out_folder)
    points = check_slots(points)
    sizes = check_sizes(sizes)
    options = LoadOptions.of(
        dtype=dtype, quantize=quantize, revision=revision, adapter=adapter,
        image_size=image_size, preprocess=preprocess,
    )  # fmt: skip
    source = "a model in memory" if isinstance(model, Sam) else str(model)
    source += f" with the adapter {options.adapter}" if options.adapter else ""
    # Load the model, write the files; check: embed an image, the encoder twice, the other files.
    steps = 1 + 2 + len(sizes) + 3 + len(points) + len(sizes)
    with whole_folder(folder) as temporary, Steps(steps) as step:
        step("load the model")
        model = prepare(model, options)
        check_preprocessing(model.config)
        files = write_files(temporary, model, points, sizes, step)
        differences = check(temporary, model, points, sizes, step)
        description = describe(temporary, model, source, points, files, differences)
        write_json(temporary / "export.json", description, indent=2)
    return description


def check_slots(points: int | Sequence[int]) -> list[int]:
    """Numbers of slots, sorted, each once. Raises ValueError for others than 1 to MAX_POINTS."""
    counts = list(points) if isinstance(points, Sequence) else [points]
    if not counts or not all(SLOTS.fits(n) for n in counts):
        raise ValueError(
            f"points is {short(points)}; expected whole numbers of slots, at least 1 and "
            f"at most {MAX_POINTS}"
        )
    return sorted({int(n) for n in counts})


def check_sizes(sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sizes (height, width) of pictures. Raises ValueError for what is not a list of them."""
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise ValueError(f"sizes is {short(sizes)}; expected a list of (height, width)")
    return [check_size(size) for size in sizes]


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """One size (height, width). Raises ValueError for sides below 1, and for too many pixels."""
    sides = list(size) if isinstance(size, Sequence) else [size]
    if len(sides) != 2 or not all(SIDE.fits(side) for side in sides):
        raise ValueError(
            f"size is {short(size)}; expected (height, width) in pixels, at least 1 each"
        )
    height, width = map(int, sides)
    if height * width > MAX_EXPORTED:
        raise ValueError(f"size is {short(size)}; expected {MAX_EXPORTED} pixels or fewer")
    return height, width


def check_preprocessing(config: SamConfig) -> None:
    """Raise ValueError for preprocessing other than SAM's, which apps and the encoder share."""
    others = {
        n: getattr(config, n) for n, usual in CHOICES.items() if getattr(config, n) != usual[0]
    }
    if others:
        raise ValueError(
            f"the model has {others}; only SAM's own preprocessing is exported. With "
            "preprocess='sam' the files expect pictures prepared that way"
        )


def prepare(model: Sam | str | Path, options: LoadOptions) -> Sam:
    """The model in the wanted precision, with arrays in a form that MLX exports correctly."""
    if not isinstance(model, Sam):
        model = Sam.from_checkpoint(resolve(model, options.revision), options)
        # Apps may contain an MLX that others are warned about.
        warn_about(model.dtype, any_version=True, stacklevel=3)
    elif options != LoadOptions():
        checkpoint = Checkpoint(weights_of(model), model.config, native=True, source="the model")
        model = Sam.from_checkpoint(checkpoint, options)
    lay_out(model)
    return model


@long_work
def lay_out(model: Sam) -> None:
    """Make a model's arrays contiguous and evaluated. MLX 0.32.4 exports transposed views in the
    wrong order, and unevaluated arrays as the graphs that compute them.
    """
    for module in model.modules():
        for name, value in module.items():
            if isinstance(value, mx.array):
                module[name] = mx.contiguous(value)
                mx.eval(module[name])


def write_files(
    folder: Path, model: Sam, points: list[int], sizes: list[tuple[int, int]], step: Step
) -> dict[str, list[schema.Trace]]:
    """Write every function, and return the traces in each file."""
    files = {
        "encoder.mlxfn": (graphs.image_encoder(model), schema.encoder_traces(model)),
        "decoder.mlxfn": (graphs.mask_decoder(model), schema.decoder_traces(model, points)),
    }
    for size in sizes:
        files[f"{schema.upscaler_name(size)}.mlxfn"] = (
            graphs.mask_upscaler(model.config, size),
            schema.upscaler_traces(model.config, size),
        )
    for name, (function, traces) in files.items():
        step(f"write {name}")
        graphs.write_function(folder / name, function, traces)
    return {name: traces for name, (_, traces) in files.items()}
