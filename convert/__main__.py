"""python -m convert CHECKPOINT OUTPUT: any SAM checkpoint to sam_mlx's own format."""

import argparse
import pickle
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx

try:
    import torch
except ModuleNotFoundError:
    sys.exit("convert: PyTorch is needed here: pip install -e '.[convert]' in a clone of sam_mlx")

from sam_mlx import Sam, ending
from sam_mlx.checkpoints import files
from sam_mlx.checkpoints.card import Origin
from sam_mlx.checkpoints.families import hugging_face, read_config
from sam_mlx.checkpoints.files.pickles import leaves
from sam_mlx.checkpoints.files.pytorch import DTYPES
from sam_mlx.checkpoints.load import Checkpoint
from sam_mlx.checkpoints.locate import resolve
from sam_mlx.checkpoints.options import LoadOptions
from sam_mlx.checkpoints.save import write_card, write_checkpoint
from sam_mlx.checkpoints.unwrap import unwrap
from sam_mlx.files import refuse_existing, sha256, user_path, whole_folder, write_json
from sam_mlx.machine.precision import VARIABLE, uses_tf32
from sam_mlx.messages import naming, one_line, shown
from sam_mlx.modeling.layers import as_float32
from sam_mlx.options import Help, add_flags
from sam_mlx.terminal import as_lines, say

from . import parity
from .upload import check_repo, upload

# Published SHA-256 digests. Meta's file names carry the first digits of the MD5.
OFFICIAL = {
    "sam_vit_b_01ec64.pth": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    "sam_vit_l_0b3195.pth": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    "sam_vit_h_4b8939.pth": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    "mobile_sam.pt": "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
}
# The same weights on the hub, under Apache 2.0.
PUBLISHED = {
    "sam_vit_b_01ec64.pth": "facebook/sam-vit-base",
    "sam_vit_l_0b3195.pth": "facebook/sam-vit-large",
    "sam_vit_h_4b8939.pth": "facebook/sam-vit-huge",
}
CONVERTS = ("dtype", "quantize", "adapter", "image_size", "preprocess")  # options of loading
# Errors that torch.load raises for what it refuses and for damaged files.
UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    KeyError,
    ValueError,
)


def main(argv: list[str] | None = None) -> int:
    if argv is None:
        ending.install()
    with as_lines("convert"):
        return run(build_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    try:
        origin = Origin(args.base_model, args.license)
        options = LoadOptions(**{name: getattr(args, name) for name in CONVERTS})
        convert(args.checkpoint, args.output, options, args.check, origin, args.upload_repo)
    except (BoundExceeded, ValueError, OSError, ImportError) as error:
        say(f"convert: {one_line(error)}", error=True)
        return 1 if isinstance(error, BoundExceeded) else 2
    except KeyboardInterrupt:
        return ending.code()
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Convert a SAM checkpoint (.pth, .pt, .safetensors, or a Hugging Face folder) "
        "to a folder in sam_mlx's own format.",
        formatter_class=Help,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, help="folder to create")
    add_flags(parser, LoadOptions, only=CONVERTS)
    parser.add_argument(
        "--check",
        metavar="IMAGE",
        help="also run the original code, compare with it, and write parity.json",
    )
    parser.add_argument(
        "--base-model", metavar="OWNER/NAME",
        help="for the model card: the hub repository that the weights were made from",
    )  # fmt: skip
    parser.add_argument("--license", help="for the model card: the license's identifier on the hub")
    parser.add_argument(
        "--upload-repo", metavar="OWNER/NAME",
        help="upload the folder to this repository of the Hugging Face hub, which is created if "
        "missing; an existing README.md there is kept",
    )  # fmt: skip
    return parser


class BoundExceeded(Exception):
    """The converted model differs from the original by more than its bounds."""


def convert(
    checkpoint: Path,
    output: Path,
    options: LoadOptions | None = None,
    image: str | None = None,
    origin: Origin | None = None,
    upload_repo: str | None = None,
) -> None:
    """Write ``output``, whole or not at all, and upload it to the hub if a repository is given."""
    if upload_repo is not None:
        check_repo(upload_repo)
    options = options or LoadOptions()
    if image and (options.image_size or options.preprocess):
        raise ValueError(
            "--check compares with the unchanged original: leave out --image-size and --preprocess"
        )
    if options.adapter is not None:
        options = replace(options, adapter=str(resolve(options.adapter)))
    checkpoint, output = user_path(checkpoint), refuse_existing(output)
    verify_digest(checkpoint)
    tensors = read(checkpoint)
    config, _ = read_config(checkpoint)
    folder = checkpoint if checkpoint.is_dir() else None
    found = Checkpoint(tensors, config, source=str(checkpoint), folder=folder)
    model = Sam.from_checkpoint(found, options)

    name = upload_repo or output.name
    with whole_folder(output) as temporary:
        write_checkpoint(temporary, model, model.config)
        measured = ""
        if image:
            rows = check(checkpoint, tensors, temporary, image, options.adapter)
            if uses_tf32():
                print(
                    "Float32 products are TF32 on this device: checked with the bounds of half "
                    f"precision. With {VARIABLE}=0 they are those of float32."
                )
            print(parity.table(rows))
            if not all(row.passed for row in rows):
                raise BoundExceeded(f"{output} was not written: a parity bound is exceeded")
            report = {"image": Path(image).name, "stages": parity.as_json(rows)}
            write_json(temporary / "parity.json", report, indent=2)
            measured = parity.markdown(rows)
        origin = origin_of(checkpoint, options, origin or Origin())
        write_card(temporary, name, model, model.config, origin, measured)
    say(f"{output}: SAM {model.config.variant}, {model.dtype}")
    if upload_repo is not None:
        say(upload(output, upload_repo))


def origin_of(checkpoint: Path, options: LoadOptions, given: Origin) -> Origin:
    """The given origin, completed for the files that Meta has published."""
    base = PUBLISHED.get(checkpoint.name)
    license = "apache-2.0" if base and options.adapter is None else None
    return Origin(given.base_model or base, given.license or license)


def check(
    checkpoint: Path,
    tensors: dict[str, mx.array],
    converted: Path,
    image: str,
    adapter: str | None,
) -> list[parity.Row]:
    """Compare the written model, loaded as users will load it, with the original code."""
    if hugging_face.recognises(tensors):
        if not checkpoint.is_dir():
            raise ValueError("--check needs the folder of a Hugging Face checkpoint, not a file")
        original = partial(parity.hugging_face_stages, folder=str(checkpoint), adapter=adapter)
    else:
        state = {name: torch.tensor(as_float32(w)) for name, w in tensors.items()}
        original = partial(parity.meta_stages, state=state, adapter=adapter)
    model = Sam.from_pretrained(converted)
    return parity.check(model, lambda config, image: original(config, image=image), image)


def verify_digest(checkpoint: Path) -> None:
    """Raise ValueError for a file with an official name but other bytes."""
    if not checkpoint.exists():
        raise FileNotFoundError(f"no such checkpoint: {checkpoint}")
    expected = OFFICIAL.get(checkpoint.name)
    if expected is None:
        return
    digest = sha256(checkpoint)
    if digest != expected:
        raise ValueError(
            f"{checkpoint} has SHA-256 {digest}, the published file has {expected}: download it "
            "again, or rename it if these are your own weights"
        )


def read(checkpoint: Path) -> dict[str, mx.array]:
    """SAM's tensors in a checkpoint. Never runs code that a pickle holds.

    PyTorch reads its own files unless it refuses; the rest is read as in ``from_pretrained``.
    """
    source = str(checkpoint)
    values = load_pickle(checkpoint)
    if values is not None:
        with naming(source):
            found = unwrap(leaves(values, torch.Tensor), source)
        return as_mlx(found, source)
    with files.opened(checkpoint) as tensors:
        with naming(source):
            stored = unwrap(tensors, source)
            files.check_size(stored)
        return files.values(stored)


def load_pickle(checkpoint: Path) -> Any:
    """The values that PyTorch loads from a single-file checkpoint; None if it refuses."""
    paths = files.weight_files(checkpoint) if checkpoint.is_dir() else [checkpoint]
    if len(paths) > 1 or paths[0].suffix == ".safetensors":
        return None
    try:
        return torch.load(paths[0], map_location="cpu", weights_only=True)
    except UNREADABLE:
        return None


def as_mlx(state: dict[str, torch.Tensor], source: str = "the state") -> dict[str, mx.array]:
    """PyTorch's tensors as MLX's. Raises ValueError for those without dense values."""

    def array(name: str, tensor: torch.Tensor) -> mx.array:
        is_dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_nested
        if not is_dense or str(tensor.dtype).removeprefix("torch.") not in DTYPES:
            raise ValueError(
                f"{source}: {shown(name)} is {tensor.dtype}, {tensor.layout}, on {tensor.device}; "
                "expected dense values: save the model in float32, float16 or bfloat16"
            )
        if tensor.dtype == torch.bfloat16:  # numpy has no such type
            return mx.array(tensor.float().numpy()).astype(mx.bfloat16)
        return mx.array(tensor.resolve_conj().numpy())

    return {name: array(name, tensor.detach()) for name, tensor in state.items()}


if __name__ == "__main__":
    sys.exit(main())
